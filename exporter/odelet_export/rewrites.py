"""Calls of torch that a tracer cannot follow with traced numbers, put in other words.

Tensors made of numbers, elements picked by a traced index, places in a table: each has an equal in plain operators.
A rewrite is a function of the call's arguments that gives the result, or None where the call is best left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import torch


class Numbers(Protocol):
    """What a rewrite asks of the numbers in a call."""

    def constant(self, x: torch.Tensor) -> torch.Tensor | None:
        """The value of a constant of the model; None for anything else."""

    def real(self) -> AbstractContextManager[None]:
        """No tracing, for computing with the values of constants."""

    def as_int(self, x: torch.Tensor) -> int:
        """The whole number that a tensor must be, or an error that names the user's line."""


Result = Callable[[], Any] | None
Rewrite = Callable[[Sequence[Any], Mapping[str, Any], Numbers], Result]


def rewritten(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], numbers: Numbers) -> Result:
    """Another way to compute a call, by the name of its function; None for the call as it is."""
    rewrite = _REWRITES.get(name)
    return None if rewrite is None else rewrite(args, kwargs, numbers)


def _made(args: Sequence[Any], kwargs: Mapping[str, Any], _: Numbers) -> Result:
    """torch.tensor([a, t]): the numbers stacked."""
    data = args[0] if args else kwargs.get("data")
    if not any(isinstance(leaf, torch.Tensor) for leaf in _numbers(data)) or isinstance(data, torch.Tensor):
        return None
    dtype = kwargs.get("dtype") or _dtype(data)
    return lambda: _stacked(data, dtype).to(device=kwargs.get("device"))


def _made_like(args: Sequence[Any], kwargs: Mapping[str, Any], numbers: Numbers) -> Result:
    """x.new_tensor([a, t]): the same, in the dtype of x."""
    return _made(args[1:], {"dtype": args[0].dtype, **kwargs}, numbers)


def _numbers(data: Any) -> list[Any]:
    if isinstance(data, (list, tuple)):
        return [leaf for part in data for leaf in _numbers(part)]
    return [data]


def _dtype(data: Any) -> torch.dtype:
    """As torch infers it: from tensors their own, from Python numbers the default of their kind."""
    kinds = {bool: torch.bool, int: torch.int64, float: torch.get_default_dtype()}
    kinds |= {torch.SymInt: torch.int64, torch.SymFloat: torch.get_default_dtype(), torch.SymBool: torch.bool}
    found = torch.bool
    for number in _numbers(data):
        own = number.dtype if isinstance(number, torch.Tensor) else kinds.get(type(number), torch.get_default_dtype())
        found = torch.promote_types(found, own)
    return found


def _stacked(data: Any, dtype: torch.dtype) -> torch.Tensor:
    if isinstance(data, (list, tuple)):
        return torch.stack([_stacked(part, dtype) for part in data])
    return data.to(dtype) if isinstance(data, torch.Tensor) else torch.full((), data, dtype=dtype)


def _picked(args: Sequence[Any], _kwargs: Mapping[str, Any], numbers: Numbers) -> Result:
    """x[i] with traced whole numbers: index_select along each of their axes."""
    x, key = args
    row = _index(key, numbers)
    if row is None:
        return None
    places = _places(x, row)
    plain = tuple(slice(None) if _is_number(part) else part for part in row)

    def pick() -> torch.Tensor:
        found = x[plain]
        for axis, index in reversed(places):
            found = found.index_select(axis, _positive(index, found.shape[axis]).reshape(1)).squeeze(axis)
        return found

    return pick


def _put(args: Sequence[Any], _kwargs: Mapping[str, Any], numbers: Numbers) -> Result:
    """x[i] = v with traced whole numbers: a choice along their axes."""
    x, key, value = args
    row = _index(key, numbers)
    if row is None:
        return None
    places = _places(x, row)
    plain = tuple(slice(None) if _is_number(part) else part for part in row)

    def put() -> None:
        part = x[plain]
        axes = [axis for axis, _ in places]
        here = torch.ones((), dtype=torch.bool)
        for axis, index in places:
            this = torch.arange(part.shape[axis]) == _positive(index, part.shape[axis])
            here = here & this.reshape(-1, *[1] * (part.ndim - axis - 1))
        new = value if isinstance(value, torch.Tensor) else torch.full((), value)
        new = new.expand([size for axis, size in enumerate(part.shape) if axis not in axes])
        for axis in axes:
            new = new.unsqueeze(axis)
        part.copy_(torch.where(here, new.to(part.dtype), part))

    return put


