"""The ONNX backend: each operator and function gives the results of numpy, as nodes of the right scope."""

import operator

import numpy as np
import pytest
from support.emitted import BACKENDS, DTYPES, FUNCTIONS, ROW, emitted, functions_of, run

from odelet.numerics.backend import NUMPY, Backend
from odelet.numerics.state import Layout
from odelet_export.graphs.emit import ONNX


def operators(graph):
    """The operators of a graph in order, without the Identity before each output."""
    return [node.op_type for node in graph if node.op_type != "Identity"]


OPERATORS = {name: getattr(operator, name) for name in ("add", "sub", "mul", "truediv", "pow", "lt", "le", "gt", "ge")}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPERATORS)
def test_operators_take_values_and_numbers_on_either_side(name, dtype):
    apply = OPERATORS[name]
    x, y = np.array([[0.5, 2.0, 3.0]], dtype), np.array([[1.5, 2.0, -2.0]], dtype)
    number, scalar = 1.7, np.float64(1.7)
    for build, expected in (
        (apply, apply(x, y)),
        (lambda a, b: apply(a, number), apply(x, number)),
        (lambda a, b: apply(a, scalar), apply(x, number)),
    ):
        actual = emitted(build, x, y)
        assert actual.dtype == expected.dtype
        assert actual == pytest.approx(expected, rel=1e-6 if dtype == "float32" else 1e-15)
    if name != "pow":
        for left in (number, scalar):
            assert emitted(lambda a, left=left: apply(left, a), x) == pytest.approx(apply(number, x), rel=1e-6)


def test_logic_signs_and_sizes_are_those_of_numpy():
    a, b = np.array([True, True, False, False]), np.array([True, False, True, False])
    x = np.array([-1.5, 0.0, 2.0])
    assert emitted(operator.or_, a, b).tolist() == (a | b).tolist()
    assert emitted(operator.and_, a, b).tolist() == (a & b).tolist()
    assert emitted(operator.invert, a).tolist() == (~a).tolist()
    assert emitted(operator.neg, x).tolist() == (-x).tolist()
    assert emitted(abs, x).tolist() == abs(x).tolist()


@pytest.mark.parametrize(
    ("build", "left"),
    [
        (lambda x: x + 0, []),
        (lambda x: 0.0 + x, []),
        (lambda x: x - 0, []),
        (lambda x: x * 1, []),
        (lambda x: 1.0 * x, []),
        (lambda x: x / 1, []),
        (lambda x: x**1, []),
        (lambda x: x * -1.0, ["Neg"]),
        (lambda x: x * 0, ["Mul"]),  # this node stays, as 0 times NaN is not 0
    ],
)
def test_an_operation_without_effect_adds_no_node(build, left):
    x = np.array([1.0, -2.0])
    (actual,), graph = run(build, x)
    assert operators(graph) == left
    assert np.array_equal(actual, build(x))


@pytest.mark.parametrize(
    "key", [0, 2, -1, slice(1, None), slice(None, 2), slice(1, -1), slice(-1, None), slice(0, 1)], ids=str
)
def test_elements_and_slices_of_the_first_axis_are_those_of_numpy(key):
    x = np.arange(8.0).reshape(4, 2)
    assert np.array_equal(emitted(lambda value: value[key], x), x[key])


def test_an_index_may_be_a_value_of_the_graph():
    x = np.arange(8.0).reshape(4, 2)
    assert np.array_equal(emitted(lambda value, i: value[i], x, np.int64(2)), x[2])
    assert np.array_equal(emitted(lambda value, i: value[i], x, np.array([3, 0])), x[[3, 0]])


def test_equal_constants_are_stored_once():
    def build(x):
        return (x + 2.5) * 2.5 + x.scope.constant(np.float32(2.5)) + (x < 2.5).scope.constant(2.5, x.dtype)

    _, graph = run(build, np.ones(3, np.float32))
    assert [value.const_value.numpy().item() for value in graph.initializers.values()] == [2.5]
    _, graph = run(lambda x: x.scope.constant(0.0) + x.scope.constant(-0.0), np.ones(1))
    assert len(graph.initializers) == 2


def test_mixed_dtypes_fail_an_assertion():
    with pytest.raises(AssertionError, match="Add of float64 and float32"):
        run(lambda x, y: x + y, np.ones(1), np.ones(1, np.float32))


def test_largest_is_not_below_1_where_a_value_is_not_finite():
    for wrong in (np.nan, np.inf):
        row = np.array([[0.5, wrong, 2.0]])
        assert not emitted(lambda x: ONNX.largest(x), row) < 1
        assert not NUMPY.largest(row) < 1


