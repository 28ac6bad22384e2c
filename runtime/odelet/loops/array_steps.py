"""Steps on numpy arrays, of a field that is a Python function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np

from odelet.errors import InputError
from odelet.loops.sample_tables import table_of
from odelet.loops.solve import LoopProblem
from odelet.loops.trajectory import StepEnds
from odelet.methods.explicit_rk import ExplicitRK
from odelet.methods.method import FixedStep, Method, StepSettings
from odelet.numerics.adaptive_step import Attempt, attempt, first_length, first_slope, slope_after_jump
from odelet.numerics.backend import NUMPY, NumpyArray, Scalar
from odelet.numerics.rk import Field
from odelet.numerics.state import Layout, Tolerance
from odelet.numerics.tableau import Tableau


@dataclass(frozen=True)
class ArraySteppers:
    """Makes steppers on numpy arrays. field: a function of a time and a row (1, n)."""

    field: Field

    def adaptive(self, problem: LoopProblem) -> ArrayAdaptiveStepper:
        return ArrayAdaptiveStepper(self.field, problem)

    def per_sample(self, problem: LoopProblem) -> ArraySampleStepper:
        return ArraySampleStepper(self.field, problem)

    def fixed(self, problem: LoopProblem) -> ArrayFixedStepper:
        assert problem.grid is not None
        rtol, atol = float(problem.rtol), float(problem.atol)
        terms = StepSettings(direction=problem.direction, perturb=problem.grid.perturb, rtol=rtol, atol=atol)
        return ArrayFixedStepper(self.field, problem.method, problem.row, terms)


def _tableau(problem: LoopProblem) -> Tableau:
    assert isinstance(problem.method, ExplicitRK), "only explicit Runge-Kutta methods are adaptive"
    return problem.method.tableau


class _ErrorMeasure(TypedDict):
    """The keywords with which the functions of `adaptive_step` measure an error."""

    rtol: Tolerance
    atol: Tolerance
    layout: Layout
    direction: float


def _error_measure(problem: LoopProblem) -> _ErrorMeasure:
    return {
        "rtol": problem.rtol,
        "atol": problem.atol,
        "layout": problem.layout,
        "direction": problem.direction,
    }


class ArrayAdaptiveStepper:
    """An AdaptiveStepper on numpy arrays. field: a function of a time and a row (1, n)."""

    def __init__(self, field: Field, problem: LoopProblem) -> None:
        assert problem.control is not None
        self._field, self._tableau, self._y = field, _tableau(problem), problem.row
        self._time = np.dtype(problem.control.dtype).type
        self._direction, self._measure = problem.direction, _error_measure(problem)
        self._k: NumpyArray | None = None
        self._try: Attempt | None = None
        self._ends: StepEnds | None = None

    def begin(self, t: float) -> None:
        with np.errstate(all="ignore"):
            self._k = first_slope(self._field, self._time(t), self._y, xp=NUMPY)

    def first_length(self, t: float) -> float:
        order = self._tableau.order
        with np.errstate(all="ignore"):
            h = first_length(self._field, self._time(t), self._y, self._k, order=order, **self._measure, xp=NUMPY)
        return float(h)

    def attempt(self, t: float, t1: float, h: float) -> float:
        t, t1, h = (self._time(x) for x in (t, t1, h))
        with np.errstate(all="ignore"):
            self._try = attempt(self._field, self._tableau, t, t1, h, self._y, self._k, xp=NUMPY, **self._measure)
        return float(self._try.ratio)

    def accept(self, jump: float | None) -> None:
        assert self._try is not None
        y1, k1 = self._try.y1, self._try.k1
        self._ends = StepEnds(self._y, y1, self._try.mid, self._k, k1)
        self._y, self._k = y1, k1
        if jump is not None:
            with np.errstate(all="ignore"):
                self._k = slope_after_jump(self._field, self._time(jump), y1, direction=self._direction, xp=NUMPY)

    def restart(self, t: float, y: NumpyArray) -> None:
        self._y = y
        self.begin(t)

    def ends(self) -> StepEnds:
        assert self._ends is not None
        return self._ends


class ArraySampleStepper:
    """A SampleStepper on numpy arrays, whose batch cannot be cut down. field: of times (samples,) and a row (1, n)."""

    def __init__(self, field: Field, problem: LoopProblem) -> None:
        self._field, self._tableau, self._layout = field, _tableau(problem), problem.layout
        self._y = self._k = problem.row
        self._direction, self._measure = problem.direction, _error_measure(problem)
        self._try: Attempt | None = None

    def begin(self, t: NumpyArray) -> None:
        self._k = first_slope(self._field, t, self._y, xp=NUMPY)

    def first_length(self, t: NumpyArray) -> NumpyArray:
        order = self._tableau.order
        return np.asarray(first_length(self._field, t, self._y, self._k, order=order, **self._measure, xp=NUMPY))

    def attempt(self, t: NumpyArray, t1: NumpyArray, h: NumpyArray) -> NumpyArray:
        self._try = attempt(self._field, self._tableau, t, t1, h, self._y, self._k, xp=NUMPY, **self._measure)
        return np.asarray(self._try.ratio)

    def ends(self) -> StepEnds:
        assert self._try is not None
        rows = (self._y, self._try.y1, self._try.mid, self._k, self._try.k1)
        return StepEnds(*(table_of(row, self._layout) for row in rows))

    def state(self) -> NumpyArray:
        return table_of(self._y, self._layout)

    def accept(self, accepted: NumpyArray, jump: NumpyArray | None) -> None:
        assert self._try is not None
        select = self._layout.select
        self._y = select(accepted, self._try.y1, self._y, xp=NUMPY)
        self._k = select(accepted, self._try.k1, self._k, xp=NUMPY)
        if jump is not None:
            jumped = ~np.isnan(jump)
            times = np.where(jumped, jump, 0.0)
            k = slope_after_jump(self._field, times, self._y, direction=self._direction, xp=NUMPY)
            self._k = select(jumped, k, self._k, xp=NUMPY)

    def keep(self, kept: NumpyArray) -> bool:
        del kept
        return False


class ArrayFixedStepper:
    """A FixedStepper on numpy arrays. y0: the first state, (1, n)."""

    def __init__(self, field: Field, method: Method, y0: NumpyArray, terms: StepSettings) -> None:
        self._field, self._method, self._terms = field, method, terms
        self._y, self._memory = y0, method.initial_memory(y0, xp=NUMPY)
        self._ends: StepEnds | None = None

    def step(self, t: float, t1: float) -> tuple[int, bool]:
        with np.errstate(all="ignore"):
            done: FixedStep = self._method.step(self._field, t, t1, self._y, self._memory, self._terms, xp=NUMPY)
        self._ends = StepEnds(self._y, done.y1, k0=done.k0)
        self._y, self._memory = done.y1, done.memory
        return int(done.evaluations), bool(done.unconverged)

    def ends(self) -> StepEnds:
        assert self._ends is not None
        return self._ends


def row_field(
    field: Callable[..., Any],
    layout: Layout,
    *,
    single: bool,
    time: Callable[[Scalar, np.dtype[Any]], Scalar] | None = None,
) -> Field:
    """The user's field as a function of a time and a row (1, n).

    layout: the layout of the row. single: whether the field takes one array, or a tuple. time: makes the field's time
    argument from a time and the state's dtype; None for a scalar of that dtype. The function that is returned raises
    InputError when the slope's shape is not the state's.
    """

    def on_row(t: Scalar, row: NumpyArray) -> NumpyArray:
        parts = layout.unpack(row, xp=NUMPY)
        now = row.dtype.type(t) if time is None else time(t, row.dtype)
        slope = field(now, parts[0] if single else tuple(parts))
        slopes: Sequence[Any] = (slope,) if single else slope
        arrays = [np.asarray(part, row.dtype) for part in slopes]
        shapes = [array.shape for array in arrays]
        if shapes != list(layout.shapes):
            raise InputError(f"field returned slopes of shapes {shapes} for a state of shapes {list(layout.shapes)}")
        packed: NumpyArray = layout.pack(arrays, xp=NUMPY)
        return packed

    return on_row