def _index(key: Any, numbers: Numbers) -> tuple[Any, ...] | None:
    """An index as a tuple whose numbers of constants are ints; None where it holds no number that is a tensor."""

    def concrete(part: Any) -> Any:
        if isinstance(part, slice):
            bounds = (part.start, part.stop, part.step)
            return slice(*(numbers.as_int(x) if isinstance(x, torch.Tensor) else x for x in bounds))
        if _is_number(part):
            known = numbers.constant(part)
            with numbers.real():
                return part if known is None else int(known)
        return part

    row = key if isinstance(key, tuple) else (key,)
    made = tuple(concrete(part) for part in row)
    changed = any(new is not old for new, old in zip(made, row, strict=True) if not isinstance(old, slice))
    sliced = any(
        isinstance(x, torch.Tensor)
        for part in row
        if isinstance(part, slice)
        for x in (part.start, part.stop, part.step)
    )
    if not (changed or sliced or any(_is_number(part) for part in made)):
        return None
    if any(isinstance(part, torch.Tensor) and not _is_number(part) for part in made):
        return None  # masks and rows of indices; torch orders the axes by rules of its own
    return made


def _is_number(part: Any) -> bool:
    return isinstance(part, torch.Tensor) and part.ndim == 0 and part.dtype in (torch.int64, torch.int32, torch.uint8)


def _places(x: Any, row: Sequence[Any]) -> list[tuple[int, torch.Tensor]]:
    """The traced whole numbers in an index, each with the axis that it has in x[...] with slices in their places."""
    taken = sum(part is not None and part is not Ellipsis for part in row)
    axis, places = 0, []
    for part in row:
        if _is_number(part):
            places.append((axis, part))
        if part is Ellipsis:
            axis += x.ndim - taken
        elif not isinstance(part, int):
            axis += 1
    return places


def _positive(index: torch.Tensor, size: Any) -> torch.Tensor:
    index = index.to(torch.int64)
    return torch.where(index < 0, index + size, index)


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
    with numbers.real():
        coo = known.to_sparse_coo().coalesce()
        (rows, columns), weights, count = coo.indices().clone(), coo.values().clone(), coo.shape[0]

    def multiply() -> torch.Tensor:
        flat = x if x.ndim == 2 else x.unsqueeze(1)
        parts = flat.index_select(0, columns) * weights.unsqueeze(1)
        total = torch.zeros(count, flat.shape[1], dtype=parts.dtype).index_add(0, rows, parts)
        return total if x.ndim == 2 else total.squeeze(1)

    return multiply


def _spaced(args: Sequence[Any], kwargs: Mapping[str, Any], _: Numbers) -> Result:
    """linspace between traced numbers, from both ends as torch computes it."""
    start, end, steps = args[0], args[1], kwargs["steps"] if len(args) < 3 else args[2]
    ends = [x for x in (start, end) if isinstance(x, torch.Tensor)]
    dtype = kwargs.get("dtype") or torch.get_default_dtype()
    if not ends or isinstance(steps, torch.Tensor):
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
        if isinstance(x, (tuple, list)) and any(_is_number(part) for part in x):
            return [concrete(part) for part in x]
        return numbers.as_int(x) if _is_number(x) else x

    rest = [concrete(x) for x in args[first:]]
    return (*args[:first], *rest), {key: concrete(x) if key in _SIZES else x for key, x in kwargs.items()}


_REWRITES: dict[str, Rewrite] = {
    "tensor": _made,
    "as_tensor": _made,
    "asarray": _made,
    "new_tensor": _made_like,
    "__getitem__": _picked,
    "__setitem__": _put,
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
        traced = isinstance(data, (list, tuple)) and any(isinstance(part, torch.Tensor) for part in _numbers(data))
        if cls is torch.Tensor and traced:
            return torch.tensor(data, dtype=torch.get_default_dtype())
        return original(cls, *args, **kwargs)

    torch.Tensor.__new__ = staticmethod(new)  # type: ignore[method-assign]
    try:
        yield
    finally:
        del torch.Tensor.__new__
