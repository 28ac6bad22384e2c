"""Measures a candidate: it is exported as the command line would export it, run by the runtime, and timed.

The law here: every number that is reported was measured, on the artifact that the command makes.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any

import numpy as np

from odelet.artifact.native_card import read_native
from odelet.commands.latency import interleaved
from odelet.engine.opening import NATIVE
from odelet.errors import InputError, OdeletError
from odelet.model.loading import load
from odelet.model.model import Model
from odelet.numerics.backend import NumpyArray
from odelet.status import Status
from odelet_export.capture.captured import Captured
from odelet_export.errors import ParityError
from odelet_export.model.number_inputs import GivenDynamic
from odelet_export.pipeline.build import build
from odelet_export.pipeline.export import export
from odelet_export.pipeline.settings import ExportSettings
from odelet_export.proof.data import CALIBRATION, Data
from odelet_export.proof.metric import Metric
from odelet_export.tuning.candidates import Candidate
from odelet_export.tuning.record import Row
from odelet_export.tuning.truth import Truth

# The seconds for which a candidate and the baseline are timed in turns, and the number of calls whose inputs are used:
# in the first rounds, where there are many candidates, and in the last round, whose times decide.
QUICK, LONG = (0.25, 6), (1.0, 16)
# Each of these inputs gets at least this many turns.
_TURNS = 3
_NOTE = 200


@dataclass(frozen=True)
class Recipe:
    """The part that the exports of all candidates have in common. example, call: the arguments of the example, and of
    one call, for libraries, whose arrays have fixed sizes. settings: the settings without those of a candidate."""

    model: Callable[..., Any]
    example: tuple[Sequence[Any], Mapping[str, Any]]
    call: tuple[Sequence[Any], Mapping[str, Any]]
    data: Data
    settings: ExportSettings

    def make(self, candidate: Candidate, out: Path) -> None:
        """Export a candidate. Raises what `export` raises."""
        settings = self.settings.having(**candidate.options)
        native, data = candidate.native, self.data
        if candidate.calibrated:
            settings = settings.having(calibration=data.stacked(CALIBRATION) if native else data.example(CALIBRATION))
        args, kwargs = self.call if native else self.example
        dynamic: GivenDynamic | None = None if native else data.declared
        export(self.model, args, out, kwargs=kwargs, dynamic=dynamic, settings=settings)


# The names of artifacts on the shelf, and of hidden folders that killed exports left there.
_MADE = re.compile(r"(\.odelet-)?[0-9a-f]{16}(\.failed|\.[a-z0-9_]{8})?")


class Shelf:
    """The artifacts of a run; each is made when it is first needed."""

    def __init__(self, recipe: Recipe, folder: Path, *, threads: int) -> None:
        self._recipe, self._folder, self.threads = recipe, folder, threads

    def _place(self, candidate: Candidate, what: str = "") -> Path:
        text = f"{sorted(candidate.options.items())}{what}"
        return self._folder / hashlib.sha256(text.encode()).hexdigest()[:16]

    def model(self, candidate: Candidate) -> Model:
        """The artifact of a candidate, loaded. Raises what `export` and `load` raise."""
        out = self._place(candidate)
        if not out.exists():
            try:
                self._recipe.make(candidate, out)
            finally:
                shutil.rmtree(out.with_name(f"{out.name}.failed"), ignore_errors=True)
        if not candidate.native:
            return load(out, threads=self.threads)
        library = self._library(candidate)
        if not library.exists():
            try:
                build(out, NATIVE, library)
            finally:
                shutil.rmtree(library.with_name(f"{library.name}.failed"), ignore_errors=True)
        return load(out, engine=NATIVE, library=library)

    def _library(self, candidate: Candidate) -> Path:
        return self._place(candidate, NATIVE)

    def bytes(self, candidate: Candidate, model: Model) -> int:
        """The size of the graphs and weights of a candidate, or of its library."""
        if candidate.native:
            library = self._library(candidate)
            return (library / read_native(library).library).stat().st_size
        return sum(file.bytes for name, file in model.card.files.items() if name.endswith((".onnx", ".bin")))

    def made_anew(self, candidate: Candidate) -> Model:
        """The artifact of a candidate, made again even if an earlier run made it, as that may be of another model."""
        shutil.rmtree(self._place(candidate), ignore_errors=True)
        return self.model(candidate)

    def clear(self) -> None:
        """Remove all artifacts, and the folder unless it holds anything else."""
        with suppress(OSError):
            for path in self._folder.iterdir():
                if _MADE.fullmatch(path.name):
                    shutil.rmtree(path, ignore_errors=True)
            self._folder.rmdir()


class Bench:
    """Measures candidates on the data, beside a baseline.

    captured: the captured model, for the places of its random draws. truth: the reference answers. milliseconds: the
    time of a call of the baseline.
    """

    def __init__(
        self,
        shelf: Shelf,
        data: Data,
        truth: Truth,
        metric: Metric | None,
        captured: Captured,
        baseline: Candidate,
    ) -> None:
        self._shelf, self._data, self.truth, self._metric = shelf, data, truth, metric
        self._draws = {one.name: one.draw.index for one in captured.noise}
        self._baseline = shelf.model(baseline)
        self.milliseconds = 0.0

    def time_baseline(self) -> float:
        """Measure the milliseconds of a call of the baseline. Raises InputError where it fails on the data."""
        for number in range(min(self._data.calls, LONG[1])):
            solution = self._baseline.solve(*self._inputs(self._baseline, number))
            if solution.status is not Status.OK:
                raise InputError(
                    f"data: the model as it is fails on call {number}: {solution.status.sentence}; leave such samples "
                    "out"
                )
        (best,) = self._best([self._baseline], self._data.calls, LONG)
        self.milliseconds = 1e3 * float(best.mean())
        return self.milliseconds

    def metric_of_truth(self) -> float | None:
        """The metric of the reference's outputs; None without a metric."""
        return self._metric_of([list(call) for call in self.truth.calls], self._data.calls, self._baseline)

    def measure(self, candidate: Candidate, calls: int, *, last: bool) -> Row:
        """The row of a candidate on the first calls. last: whether its times decide.

        Where the candidate cannot be exported, or fails on any call, the row has a note in place of numbers.
        """
        samples = calls * (self._data.batch if self._data.label is not None else 1)
        try:
            model = self._shelf.model(candidate)
        except ParityError as error:
            note = _note("refused", f"it does not give torch's answers: {error.report.problems[0]}")
            return Row(candidate=candidate, calls=calls, samples=samples, note=note)
        except OdeletError as error:
            return Row(candidate=candidate, calls=calls, samples=samples, note=_note("refused", error))
        size = self._shelf.bytes(candidate, model)
        outputs: list[list[NumpyArray]] = []
        errors: list[NumpyArray] = []
        evaluations: list[int | None] = []
        for number in range(calls):
            try:
                with warnings.catch_warnings():
                    # These warnings tell of steps that did not converge, which the error shows.
                    warnings.simplefilter("ignore", RuntimeWarning)
                    solution = model.solve(*self._inputs(model, number)).raise_if_failed()
            except OdeletError as error:
                note = _note(f"failed on call {number}", error)
                return Row(candidate=candidate, calls=calls, samples=samples, bytes=size, note=note)
            outputs.append([solution.outputs[tensor.name] for tensor in model.outputs])
            errors.append(self.truth.errors(number, outputs[-1]))
            evaluations.append(solution.stats.evaluations)
        sample_errors = np.concatenate(errors)
        if not np.isfinite(sample_errors).all():
            note = "failed: its answers are not finite"
            return Row(candidate=candidate, calls=calls, samples=samples, bytes=size, note=note)
        base, best = self._best([self._baseline, model], calls, LONG if last else QUICK)
        ratio = float(best.mean() / base.mean())
        counts = [count for count in evaluations if count is not None]
        return Row(
            candidate=candidate,
            calls=calls,
            samples=samples,
            error=float(sample_errors.max()),
            mean_error=float(sample_errors.mean()),
            metric=self._metric_of(outputs, calls, model),
            evaluations=float(np.mean(counts)) if len(counts) == calls else None,
            ratio=ratio,
            milliseconds=ratio * self.milliseconds,
            slowest=float(best.max() / base.mean()) * self.milliseconds,
            bytes=size,
        )

    def _inputs(self, model: Model, number: int) -> list[NumpyArray]:
        arrays = self._data.call(number)
        draws = self.truth.noise[number]
        arrays |= {name: draws[index] for name, index in self._draws.items()}
        return [arrays[tensor.name] for tensor in model.inputs]

    def _best(self, models: Sequence[Model], calls: int, how: tuple[float, int]) -> list[NumpyArray]:
        """The seconds (inputs,) of a call of each model on each of some inputs: the shortest of all turns.

        With one thread the clock leaves out the time that other processes take: on a busy machine the times of two
        equal artifacts then differ by at most 5%, else by 20%. The shortest time is of a call that nothing disturbed.
        """
        seconds, most = how
        count = min(calls, most)

        def call(model: Model) -> Callable[[], object]:
            inputs = cycle([self._inputs(model, number) for number in range(count)])
            return lambda: model(*next(inputs))

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            latencies = interleaved(
                {str(i): call(model) for i, model in enumerate(models)},
                seconds=seconds,
                turns=(_TURNS * count, 1000 * count),
                warmup=count,
                clock=thread_time if self._shelf.threads == 1 else perf_counter,
            )
        return [
            np.array([min(latency.seconds[number::count]) for number in range(count)]) for latency in latencies.values()
        ]

    def _metric_of(self, outputs: Sequence[Sequence[NumpyArray]], calls: int, model: Model) -> float | None:
        if self._metric is None:
            return None
        joined = {}
        for place, (tensor, axis) in enumerate(zip(model.outputs, self.truth.axes, strict=True)):
            each = [call[place] for call in outputs]
            joined[tensor.name] = np.stack(each) if axis is None else np.concatenate(each, axis)
        return self._metric(joined, self._data.arrays(calls))


def axes_of(model: Model, data: Data) -> list[int | None]:
    """The axis of each output that counts samples, or None."""
    shapes = [tensor.shape for tensor in model.outputs]
    return [shape.index(data.label) if data.label in shape else None for shape in shapes]


def digest(model: Model) -> str:
    """A hash of the graphs and weights of an artifact."""
    files = sorted((name, file.sha256) for name, file in model.card.files.items() if name.endswith((".onnx", ".bin")))
    return hashlib.sha256(repr(files).encode()).hexdigest()


def _note(what: str, error: object) -> str:
    """A note of one line, cut to a readable length."""
    text = " ".join(str(error).split())
    return f"{what}: {text if len(text) <= _NOTE else text[: _NOTE - 3] + '...'}"
