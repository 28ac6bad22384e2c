"""What bounded solves are worth on data: their estimates, and how far they are from a reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from odelet.numerics.backend import NumpyArray
from odelet_export.calibration.data import CalibrationSamples
from odelet_export.calibration.reference import TorchReference
from odelet_export.calibration.trial_run import GridRun, Posed, Trial, distances
from odelet_export.model.spec import SolveSpec
from odelet_export.proof.trust import BoundedErrors


class Measure:
    """Compares a model run along grids with torch. specs: the solves that have grids, by index. names: of the outputs.
    axes: where the samples of a batch are in outputs, by name."""

    def __init__(
        self, torch_side: TorchReference, specs: Mapping[int, SolveSpec], names: Sequence[str], axes: Mapping[str, int]
    ) -> None:
        self._torch, self._specs, self._names, self._output_axes = torch_side, specs, names, axes

    def far(
        self, index: int, samples: CalibrationSamples, posed: Sequence[Posed], runs: Sequence[GridRun]
    ) -> list[list[NumpyArray]]:
        """For each call that torch can solve: the distances (samples,) of a solve from the reference, and those of
        torchdiffeq's own answer."""
        key, found = self._specs[index].call, []
        for call, one, run in zip(samples.calls, posed, runs, strict=True):
            tight, plain = (self._torch.solve(call, tight=tight) for tight in (True, False))
            if tight is not None and plain is not None:
                rows = (run.rows, plain.rows[key])
                found.append([distances(x, tight.rows[key], one.bounds, one.layout) for x in rows])
        return found

    def on(self, trial: Trial, samples: CalibrationSamples) -> tuple[dict[int, BoundedErrors], dict[str, NumpyArray]]:
        """What the solves and the outputs are worth on some samples."""
        found: dict[int, list[BoundedErrors]] = {index: [] for index in self._specs}
        errors: dict[str, list[NumpyArray]] = {}
        for one in (CalibrationSamples([call], samples.axes) for call in samples.calls):
            told = self._told(trial, one)
            if told is None:  # torchdiffeq raises for a batch what one of its samples does
                each = [one.take([i]) for i in range(len(one))]
                pieces = [self._told(trial, alone, lost=True) for alone in each]
            else:
                pieces = [told]
            for piece in pieces:
                assert piece is not None
                for index, measured in piece[0].items():
                    found[index].append(measured)
                for name, far in piece[1].items():
                    errors.setdefault(name, []).append(far)
        joined = {index: BoundedErrors.joined(pieces) for index, pieces in found.items()}
        return joined, {name: np.concatenate(parts) for name, parts in errors.items()}

    def _told(
        self, trial: Trial, samples: CalibrationSamples, *, lost: bool = False
    ) -> tuple[dict[int, BoundedErrors], dict[str, NumpyArray]] | None:
        """The same of one call; None where torch has no answer to compare with, or with `lost` infinite errors."""
        call = samples.calls[0]
        tight, plain = self._torch.solve(call, tight=True), self._torch.solve(call, tight=False)
        if (tight is None or plain is None) and not lost:
            return None
        outcome = trial.run(samples)[0]
        measured = {}
        for index, (posed, run) in outcome.solves.items():
            key = self._specs[index].call
            far = [
                np.full(run.ratios.shape[1], np.inf)
                if tight is None or other is None
                else distances(other, tight.rows[key], posed.bounds, posed.layout)
                for other in (run.rows, None if plain is None else plain.rows[key])
            ]
            measured[index] = BoundedErrors(run.ratios.max(axis=0), *far)
        names = self._names
        errors = {
            name: self._output_error(name, outcome.outputs[name], None if tight is None else tight.outputs[i])
            for i, name in enumerate(names)
        }
        return measured, errors

    def _output_error(self, name: str, got: NumpyArray, wanted: NumpyArray | None) -> NumpyArray:
        """The largest error of an output in each sample."""
        with np.errstate(all="ignore"):
            error = np.abs(got.astype(np.float64) - (np.nan if wanted is None else wanted.astype(np.float64)))
        error = np.where(error >= 0, error, np.inf)
        axis = self._output_axes.get(name)
        flat = error.reshape(1, -1) if axis is None else np.moveaxis(error, axis, 0).reshape(error.shape[axis], -1)
        return np.asarray(flat.max(axis=1, initial=0.0))
