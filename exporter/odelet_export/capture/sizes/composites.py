"""Functions that torch composes of others by the sizes of tensors, in other operators that leave the sizes free.

torch's own compositions make numbers of the sizes (`kron`, `multi_dot`, `fftfreq`), choose an algorithm by them
(`cdist`, `isin`), or decide by values where none of their arguments needs it (`cov`). As other rewrites do, these
return a function that computes the result, or None for a call that can be traced as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from odelet_export.capture.sizes.windows import Composite, triangle


def _free(*values: Any) -> bool:
    """Whether a size among values, or an axis of a tensor among them, may change."""
    sizes = [size for x in values for size in (x.shape if isinstance(x, Tensor) else [x])]
    return any(isinstance(size, (torch.SymInt, torch.SymFloat)) for size in sizes)


def _cdist(args: Sequence[Any], kwargs: Mapping[str, Any], _: object) -> Callable[[], Tensor] | None:
    """torch.cdist by differences; by itself it takes products of matrices for more than 25 rows."""
    mode = "donot_use_mm_for_euclid_dist"
    if len(args) > 3 or kwargs.get("compute_mode") == mode:
        return None
    return lambda: torch.cdist(*args, **{**kwargs, "compute_mode": mode})


def _isin(args: Sequence[Any], kwargs: Mapping[str, Any], _: object) -> Callable[[], Tensor] | None:
    """torch.isin by comparing all pairs; by itself it sorts where there are many."""
    given = [*args, *(kwargs[name] for name in ("elements", "test_elements") if name in kwargs)]
    if not all(isinstance(x, Tensor) for x in given) or not _free(*given):
        return None
    elements, tested = given

    def compare() -> Tensor:
        found = (elements.unsqueeze(-1) == tested.reshape(-1)).any(-1)
        return ~found if kwargs.get("invert") else found

    return compare


def _products(args: Sequence[Any], kwargs: Mapping[str, Any], _: object) -> Callable[[], Tensor] | None:
    """The product of several matrices from the left to the right; torch chooses the order by the sizes."""
    matrices = args[0] if args and isinstance(args[0], (list, tuple)) else args
    if not _free(*matrices) or kwargs.get("out") is not None or len(matrices) < 2:
        return None
    return lambda: reduce(torch.matmul, matrices)


def _kron(args: Sequence[Any], kwargs: Mapping[str, Any], _: object) -> Callable[[], Tensor] | None:
    """The Kronecker product, as an outer product with its axes in turn."""
    given = [*args, *(kwargs[name] for name in ("input", "other") if name in kwargs)]
    if not _free(*given):
        return None

    def multiply() -> Tensor:
        a, b = given
        count = max(a.ndim, b.ndim)
        a, b = (x.reshape(*[1] * (count - x.ndim), *x.shape) for x in (a, b))
        left = a.reshape([size for n in a.shape for size in (n, 1)])
        right = b.reshape([size for n in b.shape for size in (1, n)])
        return (left * right).reshape([n * m for n, m in zip(a.shape, b.shape, strict=True)])

    return multiply


def _cov(args: Sequence[Any], kwargs: Mapping[str, Any], _: object) -> Callable[[], Tensor] | None:
    """torch.cov without weights, and torch.corrcoef, for tensors of numbers with a fraction."""
    x, correction = args[0] if args else kwargs["input"], kwargs.get("correction", 1)
    if len(args) > 1 or not x.is_floating_point() or {"fweights", "aweights"} & {*kwargs}:
        return None

    def covariance() -> Tensor:
        rows = x if x.ndim == 2 else x.reshape(1, -1)
        centred = rows - rows.mean(1, keepdim=True)
        total = centred @ centred.mT
        count = torch.ones_like(rows[0]).sum() - correction
        both = total / count.clamp(min=0)
        return both if x.ndim == 2 else both.reshape(())

    return covariance


def _corrcoef(args: Sequence[Any], kwargs: Mapping[str, Any], _: object) -> Callable[[], Tensor] | None:
    covariance = _cov(args, kwargs, _)
    if covariance is None:
        return None

    def correlation() -> Tensor:
        both = covariance()
        if both.ndim == 0:
            return both / both
        deviation = both.diagonal().sqrt()
        return (both / deviation.unsqueeze(1) / deviation).clamp(-1.0, 1.0)

    return correlation


def _frequencies(args: Sequence[Any], kwargs: Mapping[str, Any], _: object) -> Callable[[], Tensor] | None:
    """torch.fft.fftfreq of a size that may change: 0, 1, ..., -2, -1, divided by the length of the signal."""
    size, spacing = args[0] if args else kwargs["n"], args[1] if len(args) > 1 else kwargs.get("d", 1.0)
    if not _free(size):
        return None
    dtype = kwargs.get("dtype") or torch.get_default_dtype()

    def frequencies() -> Tensor:
        place = torch.arange(size, dtype=torch.int64)
        signed = torch.where(place < (size + 1) // 2, place, place - size)
        return signed.to(dtype) * (1.0 / (size * spacing))

    return frequencies


def _real_frequencies(args: Sequence[Any], kwargs: Mapping[str, Any], _: object) -> Callable[[], Tensor] | None:
    """torch.fft.rfftfreq of a size that may change."""
    size, spacing = args[0] if args else kwargs["n"], args[1] if len(args) > 1 else kwargs.get("d", 1.0)
    if not _free(size):
        return None
    dtype = kwargs.get("dtype") or torch.get_default_dtype()
    return lambda: torch.arange(size // 2 + 1, dtype=torch.int64).to(dtype) * (1.0 / (size * spacing))


def _logspace(args: Sequence[Any], kwargs: Mapping[str, Any], _: object) -> Callable[[], Tensor] | None:
    names = ("start", "end", "steps", "base")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    if not _free(given["steps"]) and not any(isinstance(given[name], Tensor) for name in names):
        return None
    kind = {"dtype": kwargs.get("dtype")}
    return lambda: given.get("base", 10.0) ** torch.linspace(given["start"], given["end"], given["steps"], **kind)


def _take_along(args: Sequence[Any], kwargs: Mapping[str, Any], _: object) -> Callable[[], Tensor] | None:
    """torch.take_along_dim where the index has the shape of the tensor in all other axes."""
    names = ("input", "indices", "dim")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    x, indices, axis = given["input"], given["indices"], given.get("dim")
    if axis is None or not _free(x, indices) or x.ndim != indices.ndim:
        return None
    axis %= x.ndim

    def take() -> Tensor:
        shape = torch.broadcast_shapes(*([*t.shape[:axis], 1, *t.shape[axis + 1 :]] for t in (x, indices)))
        table, places = ([*shape[:axis], t.shape[axis], *shape[axis + 1 :]] for t in (x, indices))
        return x.expand(table).gather(axis, indices.expand(places))

    return take


def _max_pool1d(args: Sequence[Any], kwargs: Mapping[str, Any], _: object) -> Callable[[], Any] | None:
    """Max pooling along one axis as pooling along two, of which the first has one element."""
    names = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    x = given.pop("input")
    if not _free(x):
        return None

    def pair(name: str, alone: int, *, default: int = 0) -> tuple[int, int]:
        value = given.get(name)
        number = value[0] if isinstance(value, (tuple, list)) and value else value
        return alone, number if isinstance(number, int) else default

    def pool() -> Any:
        pooled: Any = torch.nn.functional.max_pool2d(
            x.unsqueeze(-2),
            pair("kernel_size", 1),
            pair("stride", 1, default=pair("kernel_size", 1)[1]),
            pair("padding", 0),
            pair("dilation", 1, default=1),
            ceil_mode=given.get("ceil_mode", False),
            return_indices=given.get("return_indices", False),
        )
        return tuple(part.squeeze(-2) for part in pooled) if isinstance(pooled, tuple) else pooled.squeeze(-2)

    return pool


def _matrix_norm(args: Sequence[Any], kwargs: Mapping[str, Any], _: object) -> Callable[[], Tensor] | None:
    """torch.linalg.matrix_norm by largest or smallest sums of columns or rows."""
    names = ("A", "ord", "dim", "keepdim")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    x: Tensor = given["A"] if "A" in given else given["input"]
    order = given.get("ord", "fro")
    if order not in (1, -1, math.inf, -math.inf) or not _free(x) or given.get("dtype"):
        return None

    def norm() -> Tensor:
        axes = [axis % x.ndim for axis in given.get("dim", (-2, -1))]
        summed, compared = axes if abs(order) == 1 else reversed(axes)
        sums = x.abs().sum(summed, keepdim=True)
        value = sums.amax(compared, keepdim=True) if order > 0 else sums.amin(compared, keepdim=True)
        return value if given.get("keepdim") else value.squeeze(axes)

    return norm


def _vander(args: Sequence[Any], kwargs: Mapping[str, Any], _: object) -> Callable[[], Tensor] | None:
    """torch.vander and torch.linalg.vander: the powers of each number, the highest first, or last."""
    x = args[0] if args else kwargs.get("x", kwargs.get("input"))
    count = args[1] if len(args) > 1 else kwargs.get("N")
    rising = args[2] if len(args) > 2 else kwargs.get("increasing", False)
    if not _free(x) or not isinstance(count, int) or count < 1:
        return None

    def powers() -> Tensor:
        columns = [torch.ones_like(x)]
        for _ in range(count - 1):
            columns.append(columns[-1] * x)
        return torch.stack(columns if rising else columns[::-1], -1)

    return powers


def _glu(args: Sequence[Any], kwargs: Mapping[str, Any], _: object) -> Callable[[], Tensor] | None:
    """Gated linear units as a product of halves; torch's operator has derivatives that no tracer knows."""
    x, axis = args[0] if args else kwargs["input"], args[1] if len(args) > 1 else kwargs.get("dim", -1)
    if not x.is_floating_point() or x.ndim == 0:
        return None

    def gate() -> Tensor:
        values, gates = x.chunk(2, axis)
        return values * gates.sigmoid()

    return gate


