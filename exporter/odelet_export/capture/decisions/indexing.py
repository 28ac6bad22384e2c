"""Indexing by traced whole numbers, `x[i]` and `x[i] = v`, in operators that a tracer can follow.

torch asks a 0-d integer tensor in an index for its value, which a trace does not know. A rewrite takes the arguments of
the call and returns a function that computes the same in other operators, or None where torch's own call can be traced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch

from odelet_export.capture.decisions.example_values import real


class Numbers(Protocol):
    """The questions that a rewrite asks about the tensors in a call."""

    def constant(self, x: torch.Tensor) -> torch.Tensor | None:
        """The value of a tensor that is a constant of the model; None for any other tensor."""

    def is_number(self, x: object) -> bool:
        """Whether a tensor stands for a Python number."""

    def as_int(self, x: torch.Tensor) -> int:
        """A tensor's value as a whole number. Raises CaptureError with the user's line where there is none."""


# Computes the result of the call; None where the call is to be traced as it is.
Rewritten = Callable[[], Any] | None
Rewrite = Callable[[Sequence[Any], Mapping[str, Any], Numbers], Rewritten]


def element_at(args: Sequence[Any], _kwargs: Mapping[str, Any], numbers: Numbers) -> Rewritten:
    """A rewrite of x[i] with traced whole numbers: index_select along the axis of each number."""
    x: torch.Tensor = args[0]
    key = args[1]
    parts = _index_parts(key, numbers)
    if parts is None:
        return None
    indices = _traced_indices(x, parts)
    without_traced = tuple(slice(None) if is_whole_number(part) else part for part in parts)

    def select() -> torch.Tensor:
        element = x[without_traced]
        for axis, index in reversed(indices):
            element = element.index_select(axis, _not_negative(index, element.shape[axis]).reshape(1)).squeeze(axis)
        return element

    return select


def assignment_at(args: Sequence[Any], _kwargs: Mapping[str, Any], numbers: Numbers) -> Rewritten:
    """A rewrite of x[i] = v with traced whole numbers: it copies v into x where each axis is at its number."""
    x, key, value = args
    parts = _index_parts(key, numbers)
    if parts is None:
        return None
    indices = _traced_indices(x, parts)
    without_traced = tuple(slice(None) if is_whole_number(part) else part for part in parts)

    def assign() -> None:
        view = x[without_traced]
        axes = [axis for axis, _ in indices]
        at_index = torch.ones((), dtype=torch.bool)
        for axis, index in indices:
            on_axis = torch.arange(view.shape[axis]) == _not_negative(index, view.shape[axis])
            at_index = at_index & on_axis.reshape(-1, *[1] * (view.ndim - axis - 1))
        new = value if isinstance(value, torch.Tensor) else torch.full((), value)
        new = new.expand([size for axis, size in enumerate(view.shape) if axis not in axes])
        for axis in axes:
            new = new.unsqueeze(axis)
        view.copy_(torch.where(at_index, new.to(view.dtype), view))

    return assign


def _index_parts(key: Any, numbers: Numbers) -> tuple[Any, ...] | None:
    """An index as a tuple in which constant numbers and the bounds of slices are ints.

    None for an index that torch's own operators can be traced with: one without a number that is a tensor, or with a
    mask or a row of indices.
    """

    def concrete(part: Any) -> Any:
        if isinstance(part, slice):
            bounds = (part.start, part.stop, part.step)
            return slice(*(numbers.as_int(x) if isinstance(x, torch.Tensor) else x for x in bounds))
        if is_whole_number(part):
            constant = numbers.constant(part)
            with real():
                return part if constant is None else int(constant)
        return part

    given_parts = key if isinstance(key, tuple) else (key,)
    parts = tuple(concrete(part) for part in given_parts)
    changed = any(new is not old for new, old in zip(parts, given_parts, strict=True) if not isinstance(old, slice))
    sliced = any(
        isinstance(bound, torch.Tensor)
        for part in given_parts
        if isinstance(part, slice)
        for bound in (part.start, part.stop, part.step)
    )
    if not (changed or sliced or any(is_whole_number(part) for part in parts)):
        return None
    if any(isinstance(part, torch.Tensor) and not is_whole_number(part) for part in parts):
        return None  # beside masks and rows of indices torch orders the axes by rules of its own
    return parts


def is_whole_number(part: object) -> bool:
    """Whether a value is a 0-d tensor of an integer dtype that torch indexes by."""
    return isinstance(part, torch.Tensor) and part.ndim == 0 and part.dtype in (torch.int64, torch.int32, torch.uint8)


def _traced_indices(x: torch.Tensor, parts: Sequence[Any]) -> list[tuple[int, torch.Tensor]]:
    """The traced whole numbers in an index of x, each with its axis in the view in which slices replace them all."""
    indexed_axes = sum(part is not None and part is not Ellipsis for part in parts)
    axis = 0
    indices: list[tuple[int, torch.Tensor]] = []
    for part in parts:
        if is_whole_number(part):
            indices.append((axis, part))
        if part is Ellipsis:
            axis += x.ndim - indexed_axes
        elif not isinstance(part, int):
            axis += 1
    return indices


def _not_negative(index: torch.Tensor, size: int) -> torch.Tensor:
    """An index as int64 that counts from the start of its axis."""
    index = index.to(torch.int64)
    return torch.where(index < 0, index + size, index)
