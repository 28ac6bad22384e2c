"""Indices that hold traced whole numbers, in operators that a tracer can follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch

from odelet_export.capture.decisions.example_values import real


class Numbers(Protocol):
    """What a rewrite asks of the numbers in a call."""

    def constant(self, x: torch.Tensor) -> torch.Tensor | None:
        """The value of a constant of the model; None for anything else."""

    def as_int(self, x: torch.Tensor) -> int:
        """The whole number that a tensor must be, or an error that names the user's line."""


Result = Callable[[], Any] | None
Rewrite = Callable[[Sequence[Any], Mapping[str, Any], Numbers], Result]


def picked(args: Sequence[Any], _kwargs: Mapping[str, Any], numbers: Numbers) -> Result:
    """x[i] with traced whole numbers: index_select along each of their axes."""
    x, key = args
    row = _index(key, numbers)
    if row is None:
        return None
    places = _places(x, row)
    plain = tuple(slice(None) if is_number(part) else part for part in row)

    def pick() -> torch.Tensor:
        found = x[plain]
        for axis, index in reversed(places):
            found = found.index_select(axis, _positive(index, found.shape[axis]).reshape(1)).squeeze(axis)
        return found

    return pick


def put_at(args: Sequence[Any], _kwargs: Mapping[str, Any], numbers: Numbers) -> Result:
    """x[i] = v with traced whole numbers: a choice along their axes."""
    x, key, value = args
    row = _index(key, numbers)
    if row is None:
        return None
    places = _places(x, row)
    plain = tuple(slice(None) if is_number(part) else part for part in row)

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
        if is_number(part):
            known = numbers.constant(part)
            with real():
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
    if not (changed or sliced or any(is_number(part) for part in made)):
        return None
    if any(isinstance(part, torch.Tensor) and not is_number(part) for part in made):
        return None  # masks and rows of indices; torch orders the axes by rules of its own
    return made


def is_number(part: Any) -> bool:
    return isinstance(part, torch.Tensor) and part.ndim == 0 and part.dtype in (torch.int64, torch.int32, torch.uint8)


def _places(x: Any, row: Sequence[Any]) -> list[tuple[int, torch.Tensor]]:
    """The traced whole numbers in an index, each with the axis that it has in x[...] with slices in their places."""
    taken = sum(part is not None and part is not Ellipsis for part in row)
    axis, places = 0, []
    for part in row:
        if is_number(part):
            places.append((axis, part))
        if part is Ellipsis:
            axis += x.ndim - taken
        elif not isinstance(part, int):
            axis += 1
    return places


def _positive(index: torch.Tensor, size: Any) -> torch.Tensor:
    index = index.to(torch.int64)
    return torch.where(index < 0, index + size, index)
