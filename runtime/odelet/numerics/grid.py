"""The time grid of a fixed-step solve, and where the output times lie in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from odelet.numerics.backend import Array, Backend, NumpyArray, Scalar

INTERPOLANTS = ("linear", "cubic")
# A grid of more steps is taken for a mistake or a damaged number, before it takes all memory.
MOST_STEPS = 2**24


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The settings by which a fixed-step solve places its steps, evaluates the field, and interpolates at output times.

    By default steps end at the output times. One of three settings may change that: step_size, the length of all steps
    but the last, which may be shorter, in the model's unit of time; steps, the number of steps of equal length that
    divide the whole range; constructed, whether the grid is a value of its own, from a `grid_constructor`. interp:
    "linear", or "cubic", which evaluates the field once more for each output time. perturb: whether the field is
    evaluated just inside each step at the step's two ends. Raises ValueError for settings that exclude each other or
    cannot work.

    >>> import numpy as np
    >>> from odelet.numerics.backend import NUMPY
    >>> Grid(step_size=0.4).points(np.array([0.0, 0.5, 1.0]), direction=np.float64(1), xp=NUMPY).tolist()
    [0.0, 0.4, 0.8, 1.0]
    """

    step_size: float | None = None
    steps: int | None = None
    constructed: bool = False
    interp: str = "linear"
    perturb: bool = False

    def __post_init__(self) -> None:
        if self.step_size is not None and self.steps is not None:
            raise ValueError(f"step_size={self.step_size!r} and steps={self.steps!r} exclude each other")
        if self.constructed and not (self.step_size is None and self.steps is None):
            raise ValueError("grid_constructor excludes step_size and steps; leave one of them out")
        if self.step_size is not None and not 0 < self.step_size < float("inf"):
            raise ValueError(f"step_size={self.step_size!r} must be positive and finite")
        if self.steps is not None and (int(self.steps) != self.steps or self.steps < 1):
            raise ValueError(f"steps={self.steps!r} must be a whole number, at least 1")
        if self.interp not in INTERPOLANTS:
            raise ValueError(f"interp={self.interp!r} must be one of {', '.join(map(repr, INTERPOLANTS))}")
        if not isinstance(self.perturb, bool):
            raise ValueError(f"perturb={self.perturb!r} must be True or False")

    @property
    def at_outputs(self) -> bool:
        """Whether the steps end exactly at the output times."""
        return self.step_size is None and self.steps is None and not self.constructed

    @property
    def reads_cubics(self) -> bool:
        """Whether the states at output times are read off cubics; no cubic is needed where steps end at these times."""
        return self.interp == "cubic" and not self.at_outputs

    def points(
        self,
        t: Array,
        *,
        direction: Scalar,
        xp: Backend,
        constructed_points: Array | None = None,
        step_size: Scalar | None = None,
    ) -> Array:
        """The grid (steps + 1,) for output times t (times,), in their dtype.

        direction: 1 or -1 in their dtype. constructed_points: the grid itself, if it is constructed. step_size: the
        length of the steps, where it is no setting but a value.

        Source: torchdiffeq `solvers.py::FixedGridODESolver`, whose rounding this repeats.
        """
        if self.constructed:
            return constructed_points
        if self.at_outputs and step_size is None:
            return t
        start, end = t[:1], t[-1:]
        if self.steps is not None:
            h, count = (end - start) / self.steps, self.steps
        else:
            h = direction * (self.step_size if step_size is None else step_size)
            count = xp.ceil(((end - start) / h)[0] + 1) - 1
        inner = xp.arange(count, t) * h + start
        return xp.concat([inner, end], axis=0)


def is_valid_grid(points: Array, t: Array, *, direction: Scalar, strict: bool, xp: Backend) -> Scalar:
    """Whether a constructed grid starts and ends with the output times t and never turns back.

    direction: 1 or -1 in their dtype. strict: whether steps of length 0 are refused too, for methods that remember
    slopes.
    """
    gaps = (points[1:] - points[:-1]) * direction
    wrong = xp.where(gaps > 0 if strict else gaps >= 0, gaps * 0, gaps * 0 + 1)
    # The test is not points[0] == t[0], as values of a graph have no `==` of their own; NaN fails this test, too.
    ends = (abs(points[0] - t[0]) <= 0) & (abs(points[-1] - t[-1]) <= 0)
    return ends & (xp.largest(wrong) <= 0)


def accumulated_points(t: NumpyArray, step_size: float) -> NumpyArray:
    """The grid (steps + 1,) whose points are sums of step sizes, rounded in the dtype of t at each addition.

    t: increasing times (times,), of which the grid reads the first and the last. Source: torchsde 0.2.6
    `base_solver.py`, whose rounding this repeats: the last step may be as short as a rounding error. Raises ValueError
    for a step size that is not positive, or too small for the times.

    >>> len(accumulated_points(np.array([0.0, 1.0]), 0.1)) - 1
    11
    """
    too_small = f"dt={step_size:g} must be positive, and not too small for times from {t[0]:g} to {t[-1]:g}"
    if not step_size > 0 or (float(t[-1]) - float(t[0])) / step_size > MOST_STEPS:
        raise ValueError(too_small)
    end, h, points = t[-1], t.dtype.type(step_size), [t[0]]
    while points[-1] < end:
        points.append(min(points[-1] + h, end))
        if points[-1] == points[-2]:
            raise ValueError(too_small)
    return np.array(points, t.dtype)
