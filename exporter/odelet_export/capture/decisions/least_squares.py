"""torch.linalg.lstsq by a QR factorisation, as no tracer knows the shapes of the results of torch's operator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from odelet_export.capture.decisions.indexing import Numbers, Rewritten


class LeastSquares(NamedTuple):
    """What torch.linalg.lstsq returns, by the same names; no singular values."""

    solution: Tensor
    residuals: Tensor
    rank: Tensor
    singular_values: Tensor | None


def least_squares(args: Sequence[Any], kwargs: Mapping[str, Any], _: Numbers) -> Rewritten:
    """torch.linalg.lstsq of matrices with a fixed number of columns."""
    given = {**dict(zip(("A", "B", "rcond"), args, strict=False)), **kwargs}
    matrix, right = (given.get(name, given.get(other)) for name, other in (("A", "input"), ("B", "b")))
    if not (isinstance(matrix, Tensor) and isinstance(right, Tensor) and matrix.is_floating_point()):
        return None
    if not isinstance(matrix.shape[-1], int):
        return None
    return lambda: _solved(matrix, right, given.get("rcond"), given.get("driver") or "gelsy")


def _solved(matrix: Tensor, right: Tensor, rcond: float | None, driver: str) -> LeastSquares:
    """The solution, of a wide matrix the smallest one; NaN for a matrix that torch may take for one without full rank,
    for which its drivers have several answers."""
    m, n = matrix.shape[-2:]
    vector = right.ndim == matrix.ndim - 1 and right.shape == matrix.shape[:-1]
    sides = right.unsqueeze(-1) if vector else right
    if isinstance(m, int):
        x = _by_factors(matrix, sides, torch.finfo(matrix.dtype).eps * max(m, n) if rcond is None else rcond)
    else:
        x = torch.linalg.pinv(matrix, rtol=rcond) @ sides
    error = (matrix @ x - sides).square().sum(-2) if driver != "gelsy" and m > n else matrix.new_zeros(0)
    none = matrix.new_zeros(0)
    rank = torch.full(matrix.shape[:-2], min(m, n), dtype=torch.int64) if driver != "gels" else none.long()
    values = none if driver in ("gels", "gelsy") else None
    return LeastSquares(x.squeeze(-1) if vector else x, error, rank, values)


def _by_factors(matrix: Tensor, sides: Tensor, limit: float) -> Tensor:
    """The solution (..., n, k) for right sides (..., m, k). limit: for the inverse of the condition of the matrix."""
    m, n = matrix.shape[-2:]
    q, r = torch.linalg.qr(matrix if m >= n else matrix.mT)
    if m >= n:
        x = torch.linalg.solve_triangular(r, q.mT @ sides, upper=True)
    else:
        x = q @ torch.linalg.solve_triangular(r.mT, sides, upper=False)
    triangle, one = r.detach(), torch.eye(min(m, n), dtype=r.dtype)
    inverse = torch.linalg.solve_triangular(triangle, one.expand(triangle.shape), upper=True)
    size, inverse_size = (part.square().sum((-2, -1), keepdim=True).sqrt() for part in (triangle, inverse))
    return torch.where(size * inverse_size * limit < 1, x, torch.nan)
