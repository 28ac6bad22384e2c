"""Finding the steps of the form `bounded` on data, and measuring what they are worth.

The law here: steps are found on calibration samples alone; all else is measured.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path

import numpy as np
import onnx_ir as ir

from odelet.artifact.card import Card, FallbackCard
from odelet.engine.fallback import sample_axes
from odelet.engine.opening import open_artifact
from odelet.errors import ArtifactError
from odelet.methods.roster import METHODS
from odelet.numerics.backend import NumpyArray
from odelet_export.calibration.accuracy import Measure
from odelet_export.calibration.data import Calibration, CalibrationSamples, Inputs
from odelet_export.calibration.grid_search import MOST_STEPS, TriedGrid, merged, smallest_grid
from odelet_export.calibration.reference import TorchReference
from odelet_export.calibration.trial_run import GridRun, Posed, Trial, stacked
from odelet_export.capture.captured import Captured
from odelet_export.errors import FormError
from odelet_export.lowering.forms import bounded
from odelet_export.lowering.hole import Hole, Placed
from odelet_export.lowering.lift import lift
from odelet_export.lowering.lower import LoweredModel, lower
from odelet_export.model.axes import Dynamic
from odelet_export.proof.judge import Judge
from odelet_export.proof.trust import BoundedErrors, SolveTrust, Trust
from odelet_export.targets.folder import write_card
from odelet_export.targets.onnx_files import card_of, tensor_of, write_graphs

# Steps are moved about on the samples that are hardest on them, and then tried on all.
_HARDEST = 8
_FEW = 64


@dataclass(frozen=True)
class Calibrated:
    """placed: the steps of solves, by index. samples: name of the axis that counts samples, or None. trust: what was
    measured. good: calibration samples that are well within the tolerance, a few at a time. mixing: whether the samples
    of a batch change each other's outputs."""

    placed: Mapping[int, Placed]
    samples: str | None
    trust: Trust
    good: Sequence[Inputs]
    mixing: bool

    def holes(self, holes: Sequence[Hole]) -> list[Hole]:
        """The holes with their steps."""
        return [replace(hole, placed=self.placed.get(hole.spec.index)) for hole in holes]


def driven_copy(captured: Captured, holes: Sequence[Hole], *, max_steps: int) -> LoweredModel:
    """The same model in the form `driven`; the graph of `captured`, not lowered yet, stays as it is."""
    again = replace(captured, model=captured.model.clone())
    notes = {hole.spec.mark: hole.nested for hole in holes}
    return lower(again, lift(again, notes), "driven", max_steps=max_steps, keep_debug_info=False)


def with_fallback(
    card: Card, lowered: LoweredModel, again: LoweredModel, calibrated: Calibrated
) -> tuple[Card, LoweredModel]:
    """A bounded model with a driven one that solves samples again. Raises FormError where samples cannot be taken
    alone."""
    again_card = FallbackCard(axis=calibrated.samples, program=tuple(again.program), solves=tuple(again.solves))
    card = replace(card, fallback=again_card)
    try:
        sample_axes(card)
    except ArtifactError as error:
        raise FormError(f"fallback=True: {error}; leave fallback out") from None
    if calibrated.mixing:
        raise FormError(
            "fallback=True solves samples again one by one, and in this model the samples of a batch change each "
            "other's outputs; leave fallback out"
        )
    return card, replace(lowered, graphs={**lowered.graphs, **again.graphs})