def test_every_function_of_the_protocol_is_tested():
    assert functions_of(Backend) == set(FUNCTIONS)


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_has_the_functions_of_its_protocol_and_no_others(name):
    backend, protocol = BACKENDS[name]
    assert {name for name in dir(backend) if not name.startswith("_")} == functions_of(protocol)
    assert all(callable(getattr(backend, function)) for function in functions_of(protocol))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "build",
    [pytest.param(build, id=f"{name}-{i}") for name, builds in FUNCTIONS.items() for i, build in enumerate(builds)],
)
def test_functions_give_the_results_of_numpy(build, dtype):
    x, s = ROW.astype(dtype), np.float64(0.75)
    with np.errstate(invalid="ignore"):
        expected = build(NUMPY, x, s)
    results, _ = run(lambda *values: build(ONNX, *values), x, s)
    expected = expected if isinstance(expected, list) else [expected]
    for actual, wanted in zip(results, expected, strict=True):
        assert actual.dtype == wanted.dtype
        assert actual.shape == np.shape(wanted)
        assert actual == pytest.approx(wanted, rel=4 * float(np.finfo(dtype).eps), nan_ok=True)


def test_a_count_that_is_not_finite_gives_an_empty_range():
    def count(x):
        return ONNX.arange(ONNX.ceil(x), x)

    assert [emitted(count, np.float64(x)).size for x in (np.nan, np.inf, -3.0, 2.5)] == [0, 0, 0, 3]


def test_a_layout_packs_parts_whose_sizes_are_known_at_run_time():
    def build(x, y):
        sizes = [x.scope.call("ReduceProd", x.scope.call("Shape", part), keepdims=1) for part in (x, y)]
        layout = Layout([x.scope.call("Shape", part) for part in (x, y)], sizes=(ONNX.concat(sizes, axis=0), 2))
        row = layout.pack([x, y], xp=ONNX)
        return [row, *layout.unpack(row * 2, xp=ONNX), layout.norm(row, xp=ONNX)]

    x, y = np.arange(6.0).reshape(2, 3), np.array([7.0])
    (row, x2, y2, norm), _ = run(build, x, y)
    assert row.tolist() == [[0, 1, 2, 3, 4, 5, 7]]
    assert (x2.tolist(), y2.tolist()) == ((2 * x).tolist(), [14])
    assert norm == Layout.of([x, y]).norm(row, xp=NUMPY) == 7


def test_values_that_a_loop_does_not_change_are_computed_outside():
    inside = []

    def build(x, limit):
        def body(scope, i, total):
            total = total + x * 3 + ONNX.cast(i, x)
            inside.extend(node.op_type for node in scope.graph)
            return None, [total], [total, x]

        (total,), (totals, same) = x.scope.loop(body, limit, None, [x * 0])
        return [total, totals, same]

    (total, totals, same), graph = run(build, np.array([2.0]), np.int64(3))
    assert inside == ["Add", "Cast", "Add"]
    assert operators(graph) == ["Mul", "Mul", "Loop"]
    assert total.tolist() == [21]
    assert totals.tolist() == [[6], [13], [21]]
    assert same.tolist() == [[2]] * 3


def test_a_loop_stops_at_its_condition_and_may_return_its_arguments():
    def build(x, limit):
        def body(scope, i, a, b):
            return a < 5, [a + 1, a], [b]

        return [*x.scope.loop(body, limit, x < 5, [x, x])[0]]

    for start, limit, expected in ((0.0, 100, (6, 5)), (0.0, 2, (2, 1)), (7.0, 100, (7, 7))):
        (a, b), _ = run(build, np.float64(start), np.int64(limit))
        assert (a, b) == expected


@pytest.mark.parametrize("flag", [True, False])
def test_branch_computes_only_the_chosen_side(flag):
    x = np.array([[1.0, -2.0, 3.0]])

    def chosen(xp):
        return lambda condition, a: xp.branch(condition, lambda y: y + y * y, lambda y: y, a)

    (result,), graph = run(chosen(ONNX), np.array(flag), x)
    np.testing.assert_array_equal(result, chosen(NUMPY)(flag, x))
    assert operators(graph) == ["If"], "the nodes of a branch are inside it"
    (result,), graph = run(lambda a: chosen(ONNX)(flag, a), x)
    np.testing.assert_array_equal(result, chosen(NUMPY)(flag, x))
    assert operators(graph) == (["Mul", "Add"] if flag else [])


def test_a_loop_stops_at_its_condition_or_its_limit():
    x = np.array([[1.0, 2.0]])

    def doubled(xp, bound):
        def body(y, turns):
            y = xp.matmul(y, np.array([[2.0, 0.0], [0.0, 2.0]]))
            return xp.rms(y) < bound, [y, turns + 1]

        return lambda a, n: xp.loop(body, 5, xp.rms(a) < bound, [a, n])

    for bound, turns in ((1.0, 0), (10.0, 3), (1e9, 5)):
        expected = doubled(NUMPY, bound)(x, np.int64(0))
        results, _ = run(doubled(ONNX, bound), x, np.int64(0))
        assert results[1] == expected[1] == turns
        np.testing.assert_array_equal(results[0], expected[0])
