"""The time grid of a fixed-step solve, and where the output times lie in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from odelet.backend import Array


@dataclass(frozen=True, kw_only=True)
class Grid:
    """How a fixed-step solve places its steps: at the output times, or `step_size` apart, or `steps` in all.

    step_size: positive, in the model's unit of time; the last step may be shorter. steps: equal ones over
    the whole range. At most one of the two. Raises ValueError otherwise.
    """

    step_size: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        if self.step_size is not None and self.steps is not None:
            raise ValueError(f"step_size={self.step_size!r} and steps={self.steps!r} exclude each other")
        if self.step_size is not None and not 0 < self.step_size < float("inf"):
            raise ValueError(f"step_size={self.step_size!r} must be positive and finite")
        if self.steps is not None and (int(self.steps) != self.steps or self.steps < 1):
            raise ValueError(f"steps={self.steps!r} must be a whole number, at least 1")

    @property
    def at_outputs(self) -> bool:
        """Whether the steps end exactly at the output times."""
        return self.step_size is None and self.steps is None

    def points(self, t: Array, *, direction: Array, xp: Any) -> Array:
        """The grid (steps + 1,) for output times t (times,), in their dtype.

        Source: torchdiffeq `solvers.py::FixedGridODESolver`, whose rounding this repeats.
        """
        if self.at_outputs:
            return t
        start, end = t[:1], t[-1:]
        if self.steps is not None:
            h, count = (end - start) / self.steps, self.steps
        else:
            h = direction * self.step_size
            count = xp.ceil(((end - start) / h)[0] + 1) - 1
        inner = xp.arange(count, t) * h + start
        return xp.concat([inner, end], axis=0)
