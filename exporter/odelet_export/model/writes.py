"""Finds two kinds of writes into memory that give a model answers which no graph can give: the lines are kept.

An operation may write into memory that it reads through another view: torch leaves undefined what that gives.
`x[:, 1:] -= x[:, :-1]` is one: each element may be computed from the old value of its neighbour or from the new one,
as the size of the tensor and the machine will have it. torch refuses the simplest such writes, and computes others.

And a field may write into the time or the state that the solver gives it, as `y.clamp_(-1, 1)` does. The solver then
goes on from the changed state, in some of its stages, so that the solution belongs to no dy/dt = f(t, y).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from odelet_export.model.overlap import overlap
from odelet_export.model.trees import tensors_in
from odelet_intercept.user_code import Place, short, user_frame


@dataclass(frozen=True)
class Writes:
    """The user's lines with such writes, in the order in which they ran first.

    undefined: the lines that write where they read. into_state: the lines of fields that write into their arguments.
    """

    undefined: dict[Place, None] = field(default_factory=dict)
    into_state: dict[Place, None] = field(default_factory=dict)

    @property
    def warnings(self) -> list[str]:
        """A warning about each line."""
        return [
            *(
                f"{short(place)} writes into memory that it reads through another view, which torch leaves undefined; "
                "let it read a copy, as in x[:, 1:] -= x[:, :-1].clone()"
                for place in self.undefined
            ),
            *(
                f"{short(place)} writes into the time or the state that the solver gives the field; the artifact does "
                "not go on from what is written. Write to a tensor of the field's own, as in y = y.clamp(-1, 1)"
                for place in self.into_state
            ),
        ]


class _Watch(TorchDispatchMode):
    """Runs every operation as it is, and notes the lines of those that write where they must not."""

    def __init__(self, found: Writes) -> None:
        super().__init__()
        self._found = found

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[Any],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """The result of the operation."""
        kwargs = kwargs or {}
        # `y.unsqueeze_(0)` changes a tensor, and no memory.
        if func._schema.is_mutable and torch.Tag.inplace_view not in func.tags:
            written, read = _tensors(func._schema.arguments, args, kwargs)
            if any(overlap(one, other) for one in written for other in read):
                self._found.undefined[user_frame()] = None
            if any(_memory(one) in _given.get() for one in written):
                self._found.into_state[user_frame()] = None
        return func(*args, **kwargs)


# The memory of the time and the state of the field that runs now.
_given: ContextVar[frozenset[int]] = ContextVar("given", default=frozenset())
_watching: ContextVar[bool] = ContextVar("watching", default=False)


@contextmanager
def watching_writes(*, operations: bool = True) -> Iterator[Writes]:
    """Watch the operations within the context. Yields the lines found so far, none if no operations are watched."""
    found = Writes()
    if not operations:
        yield found
        return
    token = _watching.set(True)
    try:
        with _Watch(found):
            yield found
    finally:
        _watching.reset(token)


def called(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The result of a field for its time and its state, into which it must not write."""
    if not _watching.get():
        return func(*args, **kwargs)
    token = _given.set(frozenset(_memory(x) for x in tensors_in([*args, *kwargs.values()])) - {0})
    try:
        return func(*args, **kwargs)
    finally:
        _given.reset(token)


def _tensors(
    parameters: Sequence[Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The tensors that an operation writes, and those that it reads."""
    written: list[torch.Tensor] = []
    read: list[torch.Tensor] = []
    for place, parameter in enumerate(parameters):
        value = args[place] if place < len(args) else kwargs.get(parameter.name)
        tensors = [one for one in (value if isinstance(value, (list, tuple)) else [value]) if torch.is_tensor(one)]
        writes = parameter.alias_info is not None and parameter.alias_info.is_write
        (written if writes else read).extend(tensors)
    return written, read


def _memory(x: torch.Tensor) -> int:
    """The address of a tensor's memory, which its views share; 0 for a tensor without any."""
    return x.untyped_storage().data_ptr() if x.layout is torch.strided else 0