def _pairs(upper: bool) -> Composite:
    """The composite of torch.triu_indices, or of torch.tril_indices, for sizes that may change: the places of ones.
    Those of a square are counted, so that their number is a size of the model."""
    of_square = triangle(lower=not upper)

    def composite(args: Sequence[Any], kwargs: Mapping[str, Any], _: object) -> Callable[[], Tensor] | None:
        given = {**dict(zip(("row", "col", "offset"), args, strict=False)), **kwargs}
        if not _free(given["row"], given["col"]):
            return None
        counted = of_square(args, kwargs, _)
        if counted is not None:
            return counted

        def indices() -> Tensor:
            ones, offset = torch.ones(given["row"], given["col"]), given.get("offset", 0)
            places = (ones.triu(offset) if upper else ones.tril(offset)).nonzero().t()
            return places.to(given.get("dtype") or torch.int64)

        return indices

    return composite


COMPOSITES: dict[str, Composite] = {
    "triu_indices": _pairs(upper=True),
    "tril_indices": _pairs(upper=False),
    "cdist": _cdist,
    "isin": _isin,
    "chain_matmul": _products,
    "linalg_multi_dot": _products,
    "kron": _kron,
    "cov": _cov,
    "corrcoef": _corrcoef,
    "fft_fftfreq": _frequencies,
    "fft_rfftfreq": _real_frequencies,
    "logspace": _logspace,
    "take_along_dim": _take_along,
    "max_pool1d": _max_pool1d,
    "max_pool1d_with_indices": _max_pool1d,
    "linalg_matrix_norm": _matrix_norm,
    "vander": _vander,
    "glu": _glu,
    "linalg_vander": lambda args, kwargs, _: _vander(args, {"increasing": True, **kwargs}, _),
}
