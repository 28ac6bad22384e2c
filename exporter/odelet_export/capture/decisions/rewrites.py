"""Calls of torch that a tracer cannot follow with traced numbers, put in other words.

Tensors made of numbers, elements picked by a traced index, places in a table: each has an equal in plain operators.
A rewrite is a function of the call's arguments that gives the result, or None where the call is best left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from odelet_export.capture.decisions.example_values import real
from odelet_export.capture.decisions.indexing import Numbers, Result, Rewrite, is_number, picked, put_at
from odelet_export.model.trees import row_leaves


def rewritten(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], numbers: Numbers) -> Result:
    """Another way to compute a call, by the name of its function; None for the call as it is."""
    rewrite = _REWRITES.get(name)
    return None if rewrite is None else rewrite(args, kwargs, numbers)


def _made(args: Sequence[Any], kwargs: Mapping[str, Any], _: Numbers) -> Result:
    """torch.tensor([a, t]): the numbers stacked."""
    data = args[0] if args else kwargs.get("data")
    if not any(isinstance(leaf, torch.Tensor) for leaf in row_leaves(data)) or isinstance(data, torch.Tensor):
        return None
    dtype = kwargs.get("dtype") or _dtype(data)
    return lambda: _stacked(data, dtype).to(device=kwargs.get("device"))


def _made_like(args: Sequence[Any], kwargs: Mapping[str, Any], numbers: Numbers) -> Result:
    """x.new_tensor([a, t]): the same, in the dtype of x."""
    return _made(args[1:], {"dtype": args[0].dtype, **kwargs}, numbers)


def _dtype(data: Any) -> torch.dtype:
    """As torch infers it: from tensors their own, from Python numbers the default of their kind."""
    kinds = {bool: torch.bool, int: torch.int64, float: torch.get_default_dtype()}
    kinds |= {torch.SymInt: torch.int64, torch.SymFloat: torch.get_default_dtype(), torch.SymBool: torch.bool}
    found = torch.bool
    for number in row_leaves(data):
        own = number.dtype if isinstance(number, torch.Tensor) else kinds.get(type(number), torch.get_default_dtype())
        found = torch.promote_types(found, own)
    return found


def _stacked(data: Any, dtype: torch.dtype) -> torch.Tensor:
    if isinstance(data, (list, tuple)):
        return torch.stack([_stacked(part, dtype) for part in data])
    return data.to(dtype) if isinstance(data, torch.Tensor) else torch.full((), data, dtype=dtype)


def _bucket(args: Sequence[Any], kwargs: Mapping[str, Any], _: Numbers) -> Result:
    """bucketize: how many boundaries lie before each value."""
    values, boundaries = (*args, kwargs.get("boundaries"))[:2]
    return _counted(boundaries, values, right=kwargs.get("right", False), whole32=kwargs.get("out_int32", False))


def _searched(args: Sequence[Any], kwargs: Mapping[str, Any], _: Numbers) -> Result:
    """searchsorted, likewise; rows of their own for each row of values."""
    table, values = (*args, kwargs.get("input", kwargs.get("self")))[:2]
    if kwargs.get("sorter") is not None:
        return None
    right = kwargs.get("right", False) or kwargs.get("side") == "right"
    return _counted(table, values, right=right, whole32=kwargs.get("out_int32", False))


def _counted(table: torch.Tensor, values: Any, *, right: bool, whole32: bool) -> Result:
    def count() -> torch.Tensor:
        x = torch.as_tensor(values).unsqueeze(-1)
        rows = table if table.ndim == 1 else table.unsqueeze(-2)
        before = rows <= x if right else rows < x
        return before.sum(-1).to(torch.int32 if whole32 else torch.int64)

    return count


def _sparse(args: Sequence[Any], _kwargs: Mapping[str, Any], numbers: Numbers) -> Result:
    """A constant sparse matrix times a dense one: its columns' rows gathered, weighed, and added up."""
    matrix, x = args[:2]
    if not isinstance(matrix, torch.Tensor) or matrix.layout is torch.strided:
        return None
    known = numbers.constant(matrix)
    if known is None or len(args) > 2:
        return None
    with real():
        coo = known.to_sparse_coo().coalesce()
        (rows, columns), weights, count = coo.indices().clone(), coo.values().clone(), coo.shape[0]

    def multiply() -> torch.Tensor:
        flat = x if x.ndim == 2 else x.unsqueeze(1)
        parts = flat.index_select(0, columns) * weights.unsqueeze(1)
        total = torch.zeros(count, flat.shape[1], dtype=parts.dtype).index_add(0, rows, parts)
        return total if x.ndim == 2 else total.squeeze(1)

    return multiply


