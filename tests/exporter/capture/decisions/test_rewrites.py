"""Each rewrite of a call gives the result of the call itself, on ordinary tensors."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from odelet_export.capture.decisions.rewrites import legacy_constructor, rewritten, sized


class Traced:
    """Answers as during a trace: only sparse tensors are constants, sizes have values, and one tensor is a number."""

    def constant(self, x):
        return x if x.layout is not torch.strided else None

    def as_int(self, x):
        return int(x)

    def is_number(self, x):
        return x is NUMBER


def computed_by_rewrite(function, *args, **kwargs):
    """The result of the rewrite of a call. Fails if the call has no rewrite."""
    name = function.__name__
    args, kwargs = sized(name, args, kwargs, Traced())
    rewrite = rewritten(name, args, kwargs, Traced())
    assert rewrite is not None, f"{name} is not rewritten"
    return rewrite()


def assert_same(actual, expected):
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=0)


T, D, N = torch.tensor(0.25), torch.tensor(0.5, dtype=torch.float64), torch.tensor(3)
NUMBER = torch.tensor(0.7, dtype=torch.float64)
X = torch.arange(24.0).reshape(2, 3, 4)


@pytest.mark.parametrize(
    "data", [[0.0, T], [T, N], [N, 2], [D, 1.0], [[0, T], [T, True]], (T, T), [T > 0, True]], ids=str
)
def test_tensors_made_of_numbers_are_those_of_torch(data):
    assert_same(computed_by_rewrite(torch.tensor, data), torch.tensor(data))
    assert_same(computed_by_rewrite(torch.as_tensor, data), torch.as_tensor(data))
    assert_same(computed_by_rewrite(torch.tensor, data, dtype=torch.float64), torch.tensor(data, dtype=torch.float64))
    assert_same(computed_by_rewrite(torch.Tensor.new_tensor, X, data), X.new_tensor(data))


def test_the_old_constructor_takes_traced_numbers():
    with legacy_constructor():
        assert_same(torch.Tensor([0.5, T]), torch.tensor([0.5, 0.25]))
        assert_same(torch.Tensor([D, N]), torch.tensor([0.5, 3.0]))
        assert torch.Tensor(2, 3).shape == (2, 3)
        assert_same(torch.Tensor([1, 2]), torch.tensor([1.0, 2.0]))
    assert "__new__" not in vars(torch.Tensor)


ONE, LAST = torch.tensor(1), torch.tensor(-1)
INDICES = [
    ONE,
    LAST,
    (ONE, LAST),
    (slice(None), ONE),
    (Ellipsis, ONE),
    (ONE, Ellipsis, LAST),
    (0, ONE),
    (None, ONE, slice(1, 3)),
    (ONE, None, LAST),
]


@pytest.mark.parametrize("key", INDICES, ids=str)
def test_an_element_is_read_at_a_traced_number(key):
    assert_same(computed_by_rewrite(torch.Tensor.__getitem__, X, key), X[key])


@pytest.mark.parametrize("key", INDICES, ids=str)
def test_an_element_is_set_at_a_traced_number(key):
    result, expected = X.clone(), X.clone()
    value = torch.arange(X[key].numel()).reshape(X[key].shape) + 100.0
    computed_by_rewrite(torch.Tensor.__setitem__, result, key, value)
    expected[key] = value
    assert_same(result, expected)
    computed_by_rewrite(torch.Tensor.__setitem__, result, key, 7)
    expected[key] = 7
    assert_same(result, expected)


def test_slices_and_sizes_may_be_tensors():
    assert_same(computed_by_rewrite(torch.Tensor.__getitem__, X, slice(torch.tensor(1), None)), X[1:])
    args, kwargs = sized("zeros", (N, 2), {}, Traced())
    assert torch.zeros(*args, **kwargs).shape == (3, 2)
    args, _ = sized("expand", (T, [N, 2]), {}, Traced())
    assert T.expand(*args[1:]).shape == (3, 2)
    args, kwargs = sized("linspace", (0, N), {"steps": N}, Traced())
    assert args[1] is N, "an end is no size"
    assert kwargs == {"steps": 3}


@given(
    st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=9),
    st.lists(st.floats(-3, 3, width=32), max_size=5),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_searches_in_a_table_give_the_indices_of_torch(table, values, right):
    knots = torch.tensor(sorted(table))
    for x in (torch.tensor(values), knots[:1], knots[0]):
        assert_same(computed_by_rewrite(torch.bucketize, x, knots, right=right), torch.bucketize(x, knots, right=right))
        assert_same(
            computed_by_rewrite(torch.searchsorted, knots, x, right=right), torch.searchsorted(knots, x, right=right)
        )
    rows = torch.stack([knots, knots + 1])
    x = torch.tensor([values, values]) if values else torch.zeros(2, 1)
    side = "right" if right else "left"
    assert_same(computed_by_rewrite(torch.searchsorted, rows, x, side=side), torch.searchsorted(rows, x, side=side))
    result = computed_by_rewrite(torch.bucketize, x, knots, out_int32=True)
    assert_same(result, torch.bucketize(x, knots, out_int32=True))


@pytest.mark.parametrize("layout", ["coo", "csr"])
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta:UserWarning")
def test_products_with_a_sparse_matrix_are_those_of_torch(layout):
    rng = np.random.default_rng(0)
    dense = torch.tensor(rng.standard_normal((4, 5)) * (rng.random((4, 5)) < 0.5), dtype=torch.float32)
    matrix = dense.to_sparse() if layout == "coo" else dense.to_sparse_csr()
    x = torch.tensor(rng.standard_normal((5, 3)), dtype=torch.float32)
    torch.testing.assert_close(computed_by_rewrite(torch.matmul, matrix, x), dense @ x)
    torch.testing.assert_close(computed_by_rewrite(torch.mv, matrix, x[:, 0]), dense @ x[:, 0])
    assert rewritten("matmul", (dense, x), {}, Traced()) is None


@pytest.mark.parametrize("steps", [1, 2, 5, 8])
def test_linspace_takes_traced_numbers(steps):
    for start, end in ((0.0, T), (D, T), (T, 1)):
        assert_same(
            computed_by_rewrite(torch.linspace, start, end, steps), torch.linspace(float(start), float(end), steps)
        )
    result = computed_by_rewrite(torch.linspace, D, 2, steps=steps, dtype=torch.float64)
    assert_same(result, torch.linspace(0.5, 2, steps, dtype=torch.float64))


def test_full_takes_a_traced_number():
    assert_same(computed_by_rewrite(torch.full, (2, 3), T), torch.full((2, 3), 0.25))
    assert_same(computed_by_rewrite(torch.full_like, X, T), torch.full_like(X, 0.25))
    assert_same(computed_by_rewrite(torch.full, (2, 3), D), torch.full((2, 3), D))
    assert_same(computed_by_rewrite(torch.full, (2,), N), torch.full((2,), 3))
    assert rewritten("full", ((2,), 1.0), {}, Traced()) is None


def test_a_python_number_decides_no_dtype():
    assert_same(computed_by_rewrite(torch.tensor, NUMBER), torch.tensor(0.7))
    assert_same(computed_by_rewrite(torch.tensor, [NUMBER, 1]), torch.tensor([0.7, 1]))
    assert_same(computed_by_rewrite(torch.tensor, [NUMBER, D]), torch.tensor([0.7, 0.5], dtype=torch.float64))
    assert_same(computed_by_rewrite(torch.as_tensor, NUMBER, dtype=torch.float64), NUMBER)
    assert_same(computed_by_rewrite(torch.linspace, 0, NUMBER, 3), torch.linspace(0, 0.7, 3))


ROW, MATRIX = torch.tensor([0.1, 0.4, 0.9]), torch.tensor([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0]])


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (torch.full, {"size": (2, 3), "fill_value": T}),
        (torch.full_like, {"input": ROW, "fill_value": T}),
        (torch.linspace, {"start": T, "end": 1.0, "steps": 4}),
        (torch.bucketize, {"input": ROW, "boundaries": ROW, "right": True}),
        (torch.searchsorted, {"sorted_sequence": ROW, "input": ROW - 0.1}),
        (torch.mm, {"input": MATRIX.to_sparse(), "mat2": MATRIX.T.contiguous()}),
        (torch.mv, {"input": MATRIX.to_sparse(), "vec": ROW}),
        (torch.matmul, {"input": MATRIX.to_sparse(), "other": MATRIX.T.contiguous()}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_arguments_by_their_names_give_what_they_give_in_their_order(function, named):
    plain = {key: float(value) if value is T else value for key, value in named.items()}
    assert_same(computed_by_rewrite(function, **named), function(**plain))
