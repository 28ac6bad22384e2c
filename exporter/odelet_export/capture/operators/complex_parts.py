"""Complex tensors as torch translates them to ONNX: real tensors whose last axis holds the real and imaginary part.

`MOVES` are the decompositions of operators that move, choose or make elements, and that torch does not translate for
complex tensors: the same is done to the real tensor. Each function takes the arguments of its operator; NotImplemented
leaves real tensors as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

aten = torch.ops.aten
Decomposition = Callable[..., Any]


def any_complex(*values: object) -> bool:
    return any(isinstance(x, complex) or (isinstance(x, Tensor) and x.is_complex()) for x in values)


def reals_of(x: Any) -> Tensor:
    """A tensor as a real one with an axis of the real and the imaginary part, which are its last axis."""
    return torch.view_as_real(x) if x.is_complex() else torch.stack([x, torch.zeros_like(x)], -1)


def parts_of(x: Any) -> tuple[Any, Any]:
    """The real and the imaginary part of a tensor or a number."""
    if not isinstance(x, Tensor):
        return complex(x).real, complex(x).imag
    if not x.is_complex():
        return x, torch.zeros_like(x)
    real, imaginary = reals_of(x).unbind(-1)
    return real, imaginary


def complex_of(reals: Tensor) -> Tensor:
    return torch.view_as_complex(reals.contiguous())


def joined(real: Tensor, imaginary: Tensor) -> Tensor:
    return complex_of(torch.stack([real, imaginary], -1))


def _along(function: Decomposition, *, place: int = 1, more: int = 0, default: int | None = None) -> Decomposition:
    """The decomposition of an operator that takes an axis. place: of the axis among the arguments; more: how many axes
    the result has more than the first argument."""

    def moved(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not any_complex(x):
            return NotImplemented
        given = list(args)
        axis = given[place - 1] if len(given) >= place else kwargs.pop("dim", default)
        axes = [one % (x.ndim + more) for one in (axis if isinstance(axis, (list, tuple)) else [axis])]
        given[place - 1 : place] = [axes if isinstance(axis, (list, tuple)) else axes[0]]
        result = function(reals_of(x), *(reals_of(one) if any_complex(one) else one for one in given), **kwargs)
        return [complex_of(one) for one in result] if isinstance(result, (list, tuple)) else complex_of(result)

    return moved


def _sized(function: Decomposition, last: int) -> Decomposition:
    """The decomposition of an operator that takes a number for each axis. last: the number for the axis of parts."""

    def moved(x: Tensor, sizes: Sequence[Any], **kwargs: Any) -> Any:
        return complex_of(function(reals_of(x), [*sizes, last], **kwargs)) if any_complex(x) else NotImplemented

    return moved


def _pad(x: Tensor, pad: Sequence[int], value: Any = 0.0) -> Any:
    if not any_complex(x):
        return NotImplemented
    real, imaginary = parts_of(value)
    if real == imaginary:
        return complex_of(aten.constant_pad_nd(reals_of(x), [0, 0, *pad], real))
    parts = zip(parts_of(x), (real, imaginary), strict=True)
    return joined(*(aten.constant_pad_nd(part, pad, number) for part, number in parts))


def _index(x: Tensor, indices: Sequence[Tensor | None]) -> Any:
    return complex_of(aten.index(reals_of(x), indices)) if any_complex(x) else NotImplemented


def _index_put(x: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool = False) -> Any:
    if not any_complex(x):
        return NotImplemented
    return complex_of(aten.index_put(reals_of(x), indices, reals_of(values), accumulate))


def _copy(x: Tensor, source: Tensor, non_blocking: bool = False) -> Any:
    return source.to(x.dtype).expand(x.shape) if any_complex(x, source) else NotImplemented


def _where(condition: Tensor, x: Tensor, other: Tensor) -> Any:
    if not any_complex(x, other):
        return NotImplemented
    return complex_of(torch.where(condition.unsqueeze(-1), reals_of(x), reals_of(other)))


def _filled(size: Sequence[Any], number: complex, dtype: torch.dtype | None) -> Tensor:
    real = torch.float64 if dtype is torch.complex128 else torch.float32
    return joined(*(torch.full(size, part, dtype=real) for part in parts_of(number)))


def _full(size: Sequence[Any], number: complex, *, dtype: torch.dtype | None = None, **kwargs: Any) -> Any:
    wanted = (dtype is not None and dtype.is_complex) or (dtype is None and isinstance(number, complex))
    return _filled(size, number, dtype) if wanted else NotImplemented


def _full_like(number: complex | None) -> Decomposition:
    def like(x: Tensor, *args: Any, dtype: torch.dtype | None = None, **kwargs: Any) -> Any:
        dtype = dtype or x.dtype
        return _filled(x.shape, args[0] if number is None else number, dtype) if dtype.is_complex else NotImplemented

    return like


def _new_filled(number: complex) -> Decomposition:
    def filled(size: Sequence[Any], *, dtype: torch.dtype | None = None, **kwargs: Any) -> Any:
        return _filled(size, number, dtype) if dtype is not None and dtype.is_complex else NotImplemented

    return filled


def _to(x: Tensor, *, dtype: torch.dtype | None = None, **kwargs: Any) -> Any:
    """The conversion between real and complex dtypes; of a complex tensor to real ones, its real part, as in torch."""
    if dtype is None or not (any_complex(x) or dtype.is_complex):
        return NotImplemented
    real = {torch.complex64: torch.float32, torch.complex128: torch.float64}.get(dtype, dtype)
    parts = [part.to(real) for part in parts_of(x)]
    return joined(*parts) if dtype.is_complex else parts[0]


_ALONG: dict[OpOverload, Decomposition] = {
    **{op: _along(op) for op in (aten.select.int, aten.index_select.default, aten.cumsum.default)},
    **{op: _along(op, place=2, default=0) for op in (aten.split.Tensor, aten.split_with_sizes.default)},
    **{op: _along(op, place=2, default=0) for op in (aten.slice_scatter.default, aten.select_scatter.default)},
    **{op: _along(op, default=0) for op in (aten.slice.Tensor, aten.unbind.int)},
    aten.unsqueeze.default: _along(aten.unsqueeze.default, more=1),
    **{op: _along(op) for op in (aten.squeeze.dim, aten.squeeze.dims, aten.flip.default)},
}

MOVES: dict[OpOverload, Decomposition] = {
    **_ALONG,
    aten.expand.default: _sized(aten.expand.default, 2),
    aten.repeat.default: _sized(aten.repeat.default, 1),
    aten.constant_pad_nd.default: _pad,
    aten.index.Tensor: _index,
    aten.index_put.default: _index_put,
    aten.where.self: _where,
    aten.copy.default: _copy,
    aten.full.default: _full,
    aten.full_like.default: _full_like(None),
    aten.zeros_like.default: _full_like(0),
    aten.ones_like.default: _full_like(1),
    aten.zeros.default: _new_filled(0),
    aten.ones.default: _new_filled(1),
    aten._to_copy.default: _to,
}
