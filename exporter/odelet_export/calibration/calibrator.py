"""Finds the steps of the form `bounded` on data, and measures the errors that they leave.

The law here: steps are found on calibration samples alone; on all other samples they are only measured.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from math import ceil
from pathlib import Path

import numpy as np

from odelet.engine.opening import open_artifact
from odelet.methods.roster import METHODS
from odelet.numerics.backend import NumpyArray
from odelet_export.calibration.accuracy import Measure
from odelet_export.calibration.calibrated import Calibrated
from odelet_export.calibration.data import CalibrationSamples, Inputs, calls_of
from odelet_export.calibration.fallback import driven_copy
from odelet_export.calibration.grid_search import MOST_STEPS, TriedGrid, merged, smallest_grid
from odelet_export.calibration.reference import TorchReference
from odelet_export.calibration.settings import Calibration
from odelet_export.calibration.trial_run import GridRun, Posed, Trial, stacked
from odelet_export.capture.captured import Captured
from odelet_export.errors import FormError
from odelet_export.lowering.forms import bounded
from odelet_export.lowering.forms.bounded import BOUNDED
from odelet_export.lowering.hole import Hole, Placed
from odelet_export.lowering.sample_axis import axis_of_states, first_axes
from odelet_export.model.axes import Dynamic
from odelet_export.proof.judge import Judge
from odelet_export.proof.trust import BoundedErrors, SolveTrust, Trust
from odelet_export.targets.folder import write_card
from odelet_export.targets.onnx_files import card_of, host_tensors, write_graphs

# A grid is searched on the hardest samples, _HARDEST more for each step in each turn, and then tried on all samples;
# up to _FEW samples are all taken at once.
_HARDEST = 8
_FEW = 64


class Calibrator:
    """One calibration. judge: the torch model. times: the names of inputs that must not be scaled: output times, and
    inputs that are held at the example."""

    def __init__(
        self,
        captured: Captured,
        holes: Sequence[Hole],
        judge: Judge,
        dynamic: Dynamic,
        calibration: Calibration,
        *,
        times: Collection[str],
        max_steps: int,
        opset: int,
    ) -> None:
        self._holes = [hole for hole in holes if bounded.no_grid(hole) is None]
        self._judge, self._calibration, self._times = judge, calibration, set(times)
        self._specs = {hole.spec.index: hole.spec for hole in self._holes}
        self._torch = TorchReference(judge, list(self._specs.values()), captured.draw_count)
        self._label = axis_of_states(self._holes, {name for axes in dynamic.values() for name in axes.values()})
        self._captured, self._all, self._max_steps, self._opset = captured, holes, max_steps, opset
        self._calls = calls_of(calibration.inputs or {}, judge.callee, dynamic)

    def run(self) -> Calibrated:
        """Find the steps of each solve that can have a grid, and measure their errors. Raises FormError if none can."""
        if not self._holes:
            reasons = [f"{hole.spec.source}: {bounded.no_grid(hole)}" for hole in self._all]
            raise FormError(f"no solve of this model can be {BOUNDED.name}: {'; '.join(reasons)}")
        inputs, outputs = host_tensors(self._captured)
        with tempfile.TemporaryDirectory(prefix="odelet-") as place:
            folder = Path(place)
            lowered = driven_copy(self._captured, self._all, max_steps=self._max_steps)
            card = card_of(
                lowered, "calibration", inputs, outputs, self._captured.assumptions, self._opset, self._captured.noise
            )
            write_card(write_graphs(lowered, card, folder), folder)
            trial = Trial(open_artifact(folder), {})
            self._axes = {t.name: t.shape.index(self._label) for t in inputs if self._label in t.shape}
            samples = CalibrationSamples(
                [call | self._torch.noise(call, i) for i, call in enumerate(self._calls)], self._axes
            )
            if self._axes and not self._independent(trial, samples):
                self._label, self._axes = None, {}
                samples = CalibrationSamples(samples.calls, {})
            self._output_axes = {t.name: t.shape.index(self._label) for t in outputs if self._label in t.shape}
            names = self._judge.callee.output_names
            self._measure = Measure(self._torch, self._specs, names, self._output_axes)
            return self._calibrated(trial, samples)

    def _calibrated(self, trial: Trial, samples: CalibrationSamples) -> Calibrated:
        used, held_back = samples.split()
        for index in self._order(trial):
            grid = self._search(trial, used, index)
            trial = trial.having(index, Placed(grid.positions, self._samples_of(index)))
        shifted = (held_back if len(held_back) else used).scaled(2.0, self._scalable())
        sets = {"calibration": used, "held back": held_back, "shifted": shifted}
        measured = {name: self._measure.on(trial, some) for name, some in sets.items() if len(some)}
        solves = [
            SolveTrust(
                index,
                spec.method,
                spec.source,
                _evaluations(spec.method, placed),
                placed.positions,
                {name: errors[0][index] for name, errors in measured.items()},
            )
            for index, spec in self._specs.items()
            for placed in (trial.placed[index],)
        ]
        outputs = {name: errors[1] for name, errors in measured.items()}
        trust = Trust(self._calibration.quantile, self._torch.reference, solves, outputs)
        good = self._good(used, measured["calibration"][0])
        return Calibrated(trial.placed, self._label, trust, good, self._mixing(trial, samples))

    def _order(self, trial: Trial) -> list[int]:
        """The indices of the solves that get steps, in the order of the program."""
        driven = [step.drive for step in trial.artifact.card.program if hasattr(step, "drive")]
        return [index for index in driven if index in self._specs]

    def _samples_of(self, index: int) -> str | None:
        """The axis that counts samples, where it is the first axis of every part of the solve's state; else None."""
        hole = next(hole for hole in self._holes if hole.spec.index == index)
        return self._label if first_axes(hole) == {self._label} else None

    def _scalable(self) -> list[str]:
        """The names of the inputs that may be scaled, to measure on data unlike those of the calibration."""
        callee = self._judge.callee
        return [
            name
            for name, tensor in zip(callee.names, callee.example, strict=True)
            if tensor.is_floating_point() and name not in self._times
        ]

    def _search(self, trial: Trial, samples: CalibrationSamples, index: int) -> TriedGrid:
        """The steps of one solve: a grid for the hardest samples, to which samples are added until the grid suits all.

        Over a long step the error estimate can be small by chance. So the true error must not be larger than that of
        torchdiffeq's own answer either; a grid with twice the steps that the estimates ask for is taken all the same.
        """
        per_sample, quantile = self._samples_of(index) is not None, self._calibration.quantile
        posed = trial.pose(samples, index, per_sample=per_sample)
        order = METHODS[self._specs[index].method].order
        assert order is not None
        start = merged([one.adaptive(quantile) for one in posed])
        first, least = start.spread(max(ceil(start.total), 1)), 1
        hard: set[int] = set(range(len(samples))) if len(samples) <= _FEW or quantile < 1 else set()
        grid: TriedGrid | None = None
        enough = 0
        while True:
            if grid is not None or hard:
                few = posed
                if len(hard) < len(samples):
                    few = trial.pose(samples.take(hard), index, per_sample=per_sample)
                evaluate = partial(_ratios, few)
                first = smallest_grid(evaluate, start, order=order, quantile=quantile, least=least).positions
            runs = [one.along(first) for one in posed]
            before, grid = len(hard), TriedGrid(first, stacked([run.ratios for run in runs]))
            if grid.worst(quantile) > 1.0:
                hard |= grid.hardest(_HARDEST)
                if len(hard) > before:
                    continue
            enough = enough or (min(2 * grid.steps + 2, MOST_STEPS) if before else 0)
            if before and (grid.steps >= enough or self._honest(index, samples, posed, runs)):
                return grid
            hard |= grid.hardest(_HARDEST)
            least = max(grid.steps + 1, ceil(1.05 * grid.steps)) if before else 1

    def _honest(self, index: int, samples: CalibrationSamples, posed: Sequence[Posed], runs: Sequence[GridRun]) -> bool:
        """Whether the solutions are within the tolerance of the reference, or as near to it as torchdiffeq's own."""
        measured = self._measure.distances_of(index, samples, posed, runs)
        if not measured:
            return True
        ours, theirs = (np.sort(np.concatenate(column)) for column in zip(*measured, strict=True))
        last = max(ceil(self._calibration.quantile * len(ours) - 1e-9), 1) - 1
        return bool(ours[last] <= max(1.0, theirs[last]))

    def _independent(self, trial: Trial, samples: CalibrationSamples) -> bool:
        """Whether the samples of a batch do not change each other's slopes, so that some can be taken alone."""
        index = self._order(trial)[0]
        if self._samples_of(index) is None or samples.sizes[0] < 2:
            return True
        first = CalibrationSamples(samples.calls[:1], samples.axes)
        whole, half = (
            trial.pose(some, index, per_sample=True)[0] for some in (first, first.take(range(0, len(first), 2)))
        )
        slopes = [one.slopes() for one in (whole, half)]
        with np.errstate(all="ignore"):
            return all(_close(a[::2], b) for a, b in zip(*slopes, strict=True))

    def _mixing(self, trial: Trial, samples: CalibrationSamples) -> bool:
        """Whether the outputs of a sample change when other samples are left out of the batch."""
        first = CalibrationSamples(samples.calls[:1], samples.axes).take(range(min(samples.sizes[0], 8)))
        if len(first) < 2 or not self._axes:
            return False
        whole, half = (trial.run(some)[0].outputs for some in (first, first.take(range(0, len(first), 2))))
        with np.errstate(all="ignore"):
            return not all(
                _close(np.take(whole[name], range(0, len(first), 2), axis=axis), half[name])
                for name, axis in self._output_axes.items()
            )

    def _good(self, samples: CalibrationSamples, measured: Mapping[int, BoundedErrors]) -> list[Inputs]:
        """A few calls of samples whose error ratios are so small that no rounding puts them above 1."""
        sizes = {len(one.ratios) for one in measured.values()}
        if sizes != {len(samples)}:
            return list(samples.calls[:3])
        good = np.flatnonzero(np.all([one.ratios <= 0.8 for one in measured.values()], axis=0))
        good = good if len(good) else np.array([int(np.argmin(next(iter(measured.values())).ratios))])
        groups = [good[:4], good[4:5], good[5:7]]
        names = self._judge.callee.names
        calls = [call for group in groups if len(group) for call in samples.take(group).calls]
        return [{name: call[name] for name in names} for call in calls[:3]]


def _ratios(posed: Sequence[Posed], positions: NumpyArray) -> NumpyArray:
    """The error ratios (steps, samples) of a solve on a grid, in some calls."""
    return stacked([one.along(positions).ratios for one in posed])


def _close(a: NumpyArray, b: NumpyArray) -> bool:
    """Whether arrays differ by no more than rounding may cause."""
    return a.shape == b.shape and np.allclose(
        a, b, rtol=1e-3, atol=1e-3 * np.max(np.abs(a), initial=0.0), equal_nan=True
    )


def _evaluations(method: str, placed: Placed) -> int:
    """The number of evaluations of the field along a grid."""
    calls = METHODS[method].evaluations
    assert calls is not None
    return 1 + calls * (len(placed.positions) - 1)
