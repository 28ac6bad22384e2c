"""QR and LU factors of small matrices in elementary operators, with the signs and pivots of LAPACK.

QR: reflections, one for each column, as in LAPACK's geqrf; the matrix R has the signs that they give its diagonal.
LU: elimination with the largest element of each column as its pivot. The sizes are fixed when the model is traced.
"""

from __future__ import annotations

from collections.abc import Callable
from types import NotImplementedType
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from odelet_export.capture.operators import matrices
from odelet_export.capture.operators.triangular import LARGEST, solve_triangular

aten = torch.ops.aten


def _fits(matrix: Tensor) -> bool:
    """Whether a matrix is not complex, and small enough; its sizes must be fixed."""
    sizes = matrix.shape[-2:]
    fixed = all(isinstance(size, int) or size.node.expr.is_number for size in sizes)
    return fixed and matrix.is_floating_point() and 0 < max(sizes) <= LARGEST


def _reflections(matrix: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """The triangle R (..., m, n); for each reflection 1 - factor v v^T its v (..., m, 1) and its factor (..., 1, 1)."""
    m, n = (int(size) for size in matrix.shape[-2:])
    rows = torch.arange(m).unsqueeze(-1)
    vectors, factors = [], []
    for j in range(min(m, n)):
        column = matrix[..., :, j : j + 1]
        first = column[..., j : j + 1, :]
        below = torch.where(rows > j, column, 0.0)
        scale = below.abs().amax(-2, keepdim=True)
        done = scale == 0
        scale = torch.maximum(torch.where(done, 1.0, scale), first.abs())
        length = ((below / scale).square().sum(-2, keepdim=True) + (first / scale).square()).sqrt() * scale
        new = torch.where(first > 0, -length, length)
        vector = torch.where(rows == j, 1.0, below / torch.where(done, 1.0, first - new))
        factor = torch.where(done, 0.0, (new - first) / new)
        matrix = matrix - factor * vector * (vector.mT @ matrix)
        # What rounding leaves below the diagonal is zero.
        matrix = torch.where((rows > j) & (torch.arange(n) == j), 0.0, matrix)
        vectors.append(vector)
        factors.append(factor)
    return matrix, vectors, factors


def _product(vectors: list[Tensor], factors: list[Tensor], columns: int) -> Tensor:
    """The first columns of the product of reflections."""
    m = int(vectors[0].shape[-2])
    product = torch.eye(m, columns, dtype=vectors[0].dtype).expand(*vectors[0].shape[:-2], m, columns)
    for vector, factor in zip(reversed(vectors), reversed(factors), strict=True):
        product = product - factor * vector * (vector.mT @ product)
    return product


def qr(matrix: Tensor, mode: str = "reduced") -> tuple[Tensor, Tensor] | NotImplementedType:
    """Q (..., m, k) and R (..., k, n), where k is m for the mode "complete", and else the smaller one of m and n."""
    if not _fits(matrix):
        return NotImplemented
    m, n = (int(size) for size in matrix.shape[-2:])
    k = m if mode == "complete" else min(m, n)
    triangle, vectors, factors = _reflections(matrix)
    q = matrix.new_zeros(0) if mode == "r" else _product(vectors, factors, k)
    return q, triangle[..., :k, :]


def householder_product(vectors: Tensor, factors: Tensor) -> Tensor | NotImplementedType:
    """The first n columns of the product of reflections. vectors: (..., m, n), of which the part below the diagonal is
    read, beside ones on it. factors: (..., k)."""
    if not _fits(vectors):
        return NotImplemented
    m, n = (int(size) for size in vectors.shape[-2:])
    rows, count = torch.arange(m).unsqueeze(-1), int(factors.shape[-1])
    if count == 0:
        return torch.eye(m, n, dtype=vectors.dtype).expand(vectors.shape)
    whole = [torch.where(rows == j, 1.0, torch.where(rows > j, vectors[..., :, j : j + 1], 0.0)) for j in range(count)]
    return _product(whole, [factors[..., j, None, None] for j in range(count)], n)


def _pivoted(matrix: Tensor) -> tuple[Tensor, list[Tensor]]:
    """L below the diagonal and U on and above it, in one matrix, and for each column the row (..., 1) of its pivot."""
    m, n = (int(size) for size in matrix.shape[-2:])
    rows, columns, pivots = torch.arange(m), torch.arange(n), []
    for k in range(min(m, n)):
        place = matrix[..., k:, k].abs().argmax(-1, keepdim=True) + k
        matrix = _swapped(matrix, k, place)
        pivot = matrix[..., k : k + 1, k : k + 1]
        below = (rows > k).unsqueeze(-1)
        share = torch.where(pivot == 0, 0.0, matrix[..., :, k : k + 1] / torch.where(pivot == 0, 1.0, pivot))
        rest = torch.where(columns == k, share, matrix - share * matrix[..., k : k + 1, :])
        matrix = torch.where(below & (columns >= k), rest, matrix)
        pivots.append(place)
    return matrix, pivots


def _swapped(matrix: Tensor, k: int, place: Tensor) -> Tensor:
    """A matrix with two rows exchanged. place: (..., 1), the other row."""
    rows = torch.arange(int(matrix.shape[-2]))
    order = torch.where(rows == k, place, torch.where(rows == place, k, rows)).unsqueeze(-1)
    return matrix.gather(-2, order.expand(*matrix.shape[:-2], *order.shape[-2:-1], matrix.shape[-1]))


def lu_factor(
    matrix: Tensor, *, pivot: bool = True, check_errors: bool = False
) -> tuple[Tensor, Tensor, Tensor] | NotImplementedType:
    """The factors in one matrix, the pivots (..., k), which count from 1, and error codes (...) of 0."""
    if not _fits(matrix) or not pivot:
        return NotImplemented
    factors, pivots = _pivoted(matrix)
    return factors, torch.cat(pivots, -1).to(torch.int32) + 1, torch.zeros(matrix.shape[:-2], dtype=torch.int32)


def lu_unpack(
    factors: Tensor, pivots: Tensor, unpack_data: bool = True, unpack_pivots: bool = True
) -> tuple[Tensor, Tensor, Tensor] | NotImplementedType:
    """P, L and U of the result of `lu_factor`."""
    if not _fits(factors):
        return NotImplemented
    m, n = (int(size) for size in factors.shape[-2:])
    k, none = min(m, n), factors.new_zeros(0)
    lower = factors[..., :k].tril(-1) + torch.eye(m, k, dtype=factors.dtype) if unpack_data else none
    upper = factors[..., :k, :].triu() if unpack_data else none
    order = torch.eye(m, dtype=factors.dtype).expand(*factors.shape[:-2], m, m)
    for j in range(k):
        order = _swapped(order, j, pivots[..., j : j + 1].long() - 1)
    return order.mT if unpack_pivots else none, lower, upper


def lu(matrix: Tensor, *, pivot: bool = True) -> tuple[Tensor, Tensor, Tensor] | NotImplementedType:
    """P, L and U with matrix = P L U."""
    found = lu_factor(matrix, pivot=pivot)
    return lu_unpack(found[0], found[1]) if isinstance(found, tuple) else NotImplemented


def lu_solve(
    factors: Tensor, pivots: Tensor, right: Tensor, *, left: bool = True, adjoint: bool = False
) -> Tensor | NotImplementedType:
    """The solution of a system by the result of `lu_factor`, or by a factorisation of `matrices`."""
    if matrices.is_ours(pivots):
        return matrices.lu_solve(factors, pivots, right, left=left, adjoint=adjoint)
    parts = lu_unpack(factors, pivots)
    if not isinstance(parts, tuple):
        return NotImplemented
    if not left:
        turned = lu_solve(factors, pivots, right.mT, adjoint=not adjoint)
        return turned.mT if isinstance(turned, Tensor) else NotImplemented
    order, lower, upper = parts
    if adjoint:
        half: Any = solve_triangular(upper.mT, right, upper=False)
        return order @ solve_triangular(lower.mT, half, upper=True, unitriangular=True)
    half = solve_triangular(lower, order.mT @ right, upper=False, unitriangular=True)
    return solve_triangular(upper, half, upper=True)


DECOMPOSITIONS: dict[OpOverload, Callable[..., Any]] = {
    aten.linalg_qr.default: qr,
    aten.linalg_householder_product.default: householder_product,
    aten.linalg_lu_factor_ex.default: lu_factor,
    aten.lu_unpack.default: lu_unpack,
    aten.linalg_lu.default: lu,
    aten.linalg_lu_solve.default: lu_solve,
}