def _spaced(args: Sequence[Any], kwargs: Mapping[str, Any], _: Numbers) -> Result:
    """linspace between traced numbers, or with as many as an axis has, from both ends as torch computes it."""
    start, end, steps = args[0], args[1], kwargs["steps"] if len(args) < 3 else args[2]
    ends = [x for x in (start, end) if isinstance(x, torch.Tensor)]
    dtype = kwargs.get("dtype") or torch.get_default_dtype()
    if isinstance(steps, torch.Tensor) or (not ends and isinstance(steps, int)):
        return None

    def space() -> torch.Tensor:
        first, last = (torch.as_tensor(x).to(dtype).reshape(()) for x in (start, end))
        place = torch.arange(steps, dtype=dtype)
        gaps = torch.ones(steps, dtype=dtype).sum() - 1  # a tensor, as the size of an axis may be what is asked for
        step = (last - first) / gaps.clamp(min=1)
        early = place < ((gaps + 1) / 2).floor().clamp(min=1)
        return torch.where(early, first + step * place, last - step * (gaps - place))

    return space


def _filled(args: Sequence[Any], kwargs: Mapping[str, Any], _: Numbers) -> Result:
    """full with a traced number."""
    size, value = args[0], args[1] if len(args) > 1 else kwargs.get("fill_value")
    if not isinstance(value, torch.Tensor):
        return None
    if isinstance(size, torch.Tensor):  # full_like
        return lambda: value.reshape(()).to(kwargs.get("dtype") or size.dtype).expand(size.shape).clone()
    return lambda: value.reshape(()).to(kwargs.get("dtype") or value.dtype).expand(size).clone()


# Functions that take sizes, and after how many arguments.
_SIZED = dict.fromkeys(("zeros", "ones", "empty", "eye", "arange", "randn", "rand"), 0)
_SIZED |= dict.fromkeys(("linspace", "logspace"), 2)
_SIZED |= dict.fromkeys(("new_zeros", "new_ones", "new_full", "new_empty", "view", "reshape", "expand", "repeat"), 1)
_SIZED |= dict.fromkeys(("split", "chunk", "narrow", "unflatten", "tile", "broadcast_to", "roll", "unfold"), 1)

_SIZES = ("size", "steps", "shape", "length", "dims")


def sized(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any], numbers: Numbers
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """The arguments of a call, with whole numbers for the tensors among its sizes."""
    if name not in _SIZED:
        return args, kwargs
    first = _SIZED[name]

    def concrete(x: Any) -> Any:
        if isinstance(x, (tuple, list)) and any(is_number(part) for part in x):
            return [concrete(part) for part in x]
        return numbers.as_int(x) if is_number(x) else x

    rest = [concrete(x) for x in args[first:]]
    return (*args[:first], *rest), {key: concrete(x) if key in _SIZES else x for key, x in kwargs.items()}


_REWRITES: dict[str, Rewrite] = {
    "tensor": _made,
    "as_tensor": _made,
    "asarray": _made,
    "new_tensor": _made_like,
    "__getitem__": picked,
    "__setitem__": put_at,
    "bucketize": _bucket,
    "searchsorted": _searched,
    "linspace": _spaced,
    "full": _filled,
    "full_like": _filled,
    **dict.fromkeys(("mm", "matmul", "spmm", "_sparse_mm", "__matmul__", "mv"), _sparse),
}


@contextmanager
def legacy_constructor() -> Iterator[None]:
    """torch.Tensor([a, t]) as torch.tensor makes it: the class itself would ask each tensor for its number."""
    original = torch.Tensor.__new__

    def new(cls: Any, *args: Any, **kwargs: Any) -> Any:
        data = args[0] if args else None
        traced = isinstance(data, (list, tuple)) and any(isinstance(part, torch.Tensor) for part in row_leaves(data))
        if cls is torch.Tensor and traced:
            return torch.tensor(data, dtype=torch.get_default_dtype())
        return original(cls, *args, **kwargs)

    torch.Tensor.__new__ = staticmethod(new)  # type: ignore[method-assign]
    try:
        yield
    finally:
        del torch.Tensor.__new__
