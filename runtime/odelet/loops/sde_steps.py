"""Steps of SDEs: on numpy arrays, of functions that are Python's, and along a grid of fixed steps."""

from __future__ import annotations

import numpy as np

from odelet.loops.brownian import BrownianPath
from odelet.loops.step_doubling import SdeStepper
from odelet.loops.trajectory import StepEnds, Time
from odelet.methods.sde import Increment, Interval, Sde, SdeMethod, SdeStep
from odelet.numerics.backend import NUMPY, NumpyArray


class ArraySdeStepper:
    """An SdeStepper on numpy arrays: the functions of the SDE get and return tables (batch, d).

    time: the type of the times that they get.
    """

    def __init__(self, method: SdeMethod, sde: Sde, time: type[np.floating]) -> None:
        self._method, self._sde, self._time = method, sde, time

    def _table(self, y: NumpyArray) -> NumpyArray:
        return y.reshape(-1, self._sde.width)

    def begin(self, t: Time, y: NumpyArray) -> tuple[NumpyArray, ...]:
        with np.errstate(all="ignore"):
            return self._method.first_memory(self._sde, self._time(t), self._table(y), xp=NUMPY)

    def advance(self, y: NumpyArray, memory: tuple[NumpyArray, ...], t: Time, t1: Time, noise: Increment) -> SdeStep:
        step = Interval.of(self._time(t), self._time(t1), y, xp=NUMPY)
        with np.errstate(all="ignore"):
            done = self._method.advance(self._sde, step, self._table(y), memory, noise, xp=NUMPY)
        return SdeStep(done.y1.reshape(1, -1), done.memory)


class SdeGridStepper:
    """A FixedStepper along a Brownian path. y0: the first state, (1, n)."""

    def __init__(self, method: SdeMethod, stepper: SdeStepper, path: BrownianPath, y0: NumpyArray) -> None:
        self._method, self._stepper, self._path = method, stepper, path
        self._y = y0
        self._memory: tuple[NumpyArray, ...] | None = None
        self._ends: StepEnds | None = None

    def step(self, t: float, t1: float) -> tuple[int, bool]:
        calls = self._method.drifts
        if self._memory is None:
            self._memory = self._stepper.begin(t, self._y)
            calls += self._method.remembers
        done = self._stepper.advance(self._y, self._memory, t, t1, self._path.increment(t, t1))
        self._path.forget(t1)
        self._ends = StepEnds(self._y, done.y1)
        self._y, self._memory = done.y1, done.memory
        return calls, False

    def ends(self) -> StepEnds:
        assert self._ends is not None
        return self._ends
