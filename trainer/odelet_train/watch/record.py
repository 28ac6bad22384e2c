"""What is known of the solves of a loss: a record for each solve, and whose code runs now."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.checkpoint import CheckpointFunction


@dataclass
class Solve:
    """A solve that was watched.

    source: the file name and line of the model's code that made it. entry: the function called. method: its method, as
    the model named it, or "". calls: evaluations of the field until the solve returned; of an SDE, of the drift.
    backward_calls: evaluations after that, for gradients by the adjoint method. depth: the number of solves around it.
    """

    source: str
    entry: str
    method: str
    depth: int
    calls: int = 0
    backward_calls: int = 0
    returned: bool = False

    def count(self) -> None:
        """Note an evaluation of the field."""
        if self.returned:
            self.backward_calls += 1
        else:
            self.calls += 1


@dataclass
class Position:
    """Where the program is. inside: whether a solver library runs, so that its own calls of its functions are no solves
    of the model's. depth: the number of the model's solves that run now."""

    inside: bool = False
    depth: int = 0

    @contextmanager
    def library(self) -> Iterator[None]:
        """While a solver library runs."""
        before, self.inside, self.depth = self.inside, True, self.depth + 1
        try:
            yield
        finally:
            self.inside, self.depth = before, self.depth - 1

    @contextmanager
    def model(self) -> Iterator[None]:
        """While a library calls a function of the model, whose calls are solves of the model's."""
        before, self.inside = self.inside, False
        try:
            yield
        finally:
            self.inside = before


POSITION = Position()


def in_backward() -> bool:
    """Whether torch computes gradients now: a solve then belongs to an adjoint, or is made again by a checkpoint."""
    return bool(torch._C._current_graph_task_id() != -1)


def in_reentrant_checkpoint() -> bool:
    """Whether a checkpoint runs the model without gradients, and will run it once more for them."""
    frame = None if torch.is_grad_enabled() else sys._getframe(1)
    while frame is not None:
        if frame.f_code is CheckpointFunction.forward.__code__:
            return True
        frame = frame.f_back
    return False


def belongs_to_adjoint(func: Any) -> bool:
    """Whether a field is the one that torchdiffeq solves backward for gradients."""
    return getattr(func, "__qualname__", "") == "OdeintAdjointMethod.backward.<locals>.augmented_dynamics"
