"""Calling a model: what goes in is taken as it is, or refused with a reason."""

from dataclasses import replace

import numpy as np
import pytest
from support.artifacts import (
    affine_card,
    affine_model,
    write,
    write_affine,
    write_pair,
)

import odelet
from odelet import InputError
from odelet.artifact.card import Tensor

X = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture(scope="module")
def affine(tmp_path_factory):
    return odelet.load(write_affine(tmp_path_factory.mktemp("affine")))


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return odelet.load(write_pair(tmp_path_factory.mktemp("pair")))


def pair_arguments(**changes):
    arguments = {
        "a": np.ones((4, 2), np.float32),
        "b": np.full((4, 1), 2, np.float32),
        "factor": np.array(3, np.float32),
        "flag": np.array([True, False]),
    }
    return {**arguments, **changes}


def test_by_position_by_name_and_mixed(pair):
    given = pair_arguments()
    for total, mask in (
        pair(*given.values()),
        pair(**given),
        pair(given["a"], given["b"], flag=given["flag"], factor=given["factor"]),
    ):
        np.testing.assert_array_equal(total, np.full((4, 2), 7, np.float32))
        np.testing.assert_array_equal(mask, [False, True])


def test_lists_and_numbers_are_converted(pair, affine):
    total, mask = pair([[1, 2]], [[0.5]], 2, [True])
    np.testing.assert_array_equal(total, np.array([[2, 3]], np.float32))
    assert (total.dtype, mask.dtype) == (np.float32, np.bool_)
    np.testing.assert_array_equal(pair(**pair_arguments(factor=np.float64(3)))[0], np.full((4, 2), 7))
    np.testing.assert_array_equal(affine([[1, 2.5, float("inf")]]), np.array([[3, 6, np.inf]], np.float32))
    assert pair(**pair_arguments(flag=[]))[1].shape == (0,)


def test_any_memory_layout_is_accepted(affine, pair):
    for x in (X.T.copy().T, np.repeat(X, 2, axis=1)[:, ::2], X[::-1], np.asfortranarray(X), unaligned(X)):
        np.testing.assert_array_equal(affine(x), 2 * x + 1)
    scalar = np.ones((2, 2), np.float32)[1, ...].T[0]
    np.testing.assert_array_equal(pair(**pair_arguments(factor=np.array(scalar)))[0], np.full((4, 2), 3))
    np.testing.assert_array_equal(affine(X.view(np.matrix)), 2 * X + 1)


def unaligned(x):
    raw = np.zeros(x.nbytes + 1, np.uint8)
    raw[1:] = np.frombuffer(x.tobytes(), np.uint8)
    return raw[1:].view(x.dtype).reshape(x.shape)


def test_read_only_arrays_are_accepted_and_nothing_is_changed(affine):
    x = X.copy()
    x.flags.writeable = False
    affine(x)
    np.testing.assert_array_equal(x, X)