class Calibrator:
    """One calibration. judge: the torch model. times: inputs that are output times, or stay as they are."""

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
        self._torch = TorchReference(judge, list(self._specs.values()), captured.draws)
        self._label = _label(self._holes, dynamic)
        self._captured, self._all, self._max_steps, self._opset = captured, holes, max_steps, opset
        self._calls = calibration.calls(judge.callee, dynamic)

    def run(self) -> Calibrated:
        """Find steps for each solve that can have them, and measure what they are worth."""
        if not self._holes:
            told = [f"{hole.spec.source}: {bounded.no_grid(hole)}" for hole in self._all]
            raise FormError(f"no solve of this model can be bounded: {'; '.join(told)}")
        graph = self._captured.model.graph
        inputs = [tensor_of(value) for value in graph.inputs]
        guards = {one.output for one in self._captured.assumptions}
        outputs = [tensor_of(value) for value in graph.outputs if value.name not in guards]
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
        own, held = samples.split()
        for index in self._order(trial):
            found = self._search(trial, own, index)
            trial = trial.having(index, Placed(found.positions, self._samples_of(index)))
        shifted = (held if len(held) else own).scaled(2.0, self._scalable())
        sets = {"calibration": own, "held back": held, "shifted": shifted}
        measured = {name: self._measure.on(trial, some) for name, some in sets.items() if len(some)}
        solves = [
            SolveTrust(
                index,
                spec.method,
                spec.source,
                _evaluations(spec.method, placed),
                placed.positions,
                {name: found[0][index] for name, found in measured.items()},
            )
            for index, spec in self._specs.items()
            for placed in (trial.placed[index],)
        ]
        outputs = {name: found[1] for name, found in measured.items()}
        trust = Trust(self._calibration.quantile, self._torch.reference, solves, outputs)
        good = self._good(own, measured["calibration"][0])
        return Calibrated(trial.placed, self._label, trust, good, self._mixing(trial, samples))

    def _order(self, trial: Trial) -> list[int]:
        """The solves that get steps, in the order of the program."""
        driven = [step.drive for step in trial.artifact.card.program if hasattr(step, "drive")]
        return [index for index in driven if index in self._specs]

    def _samples_of(self, index: int) -> str | None:
        hole = next(hole for hole in self._holes if hole.spec.index == index)
        return self._label if _first_axes(hole) == {self._label} else None

    def _scalable(self) -> list[str]:
        callee = self._judge.callee
        return [
            name
            for name, tensor in zip(callee.names, callee.example, strict=True)
            if tensor.is_floating_point() and name not in self._times
        ]

    def _search(self, trial: Trial, samples: CalibrationSamples, index: int) -> TriedGrid:
        """The steps of one solve: placed on the hardest samples, until they do for all.

        Few steps can be long enough for the estimate to be small by chance. So their true error must not be larger than
        that of torchdiffeq's own answer; more steps than twice those that the estimates ask for are not tried.
        """
        per_sample, quantile = self._samples_of(index) is not None, self._calibration.quantile
        posed = trial.pose(samples, index, per_sample=per_sample)
        order = METHODS[self._specs[index].method].order
        assert order is not None
        start = merged([one.adaptive(quantile) for one in posed])
        first, least = start.spread(max(ceil(start.total), 1)), 1
        hard: set[int] = set(range(len(samples))) if len(samples) <= _FEW or quantile < 1 else set()
        found: TriedGrid | None = None
        enough = 0
        while True:
            if found is not None or hard:
                few = posed
                if len(hard) < len(samples):
                    few = trial.pose(samples.take(hard), index, per_sample=per_sample)
                evaluate = partial(_ratios, few)
                first = smallest_grid(evaluate, start, order=order, quantile=quantile, least=least).positions
            runs = [one.along(first) for one in posed]
            known, found = len(hard), TriedGrid(first, stacked([run.ratios for run in runs]))
            if found.worst(quantile) > 1.0:
                hard |= found.hardest(_HARDEST)
                if len(hard) > known:
                    continue
            enough = enough or (min(2 * found.steps + 2, MOST_STEPS) if known else 0)
            if known and (found.steps >= enough or self._honest(index, samples, posed, runs)):
                return found
            hard |= found.hardest(_HARDEST)
            least = max(found.steps + 1, ceil(1.05 * found.steps)) if known else 1

    def _honest(self, index: int, samples: CalibrationSamples, posed: Sequence[Posed], runs: Sequence[GridRun]) -> bool:
        """Whether solutions are as near to the reference as torchdiffeq's, or within the tolerance."""
        far = self._measure.far(index, samples, posed, runs)
        if not far:
            return True
        ours, theirs = (np.sort(np.concatenate(column)) for column in zip(*far, strict=True))
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
        """Whether outputs change when other samples are left out of the batch."""
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
        """A few samples that no rounding puts above the tolerance."""
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


def _first_axes(hole: Hole) -> set[str | None]:
    """The names of the first axes of the parts of a state."""
    found: set[str | None] = set()
    for part in hole.y0:
        dim = part.shape[0] if part.shape is not None and len(part.shape) else None
        found.add(dim.value if isinstance(dim, ir.SymbolicDim) else None)
    return found


def _label(holes: Sequence[Hole], dynamic: Dynamic) -> str | None:
    """The axis that counts samples: a dynamic one, and the first of every part of some state."""
    known = {name for axes in dynamic.values() for name in axes.values()}
    for hole in holes:
        axes = _first_axes(hole)
        if len(axes) == 1 and axes <= known:
            return next(iter(axes))
    return None


def _close(a: NumpyArray, b: NumpyArray) -> bool:
    """Whether arrays differ by no more than rounding might make of them."""
    return a.shape == b.shape and np.allclose(
        a, b, rtol=1e-3, atol=1e-3 * np.max(np.abs(a), initial=0.0), equal_nan=True
    )


def _evaluations(method: str, placed: Placed) -> int:
    calls = METHODS[method].evaluations
    assert calls is not None
    return 1 + calls * (len(placed.positions) - 1)
