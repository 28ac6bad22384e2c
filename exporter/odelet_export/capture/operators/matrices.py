"""Inverses, solutions and determinants of small matrices, written out: ONNX has operators for none but the last.

Gauss-Jordan elimination with the largest pivot of each column, as LAPACK picks it. The size is fixed when the model is
traced. What torch hands its gradients as an LU factorisation is here the matrix itself: the functions below give and
take it, and no user sees it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten
# The nodes grow with the square of the size, and above this it had better be a library's work.
LARGEST = 8
# torch's pivots are int32; these tell a factorisation of ours, which is none, from one of torch's.
_OURS = torch.int64


def _eliminate(matrix: Tensor, right: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Solve matrix @ x = right, (..., n, n) and (..., n, m). Returns x, the pivots, and for each whether rows changed
    places to get it, (...)."""
    n = int(matrix.shape[-1])
    both = torch.cat([matrix, right.expand(*matrix.shape[:-1], right.shape[-1])], dim=-1)
    rows = torch.arange(n)
    pivots, swapped = [], []
    for k in range(n):
        place = both[..., k:, k].abs().argmax(-1, keepdim=True) + k
        order = torch.where(rows == k, place, torch.where(rows == place, k, rows))
        both = torch.gather(both, -2, order.unsqueeze(-1).expand(both.shape))
        pivot = both[..., k : k + 1, k : k + 1]
        row = both[..., k : k + 1, :] / pivot
        here = (rows == k).unsqueeze(-1)
        both = torch.where(here, row, both - both[..., :, k : k + 1] * row)
        pivots.append(pivot[..., 0, 0])
        swapped.append(place[..., 0] != k)
    return both[..., n:], pivots, swapped


def _fits(matrix: Tensor) -> bool:
    return matrix.is_floating_point() and matrix.shape[-1] <= LARGEST


def _none(matrix: Tensor) -> Tensor:
    """Pivots of no factorisation."""
    return torch.zeros(matrix.shape[:-1], dtype=_OURS)


def _factored(matrix: Tensor) -> Tensor:
    """What torch factorises for a determinant, and its gradient reckons with: the transpose, where that lies right."""
    return matrix.mT if matrix.is_contiguous() else matrix


def _solved(matrix: Tensor, right: Tensor, *, left: bool) -> Tensor:
    if left:
        return _eliminate(matrix, right)[0]
    return _eliminate(matrix.mT, right.mT)[0].mT


def inv_ex(matrix: Tensor, *, check_errors: bool = False) -> Any:
    """The inverse, and 0 for no error: a singular matrix gives infinities, where torch raises."""
    if not _fits(matrix):
        return NotImplemented
    inverse, _, _ = _eliminate(matrix, torch.eye(int(matrix.shape[-1]), dtype=matrix.dtype))
    return inverse, torch.zeros(matrix.shape[:-2], dtype=torch.int32)


def solve_ex(matrix: Tensor, right: Tensor, *, left: bool = True, check_errors: bool = False) -> Any:
    """The solution of a system, of one right side (..., n) or of many (..., n, m)."""
    if not _fits(matrix):
        return NotImplemented
    vector = right.ndim == 1 or (right.ndim == matrix.ndim - 1 and right.shape == matrix.shape[:-1])
    solution = _solved(matrix, right.unsqueeze(-1) if vector else right, left=left)
    info = torch.zeros(matrix.shape[:-2], dtype=torch.int32)
    return solution.squeeze(-1) if vector else solution, matrix, _none(matrix), info


def lu_solve(matrix: Tensor, pivots: Tensor, right: Tensor, *, left: bool = True, adjoint: bool = False) -> Any:
    """A system solved by what `solve_ex`, `det` or `slogdet` gave."""
    if not _fits(matrix) or pivots.dtype != _OURS:
        return NotImplemented
    return _solved(matrix.mT if adjoint else matrix, right, left=left)


def det(matrix: Tensor) -> Any:
    """The determinant."""
    if not _fits(matrix):
        return NotImplemented
    sign, pivots = _pivots(matrix)
    for pivot in pivots:
        sign = sign * pivot
    return sign, _factored(matrix), _none(matrix)


def slogdet(matrix: Tensor) -> Any:
    """The determinant as its sign and the logarithm of its size."""
    if not _fits(matrix):
        return NotImplemented
    sign, pivots = _pivots(matrix)
    size = torch.zeros_like(sign)
    for pivot in pivots:
        sign, size = sign * pivot.sign(), size + pivot.abs().log()
    return sign, size, _factored(matrix), _none(matrix)


def _pivots(matrix: Tensor) -> tuple[Tensor, list[Tensor]]:
    """1 or -1 for the rows that changed places, and the pivots."""
    _, pivots, swapped = _eliminate(matrix, matrix[..., :1])
    sign = torch.ones_like(pivots[0])
    for swap in swapped:
        sign = torch.where(swap, -sign, sign)
    return sign, pivots


DECOMPOSITIONS: dict[Any, Callable[..., Any]] = {
    aten.linalg_inv_ex.default: inv_ex,
    aten._linalg_solve_ex.default: solve_ex,
    aten.linalg_lu_solve.default: lu_solve,
    aten._linalg_det.default: det,
    aten._linalg_slogdet.default: slogdet,
    aten._linalg_check_errors.default: lambda *_, **__: None,
}