REFUSED = {
    "unknown": ({"c": X}, "there is no input 'c'; the inputs are a, b, factor, flag"),
    "dtype": (
        {"a": np.ones((4, 2))},
        r"input 'a' has dtype float64; expected float32: .*\.astype\('float32'\)",
    ),
    "byte order": ({"a": np.ones((4, 2), ">f4")}, "input 'a' has dtype >f4; expected float32"),
    "rank": ({"a": np.ones(4, np.float32)}, r"input 'a' has shape \(4,\); expected \[n, 2\]"),
    "rank of a scalar": (
        {"factor": np.ones(1, np.float32)},
        r"input 'factor' has shape \(1,\); expected \[\]",
    ),
    "size": ({"a": np.ones((4, 3), np.float32)}, r"input 'a' has shape \(4, 3\); expected \[n, 2\]"),
    "shared axis": (
        {"b": np.ones((5, 1), np.float32)},
        r"input 'b' has shape \(5, 1\), so its axis 'n' has size 5; expected 4, as in input 'a'",
    ),
    "ragged": ({"flag": [[True], [True, False]]}, "input 'flag' cannot be made an array"),
    "text": (
        {"factor": ["one"]},
        "input 'factor' holds values of type <U3; expected numbers that fit float32",
    ),
    "nothing": ({"factor": [None]}, "input 'factor' holds values of type object"),
    "None": ({"factor": None}, "input 'factor' is a builtins.NoneType; expected a numpy array"),
    "complex": ({"factor": [1j]}, "holds values of type complex128"),
    "numbers as bool": (
        {"flag": [1, 0]},
        "input 'flag' holds values of type int64; expected numbers that fit bool",
    ),
    "too large": ({"factor": 1e300}, r"input 'factor' holds values too large for float32: 1e\+300"),
    "masked": ({"factor": np.ma.masked_array(1.0, True)}, "input 'factor' is a masked array"),
    "an object": ({"factor": object()}, "input 'factor' is a builtins.object; expected a numpy array"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(pair, changes, message):
    with pytest.raises(InputError, match=message):
        pair(**pair_arguments(**changes))


def test_wrong_number_of_arguments(pair, affine):
    with pytest.raises(InputError, match="missing input 'x'; the inputs are x"):
        affine()
    with pytest.raises(InputError, match="missing input 'b', 'factor', 'flag'; the inputs are a, b, factor"):
        pair(X)
    with pytest.raises(InputError, match="input 'x' came twice, by position and by name"):
        affine(X, x=X)
    with pytest.raises(InputError, match="2 positional arguments came; the inputs are x"):
        affine(X, X)
    assert issubclass(InputError, ValueError)


def integers(tmp_path, dtype):
    from onnx import helper
    from support.artifacts import node, onnx_model, value

    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    card = affine_card(
        solves=(),
        inputs=(Tensor(name="x", dtype=dtype, shape=("n",)),),
        outputs=(Tensor(name="y", dtype=dtype, shape=("n",)),),
    )
    model = onnx_model([node("Identity", "x", "y")], [value("x", kind, ["n"])], [value("y", kind, ["n"])])
    return odelet.load(write(tmp_path, card, {"model.onnx": model}))


def test_integers_that_fit_and_those_that_do_not(tmp_path):
    small = integers(tmp_path / "a", "uint8")
    np.testing.assert_array_equal(small([0, 255, True]), np.array([0, 255, 1], np.uint8))
    for bad in ([256], [-1], [1.0], [2**64]):
        with pytest.raises(InputError, match="input 'x' holds values"):
            small(bad)
    wide = integers(tmp_path / "b", "int64")
    assert wide([2**62])[0] == 2**62
    with pytest.raises(InputError, match="too large for int64"):
        wide([2**63])


def test_a_model_without_inputs_says_so(tmp_path):
    from onnx import helper
    from support.artifacts import F32, node, onnx_model, value

    card = affine_card(solves=(), inputs=(), outputs=(Tensor(name="y", dtype="float32", shape=()),))
    one = helper.make_tensor("one", F32, [], [1.0])
    model = onnx_model([node("Constant", "", "y", value=one)], [], [value("y", F32, [])])
    model = odelet.load(write(tmp_path, card, {"model.onnx": model}))
    assert model() == 1
    with pytest.raises(InputError, match="the model takes no inputs"):
        model(X)


class TestSettings:
    def test_they_reach_the_graph(self, affine):
        assert affine.solve(X).stats.solves[0].time == pytest.approx(1.1e-3)
        solution = affine.solve(X, rtol=0.25, atol=1, max_steps=np.int64(7))
        assert solution.stats.solves[0].time == 1.25
        assert affine.solve(X, atol=np.float32(0.5)).stats.solves[0].time == 0.501

    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ({"rtol": 0}, "rtol=0 must be positive and finite"),
            ({"rtol": -1e-3}, "rtol=-0.001 must be positive and finite"),
            ({"atol": float("nan")}, "atol=nan must be positive and finite"),
            ({"atol": float("inf")}, "atol=inf must be positive and finite"),
            ({"rtol": "1e-3"}, "rtol='1e-3' must be a number"),
            ({"rtol": True}, "rtol=True must be a number"),
            ({"rtol": np.ones(2)}, "must be a number"),
            ({"max_steps": 0}, "max_steps=0 must be positive"),
            ({"max_steps": 2.0}, "max_steps=2.0 must be a whole number"),
            ({"max_steps": True}, "max_steps=True must be a whole number"),
            ({"max_steps": 2**63}, "must be positive and finite"),
        ],
    )
    def test_bad_values(self, affine, setting, message):
        with pytest.raises(InputError, match=message):
            affine(X, **setting)

    def test_a_form_that_takes_none(self, tmp_path):
        solve = replace(affine_card().solves[0], form="rolled", settings={"rtol": "rtol"})
        model = odelet.load(write_affine(tmp_path, affine_card(form="rolled", solves=(solve,))))
        with pytest.raises(
            InputError,
            match="max_steps=3 cannot be set: this artifact has the form 'rolled', and its steps were fixed",
        ):
            model(X, max_steps=3)
        model(X, rtol=1e-2)

    def test_a_model_without_solves(self, pair):
        with pytest.raises(InputError, match="rtol=0.1 cannot be set: .*'unrolled'"):
            pair(**pair_arguments(), rtol=0.1)


def test_an_argument_that_holds_itself(affine, tmp_path):
    card = affine_card(inputs=(Tensor(name="batch.x", dtype="float32", shape=("batch", 3)),))
    renamed = affine_model(card)
    renamed.graph.input[0].name = renamed.graph.node[0].input[0] = "batch.x"
    nested = odelet.load(write(tmp_path, card, {"model.onnx": renamed}))
    circle: list[object] = []
    circle.append(circle)
    for call in (lambda: nested(circle), lambda: nested(batch={"x": circle}), lambda: affine(circle)):
        with pytest.raises(InputError, match="holds itself|cannot be made an array"):
            call()
