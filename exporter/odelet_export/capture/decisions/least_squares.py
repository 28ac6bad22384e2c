"""torch.linalg.lstsq by a QR factorisation, as no tracer knows the shapes of the results of torch's operator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from odelet_export.capture.decisions.indexing import Numbers, Rewritten


class LeastSquares(NamedTuple):
    """What torch.linalg.lstsq returns, by the same names."""

    solution: Tensor
    residuals: Tensor
    rank: Tensor
    singular_values: Tensor


def least_squares(args: Sequence[Any], kwargs: Mapping[str, Any], _: Numbers) -> Rewritten:
    """torch.linalg.lstsq with one of the drivers that compute no singular values, for matrices of fixed size."""
    given = {**dict(zip(("A", "B", "rcond"), args, strict=False)), **kwargs}
    matrix, right = (given.get(name, given.get(other)) for name, other in (("A", "input"), ("B", "b")))
    if not (isinstance(matrix, Tensor) and isinstance(right, Tensor) and matrix.is_floating_point()):
        return None
    if given.get("driver") not in (None, "gelsy", "gels") or not all(isinstance(n, int) for n in matrix.shape[-2:]):
        return None
    return lambda: _solved(matrix, right, given.get("rcond"), residuals=given.get("driver") == "gels")


def _solved(matrix: Tensor, right: Tensor, rcond: float | None, *, residuals: bool) -> LeastSquares:
    """The solution, of a wide matrix the smallest one; NaN for a matrix that torch may take for one without full rank,
    for which its drivers have several answers."""
    m, n = matrix.shape[-2:]
    vector = right.ndim == matrix.ndim - 1 and right.shape == matrix.shape[:-1]
    sides = right.unsqueeze(-1) if vector else right
    q, r = torch.linalg.qr(matrix if m >= n else matrix.mT)
    if m >= n:
        x = torch.linalg.solve_triangular(r, q.mT @ sides, upper=True)
    else:
        x = q @ torch.linalg.solve_triangular(r.mT, sides, upper=False)
    triangle, one = r.detach(), torch.eye(min(m, n), dtype=r.dtype)
    inverse = torch.linalg.solve_triangular(triangle, one.expand(triangle.shape), upper=True)
    size, inverse_size = (part.square().sum((-2, -1), keepdim=True).sqrt() for part in (triangle, inverse))
    limit = torch.finfo(matrix.dtype).eps * max(m, n) if rcond is None else rcond
    x = torch.where(size * inverse_size * limit < 1, x, torch.nan)
    error = (matrix @ x - sides).square().sum(-2) if residuals and m > n else matrix.new_zeros(0)
    rank = torch.full([] if residuals else matrix.shape[:-2], min(m, n), dtype=torch.int64)
    return LeastSquares(
        x.squeeze(-1) if vector else x, error, rank.new_zeros(0) if residuals else rank, matrix.new_zeros(0)
    )
