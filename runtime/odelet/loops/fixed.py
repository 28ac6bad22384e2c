"""Fixed steps, with the loop outside: march along the grid, and read the output times off it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from odelet.errors import InputError
from odelet.loops.trajectory import DenseStep, StepEnds, Trajectory
from odelet.methods.method import FixedStep, Method, StepSettings
from odelet.numerics.backend import NUMPY, NumpyArray
from odelet.numerics.grid import Grid, is_valid_grid
from odelet.numerics.interpolation import hermite, linear
from odelet.numerics.rk import Field
from odelet.status import Status


class FixedStepper(Protocol):
    """Holds the state of a solve and takes steps."""

    def step(self, t: float, t1: float) -> tuple[int, bool]:
        """Step from t to t1; return how often the field was called, and whether an iteration failed."""

    def ends(self) -> StepEnds:
        """The step last taken; valid until the next."""


class FixedRun(NamedTuple):
    """rows: the state at each output time, (times, n). time: reached. evaluations: calls of the field.
    unconverged: steps whose iteration did not converge, None for a method that iterates nothing."""

    rows: NumpyArray
    status: Status
    time: float
    steps: int
    evaluations: int
    unconverged: int | None


class ArrayFixedStepper:
    """Steps of a fixed-step method on numpy arrays."""

    def __init__(self, field: Field, method: Method, y0: NumpyArray, terms: StepSettings) -> None:
        self._field, self._method, self._terms = field, method, terms
        self._y, self._memory = y0, method.initial_memory(y0, xp=NUMPY)
        self._ends: StepEnds | None = None

    def step(self, t: float, t1: float) -> tuple[int, bool]:
        with np.errstate(all="ignore"):
            made: FixedStep = self._method.step(self._field, t, t1, self._y, self._memory, self._terms, xp=NUMPY)
        self._ends = StepEnds(self._y, made.y1, k0=made.k0)
        self._y, self._memory = made.y1, made.memory
        return int(made.evaluations), bool(made.unconverged)

    def ends(self) -> StepEnds:
        assert self._ends is not None
        return self._ends


def solve_on_grid(
    stepper: FixedStepper,
    field: Callable[[Any, NumpyArray], NumpyArray],
    method: Method,
    y0: NumpyArray,
    t: NumpyArray,
    points: NumpyArray,
    *,
    grid: Grid,
    direction: float,
    trajectory: Trajectory | None = None,
) -> FixedRun:
    """Step along the points (steps + 1,) and read the states at the times t (times,).

    y0: (1, n). field: dy/dt on rows, called to read by cubics. trajectory: where to keep the steps; cubics then call
    the field for each. The status is NOT_FINITE when a state that was
    read is infinite or NaN; the time reached is then the last output time before it.
    """
    rows = np.full((t.size, y0.size), np.nan, y0.dtype)
    rows[0] = y0[0]
    cubic = grid.reads_cubics
    calls = failures = 0
    j = 1
    for start, end in zip(points[:-1], points[1:], strict=True):
        called, failed = stepper.step(start, end)
        calls, failures = calls + called, failures + failed
        if trajectory is not None:
            y1, k0, k1 = stepper.ends().y1.copy(), None, None
            if cubic:
                k0, k1 = np.array(stepper.ends().k0), np.asarray(field(end, y1))
                calls += 1
            ends = StepEnds(stepper.ends().y0.copy(), y1, None, k0, k1)
            trajectory.append(DenseStep(direction * start, direction * end, direction * end, end - start, ends))
        while j < t.size and direction * end >= direction * t[j]:
            ends = stepper.ends()
            x, h = ends.y1.dtype.type((t[j] - start) / (end - start)), ends.y1.dtype.type(end - start)
            with np.errstate(all="ignore"):
                if cubic:
                    rows[j] = hermite(x, h, ends.y0, ends.y1, ends.k0, field(end, ends.y1))[0]
                    calls += 1
                else:
                    rows[j] = linear(x, ends.y0, ends.y1)[0]
            j += 1
    steps = points.size - 1
    unconverged = failures if method.iterates else None
    finite = np.isfinite(rows).all(axis=1)
    if finite.all():
        return FixedRun(rows, Status.OK, float(t[-1]), steps, calls, unconverged)
    last = max(int(np.argmin(finite)) - 1, 0)
    return FixedRun(rows, Status.NOT_FINITE, float(t[last]), steps, calls, unconverged)


def march_along(
    stepper: FixedStepper,
    field: Field,
    method: Method,
    grid: Grid,
    row: NumpyArray,
    t: NumpyArray,
    direction: float,
    given: NumpyArray | None,
    trajectory: Trajectory | None = None,
) -> FixedRun:
    """March along the grid of a solve.

    given: the grid, where it is constructed; InputError when it does not fit. trajectory: where to keep the steps.
    """
    sign = t.dtype.type(direction)
    if given is not None:
        strict = method.remembers
        good = given.ndim == 1 and given.size > 0 and given.dtype == t.dtype
        if not good or not is_valid_grid(given, t, direction=sign, strict=strict, xp=NUMPY):
            order = "strictly monotone" if strict else "monotone"
            raise InputError(
                f"grid_constructor returned {given.dtype} {given}; it must be a 1-D {t.dtype} grid, {order}, that "
                f"starts at t[0]={t[0]!r} and ends at t[-1]={t[-1]!r}"
            )
    points = grid.points(t, direction=sign, xp=NUMPY, constructed_points=given)
    return solve_on_grid(stepper, field, method, row, t, points, grid=grid, direction=direction, trajectory=trajectory)
