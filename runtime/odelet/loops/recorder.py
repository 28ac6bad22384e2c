"""A record of the steps that a driven solve attempts, for pictures, and for finding out why a solve is slow.

The law here: recording changes nothing. A recorded solve takes the steps that it takes unrecorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from odelet.loops.adaptive import AdaptiveStepper
from odelet.loops.fixed import FixedStepper, Slope
from odelet.loops.per_sample import SampleStepper
from odelet.loops.trajectory import DenseStep, StepEnds, Time
from odelet.numerics.backend import NumpyArray


@dataclass(frozen=True)
class AttemptedStep:
    """A step that was attempted. time: its start; length: signed; both in the model's unit of time. ratio: the error
    ratio, or None for a fixed-step method."""

    time: float
    length: float
    ratio: float | None
    accepted: bool


@dataclass
class Recording:
    """The steps of one solve. sample: the number of the sample to record, where each sample is solved on its own.

    attempts: all steps, in order. steps: the accepted ones, with their dense output; states are rows (1, n), of the
    recorded sample alone in a solve per sample. The rest is filled in when the solve begins: method, its name; times,
    the output times; direction, 1 or -1, as time runs; shapes, of the parts of the state.
    """

    sample: int = 0
    attempts: list[AttemptedStep] = field(default_factory=list)
    steps: list[DenseStep] = field(default_factory=list)
    method: str = ""
    times: NumpyArray = field(default_factory=lambda: np.zeros(0))
    direction: float = 1.0
    shapes: list[tuple[int, ...]] = field(default_factory=list)

    def begin(self, method: str, times: NumpyArray, direction: float, shapes: Sequence[tuple[int, ...]]) -> None:
        """Begin to record a solve, and drop the steps of the one before."""
        self.method, self.times, self.direction, self.shapes = method, times, direction, list(shapes)
        self.attempts, self.steps = [], []

    def add(self, t: Time, t1: Time, h: Time, ends: StepEnds) -> None:
        """Add an accepted step from t to t1, of length h, all signed."""
        copies = StepEnds._make(None if row is None else np.array(row) for row in ends)
        start, end = self.direction * t, self.direction * t1
        self.steps.append(DenseStep(start, end, end, h, copies))


class RecordedStepper:
    """An AdaptiveStepper whose steps are recorded."""

    def __init__(self, stepper: AdaptiveStepper, recording: Recording) -> None:
        self._stepper, self._recording = stepper, recording
        self._last: tuple[Time, Time, Time] = (0.0, 0.0, 0.0)

    def begin(self, t: float) -> None:
        self._stepper.begin(t)

    def first_length(self, t: float) -> float:
        return self._stepper.first_length(t)

    def attempt(self, t: float, t1: float, h: float) -> float:
        ratio = self._stepper.attempt(t, t1, h)
        self._last = (t, t1, h)
        self._recording.attempts.append(AttemptedStep(float(t), float(h), float(ratio), False))
        return ratio

    def accept(self, jump: float | None) -> None:
        self._stepper.accept(jump)
        self._recording.attempts[-1] = replace(self._recording.attempts[-1], accepted=True)
        self._recording.add(*self._last, self._stepper.ends())

    def restart(self, t: float, y: NumpyArray) -> None:
        self._stepper.restart(t, y)

    def ends(self) -> StepEnds:
        return self._stepper.ends()


class RecordedSampleStepper:
    """A SampleStepper that records the steps of one sample. count: how many samples there are."""

    def __init__(self, stepper: SampleStepper, recording: Recording, count: int) -> None:
        self._stepper, self._recording = stepper, recording
        self._held = np.arange(count)
        self._last: tuple[NumpyArray, NumpyArray, NumpyArray, NumpyArray] | None = None

    def begin(self, t: NumpyArray) -> None:
        self._stepper.begin(t)

    def first_length(self, t: NumpyArray) -> NumpyArray:
        return self._stepper.first_length(t)

    def attempt(self, t: NumpyArray, t1: NumpyArray, h: NumpyArray) -> NumpyArray:
        ratio = self._stepper.attempt(t, t1, h)
        self._last = (t, t1, h, ratio)
        return ratio

    def accept(self, accepted: NumpyArray, jump: NumpyArray | None) -> None:
        places = np.flatnonzero(self._held == self._recording.sample)
        if places.size:
            (place,) = places
            assert self._last is not None
            t, t1, h, ratio = (row[place] for row in self._last)
            self._recording.attempts.append(AttemptedStep(float(t), float(h), float(ratio), bool(accepted[place])))
            if accepted[place]:
                ends = (None if table is None else table[place : place + 1] for table in self._stepper.ends())
                self._recording.add(t, t1, h, StepEnds._make(ends))
        self._stepper.accept(accepted, jump)

    def ends(self) -> StepEnds:
        return self._stepper.ends()

    def state(self) -> NumpyArray:
        return self._stepper.state()

    def keep(self, kept: NumpyArray) -> bool:
        if not self._stepper.keep(kept):
            return False
        self._held = self._held[kept]
        return True


class RecordedFixedStepper:
    """A FixedStepper whose steps are recorded. slope: where the state is read by cubics, or None."""

    def __init__(self, stepper: FixedStepper, recording: Recording, slope: Slope | None) -> None:
        self._stepper, self._recording, self._slope = stepper, recording, slope

    def step(self, t: float, t1: float) -> tuple[int, bool]:
        calls, failed = self._stepper.step(t, t1)
        ends = self._stepper.ends()
        k1 = None if self._slope is None else np.asarray(self._slope(t1, ends.y1))
        self._recording.add(t, t1, t1 - t, ends._replace(k1=k1))
        self._recording.attempts.append(AttemptedStep(float(t), float(t1 - t), None, True))
        return calls, failed

    def ends(self) -> StepEnds:
        return self._stepper.ends()
