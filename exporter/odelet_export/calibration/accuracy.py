"""The accuracy of bounded solves on data: their error ratios, and their distances from a reference solution."""

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
    """Compares a model whose solves run along grids with torch.

    specs: the solves that have grids, by index. names: the names of the outputs. axes: the axis that counts samples, by
    name of the output.
    """

    def __init__(
        self, torch_side: TorchReference, specs: Mapping[int, SolveSpec], names: Sequence[str], axes: Mapping[str, int]
    ) -> None:
        self._torch, self._specs, self._names, self._output_axes = torch_side, specs, names, axes

    def distances_of(
        self, index: int, samples: CalibrationSamples, posed: Sequence[Posed], runs: Sequence[GridRun]
    ) -> list[list[NumpyArray]]:
        """A pair of arrays (samples,) for each call that torch can solve: the distances of a solve from the reference,
        over the tolerances, and the distances of torchdiffeq's own answer."""
        key, both = self._specs[index].call, []
        for call, one, run in zip(samples.calls, posed, runs, strict=True):
            tight, plain = (self._torch.solve(call, tight=tight) for tight in (True, False))
            if tight is not None and plain is not None:
                rows = (run.rows, plain.rows[key])
                both.append([distances(x, tight.rows[key], one.bounds, one.layout) for x in rows])
        return both

    def on(self, trial: Trial, samples: CalibrationSamples) -> tuple[dict[int, BoundedErrors], dict[str, NumpyArray]]:
        """The errors on some samples: those of the solves by index, and those of the outputs, (samples,), by name."""
        solves: dict[int, list[BoundedErrors]] = {index: [] for index in self._specs}
        errors: dict[str, list[NumpyArray]] = {}
        for one in (CalibrationSamples([call], samples.axes) for call in samples.calls):
            together = self._measured(trial, one)
            if together is None:  # torchdiffeq fails on a batch when it fails on one of the samples
                each = [one.take([i]) for i in range(len(one))]
                measurements = [self._measured(trial, alone, failures=True) for alone in each]
            else:
                measurements = [together]
            for measurement in measurements:
                assert measurement is not None
                for index, solve_errors in measurement[0].items():
                    solves[index].append(solve_errors)
                for name, output_errors in measurement[1].items():
                    errors.setdefault(name, []).append(output_errors)
        joined = {index: BoundedErrors.joined(parts) for index, parts in solves.items()}
        return joined, {name: np.concatenate(parts) for name, parts in errors.items()}

    def _measured(
        self, trial: Trial, samples: CalibrationSamples, *, failures: bool = False
    ) -> tuple[dict[int, BoundedErrors], dict[str, NumpyArray]] | None:
        """The errors in one call. Where torch fails, the result is None, or infinite errors with `failures`."""
        call = samples.calls[0]
        tight, plain = self._torch.solve(call, tight=True), self._torch.solve(call, tight=False)
        if (tight is None or plain is None) and not failures:
            return None
        outcome = trial.run(samples)[0]
        measured = {}
        for index, (posed, run) in outcome.solves.items():
            key = self._specs[index].call
            both = [
                np.full(run.ratios.shape[1], np.inf)
                if tight is None or other is None
                else distances(other, tight.rows[key], posed.bounds, posed.layout)
                for other in (run.rows, None if plain is None else plain.rows[key])
            ]
            measured[index] = BoundedErrors(run.ratios.max(axis=0), *both)
        names = self._names
        errors = {
            name: self._output_error(name, outcome.outputs[name], None if tight is None else tight.outputs[i])
            for i, name in enumerate(names)
        }
        return measured, errors

    def _output_error(self, name: str, got: NumpyArray, wanted: NumpyArray | None) -> NumpyArray:
        """The largest error of an output in each sample, (samples,); infinite where either is not a number."""
        with np.errstate(all="ignore"):
            error = np.abs(got.astype(np.float64) - (np.nan if wanted is None else wanted.astype(np.float64)))
        error = np.where(error >= 0, error, np.inf)
        axis = self._output_axes.get(name)
        flat = error.reshape(1, -1) if axis is None else np.moveaxis(error, axis, 0).reshape(error.shape[axis], -1)
        return np.asarray(flat.max(axis=1, initial=0.0))
