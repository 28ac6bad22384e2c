"""Decompositions of operators that order elements or pick some of them: ranks, running extremes, masks, flat places."""

from __future__ import annotations

from collections.abc import Callable
from types import NotImplementedType
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

aten = torch.ops.aten


def sort_stable(
    x: Tensor, *, stable: bool | None = None, dim: int = -1, descending: bool = False
) -> tuple[Tensor, Tensor]:
    """A sort that keeps the order of equals, as ONNX's TopK does."""
    return torch.sort(x, dim, descending)


def kthvalue(x: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, Tensor] | NotImplementedType:
    """The k-th smallest element along `dim`, and its index."""
    if x.ndim == 0 or not x.is_floating_point():
        return NotImplemented
    return _ranked(torch.sort(x, dim), k - 1, dim, keepdim)


def _ranked(ordered: Any, rank: int, dim: int, keepdim: bool) -> tuple[Tensor, Tensor]:
    value, place = (part.narrow(dim, rank, 1) for part in ordered)
    return (value, place) if keepdim else (value.squeeze(dim), place.squeeze(dim))


def median(x: Tensor) -> Tensor:
    """The lower median of all elements."""
    return torch.median(x.reshape(-1), 0).values


def nanmedian_dim(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor] | NotImplementedType:
    """The lower median of the elements along `dim` that are not NaN, and its index."""
    if x.ndim == 0:
        return NotImplemented
    values, places = torch.sort(torch.where(x.isnan(), float("inf"), x), dim)
    missing = x.isnan().sum(dim, keepdim=True)
    rank = ((x.shape[dim] - missing - 1) // 2).clamp(min=0)
    value, place = values.gather(dim, rank), places.gather(dim, rank)
    value = torch.where(missing == x.shape[dim], float("nan"), value)
    return (value, place) if keepdim else (value.squeeze(dim), place.squeeze(dim))


def nanmedian(x: Tensor) -> Tensor:
    """The lower median of all elements that are not NaN."""
    return torch.nanmedian(x.reshape(-1), 0).values


def _running(extreme: str) -> Callable[[Tensor, int], Any]:
    """The decomposition of cummax or cummin: for each element the extreme of a row of a triangle, and the last index
    where it is. The memory is quadratic in the length of the axis."""

    def running(x: Tensor, dim: int) -> tuple[Tensor, Tensor] | NotImplementedType:
        if x.ndim == 0 or not x.is_floating_point():
            return NotImplemented
        axis_last, places = x.movedim(dim, -1), torch.arange(x.shape[dim])
        until = places <= places.unsqueeze(-1)
        outside = -float("inf") if extreme == "amax" else float("inf")
        rows = torch.where(until, axis_last.unsqueeze(-2), outside)
        values = getattr(rows, extreme)(-1)
        here = until & (rows == values.unsqueeze(-1))
        index = torch.where(here, places, 0).amax(-1)
        return values.movedim(-1, dim), index.movedim(-1, dim)

    return running


def masked_select(x: Tensor, mask: Tensor) -> Tensor:
    """The elements where a mask is True, as a row."""
    x, mask = torch.broadcast_tensors(x, mask)
    return aten.index.Tensor(x, [mask])


def put(x: Tensor, places: Tensor, values: Tensor, accumulate: bool = False) -> Tensor:
    """A copy of x with values at places of the flat x."""
    flat, rows, new = x.reshape(-1), places.reshape(-1), values.reshape(-1)
    flat = flat.index_put((rows,), new, accumulate)
    return flat.reshape(x.shape)


def index_reduce(
    x: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """A copy of x in which slices along `dim` are combined with those of a source."""
    places = index.reshape([-1 if axis == dim % x.ndim else 1 for axis in range(x.ndim)]).expand(source.shape)
    return x.scatter_reduce(dim, places, source, reduce, include_self=include_self)


DECOMPOSITIONS: dict[OpOverload, Callable[..., Any]] = {
    aten.sort.stable: sort_stable,
    aten.kthvalue.default: kthvalue,
    aten.median.default: median,
    aten.nanmedian.default: nanmedian,
    aten.nanmedian.dim: nanmedian_dim,
    aten.cummax.default: _running("amax"),
    aten.cummin.default: _running("amin"),
    aten.masked_select.default: masked_select,
    aten.put.default: put,
    aten.index_reduce.default: index_reduce,
}
