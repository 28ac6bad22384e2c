"""Operators that order or pick elements, in other operators, agree with torch's own."""

import pytest
import torch

from odelet_export.capture.operators import matrices, orders, triangular

aten = torch.ops.aten
X = torch.tensor([[3.0, -1.0, 3.0, 0.5, 2.0], [0.0, 4.0, -2.0, 4.0, 1.0], [1.0, 1.0, 1.0, 0.0, 5.0]])
GAPS = torch.where(torch.tensor([1, 0, 0, 1, 0]).bool(), float("nan"), X)
CALLS = {
    "kthvalue": (aten.kthvalue.default, (X, 1, 1, True)),
    "kthvalue flat": (aten.kthvalue.default, (X, 3, 0)),
    "median": (aten.median.default, (X,)),
    "nanmedian": (aten.nanmedian.default, (GAPS,)),
    "nanmedian axis": (aten.nanmedian.dim, (GAPS[:2], 1)),
    "cummax": (aten.cummax.default, (X, 1)),
    "cummin": (aten.cummin.default, (X, 0)),
    "masked_select": (aten.masked_select.default, (X, X[:1] > 0.6)),
    "put": (aten.put.default, (X, torch.tensor([[0, 7]]), torch.tensor([9.0, 8.0]))),
    "put added": (aten.put.default, (X, torch.tensor([2, 2]), torch.tensor([9.0, 8.0]), True)),
    "index_reduce": (aten.index_reduce.default, (X, 1, torch.tensor([0, 3, 3]), X[:, :3] * 2, "amax")),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_decomposition_agrees_with_torch(name):
    operator, args = CALLS[name]
    torch.testing.assert_close(orders.DECOMPOSITIONS[operator](*args), operator(*args), equal_nan=True)


def test_a_stable_sort_agrees_with_torch():
    for descending in (False, True):
        sort = orders.sort_stable(X, stable=True, dim=1, descending=descending)
        torch.testing.assert_close(sort[0], torch.sort(X, dim=1, descending=descending, stable=True)[0])


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 30.0])
def test_the_exponential_of_matrices_agrees_with_torch(size, scale):
    torch.manual_seed(size)
    matrix = scale * torch.randn(3, size, size, dtype=torch.float64)
    torch.testing.assert_close(matrices.matrix_exp(matrix), torch.linalg.matrix_exp(matrix))
    torch.testing.assert_close(
        matrices.matrix_exp(-matrix.mT), torch.linalg.matrix_exp(-matrix.mT), atol=1e-9, rtol=1e-6
    )


@pytest.mark.parametrize("upper", [False, True])
def test_older_names_of_triangular_functions_agree_with_torch(upper):
    torch.manual_seed(0)
    root, right = torch.randn(2, 4, 4, dtype=torch.float64), torch.randn(2, 4, 3, dtype=torch.float64)
    matrix = root @ root.mT + torch.eye(4, dtype=torch.float64)
    factor = torch.linalg.cholesky(matrix, upper=upper)
    torch.testing.assert_close(triangular.cholesky(matrix, upper=upper), factor)
    torch.testing.assert_close(triangular.cholesky_solve(right, factor, upper=upper), torch.linalg.solve(matrix, right))
    torch.testing.assert_close(triangular.cholesky_inverse(factor, upper=upper), torch.linalg.inv(matrix))
    for transpose in (False, True):
        solved = triangular.triangular_solve(right, factor, upper, transpose)[0]
        turned = factor.mT if transpose else factor
        torch.testing.assert_close(turned @ solved, right)
