"""The run of a tuning: it uses earlier rows again, measures candidates round by round, and chooses one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

from torch import nn

from odelet.artifact.array_files import write_outputs
from odelet.errors import InputError
from odelet_export.capture.cache import CaptureCache, capturing_once
from odelet_export.errors import FormError
from odelet_export.lowering.forms import FORMS
from odelet_export.model.call_arguments import call_arguments
from odelet_export.model.callee import Callee
from odelet_export.pipeline.settings import ExportSettings
from odelet_export.proof.data import CALIBRATION, Data
from odelet_export.proof.metric import Metric
from odelet_export.tuning import halving, native
from odelet_export.tuning.candidates import Candidate
from odelet_export.tuning.identity import machine, source_of, versions
from odelet_export.tuning.measure import Bench, Recipe, Shelf, axes_of, digest
from odelet_export.tuning.record import Record, Row, check_same, read_record, write_record
from odelet_export.tuning.result import Tuning
from odelet_export.tuning.settings import TuneSettings
from odelet_export.tuning.truth import SHARE, Reference, solves_of

BASELINE = Candidate(form="auto")
EXAMPLE, CALIBRATED, ARTIFACTS = "example.npz", "calibration.npz", ".artifacts"
# For libraries: the inputs of one call, and those of many calls, stacked.
ONE_CALL, MANY_CALLS = "one-call.npz", "many-calls.npz"
# A function to call while a tuning runs: with a stage, the count done, the count of all, and the work under way.
Tell = Callable[[str, int, int, str], None]


class TuningSearch:
    """One run of a tuning.

    captures: the captures of the model, so that it is traced once. solves: the facts of the model's solves, set by
    `begin`.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        data: Data,
        folder: Path,
        metric: Metric | None,
        settings: TuneSettings,
        captures: CaptureCache,
        *,
        tell: Tell,
    ) -> None:
        self._data, self._folder, self._metric, self._captures = data, folder, metric, captures
        self._settings, self._tell = settings, tell
        self._args, self._kwargs = call_arguments(_module(model), data.arguments(data.example()))
        self._callee = Callee(model, self._args, self._kwargs, dynamic=data.declared)
        # One sample is enough, as each artifact is measured on the data.
        one_call = call_arguments(_module(model), data.arguments(data.call(0)))
        shared = ExportSettings.of(samples=1, **settings.shared)
        recipe = Recipe(model, (self._args, self._kwargs), one_call, data, shared)
        self._shelf = Shelf(recipe, folder / ARTIFACTS, threads=settings.threads)
        self._bench: Bench | None = None
        self._fresh = 0

    def begin(self, *, anew: bool) -> None:
        """Export the model as it is, and read the record in the folder, or measure the baseline and the reference."""
        record = None if anew else read_record(self._folder)
        folder_is_new = not self._folder.exists()
        try:
            self._begin(record)
        except BaseException:
            if record is None:
                self._shelf.clear()
            if folder_is_new:
                with suppress(OSError):  # it stays where it holds anything else
                    for name in (EXAMPLE, CALIBRATED):
                        (self._folder / name).unlink(missing_ok=True)
                    self._folder.rmdir()
            raise

    def _begin(self, record: Record | None) -> None:
        target, budget = self._settings.target, self._settings.budget_ms
        if record is None:
            self._shelf.clear()
        self._tell("capture", 0, 1, "")
        self._begin_model()
        self.solves = solves_of(self._callee, self._callee.example)
        if not self.solves.methods:
            raise FormError("the model's solves are calls of mark, which are set there; there is nothing to tune")
        identity = self._identity()
        if record is not None:
            check_same(record, identity, self._folder)
            _check_reference(record.reference["uncertainty"], target)
            self._record = replace(
                record, target=target, budget=budget, finished=False, chosen=None, command="", build=""
            )
            return
        self._record = Record(
            identity=identity,
            baseline=BASELINE,
            milliseconds=1.0,
            inputs=self._data.specs,
            reference={},
            seed=self._settings.seed,
            target=target,
            budget=budget,
        )
        bench = self._ready()
        milliseconds = bench.time_baseline()
        reference = {**bench.truth.to_dict(), "metric": bench.metric_of_truth()}
        self._record = replace(self._record, milliseconds=milliseconds, reference=reference)
        write_outputs(self._folder / EXAMPLE, self._data.example())
        if any(form.needs_data for form in FORMS.values()):
            write_outputs(self._folder / CALIBRATED, self._data.example(CALIBRATION))
        write_record(self._folder, self._record)

    def _begin_model(self) -> None:
        """Export the model as it is."""
        self._whole = self._shelf.made_anew(BASELINE)

    def _identity(self) -> dict[str, Any]:
        """Everything that measured rows depend on, as a dict of JSON types."""
        metric = None if self._metric is None else f"{self._metric.name} {source_of(self._metric.function)}"
        return {
            "model": digest(self._whole),
            "data": self._data.digest(),
            "metric": metric,
            "settings": {
                **self._settings.shared,
                "freeze": list(self._settings.freeze),
                "threads": self._settings.threads,
            },
            "machine": machine(),
            "versions": versions(),
        }

    def _ready(self) -> Bench:
        """The bench with the reference, which is computed when a row is measured for the first time."""
        if self._bench is None:
            axes = axes_of(self._whole, self._data)
            target = self._record.target
            reference = Reference(self._callee, self._data, axes, seed=self._settings.seed)
            truth = reference.find(lambda done, count: self._tell("reference", done, count, ""))
            _check_reference(truth.uncertainty, target)
            captured, _ = self._captures.captures[0]
            self._bench = Bench(self._shelf, self._data, truth, self._metric, captured, BASELINE)
            self._bench.milliseconds = self._record.milliseconds
        return self._bench

    def run(self, plan: Sequence[Candidate]) -> Tuning:
        """Measure the candidates of a plan round by round, and choose one."""
        data, target = self._data, self._record.target
        budget = self._record.most
        alive = list(plan)
        stages = halving.rounds(data.calls)
        for number, calls in enumerate(stages):
            stage = f"round {number + 1} of {len(stages)}, {self._counted(calls)}"
            rows = [self._row(one, calls, stage, i, len(alive)) for i, one in enumerate(alive)]
            survivors = [row.candidate for row in halving.survivors(rows, target)]
            # The model with its own method stays, for comparison.
            alive = [one for one in alive if one in survivors or one.method is None]
        chosen = self._settled(plan)
        if not self._settings.no_native:
            libraries = self._with_libraries(plan)
            chosen = halving.choice(self._complete({*plan, *libraries}), target, budget)
        self._record = replace(self._record, finished=True, chosen=None if chosen is None else chosen.candidate)
        write_record(self._folder, self._record)
        self._shelf.clear()
        return Tuning(self._folder, self._record, data.calls, self._fresh)

    def _settled(self, plan: Sequence[Candidate]) -> Row | None:
        """The choice among the candidates of a plan, once none that was left out can be better."""
        target, budget = self._record.target, self._record.most
        while True:
            chosen = halving.choice(self._complete(plan), target, budget)
            latest = [row for row in self._record.latest().values() if row.candidate in set(plan)]
            part = [row for row in latest if row.calls < self._data.calls]
            rivals = halving.rivals(part, target, budget, chosen)
            if not rivals:
                return chosen
            self._row(rivals[0].candidate, self._data.calls, "last look", 0, len(rivals))

    def _complete(self, plan: Iterable[Candidate]) -> list[Row]:
        """The rows on all calls of the candidates of a plan."""
        wanted = set(plan)
        rows = self._record.latest().values()
        return [row for row in rows if row.candidate in wanted and row.calls == self._data.calls]

    def _with_libraries(self, plan: Sequence[Candidate]) -> list[Candidate]:
        """Measure the best candidates of a plan as libraries too; return those that were measured."""
        missing = native.unavailable(self._data.numbers)
        chosen = [] if missing else native.promising(self._complete(plan), self._record.target)
        measured: list[Candidate] = []
        if chosen:
            write_outputs(self._folder / ONE_CALL, self._data.call(0))
            write_outputs(self._folder / MANY_CALLS, self._data.stacked(CALIBRATION))
        start = monotonic()
        # The sizes are those of one call, so that the model is traced once more.
        with capturing_once():
            for candidate in chosen:
                took = monotonic() - start
                if measured and took > native.SECONDS:
                    missing = f"{len(chosen) - len(measured)} candidates were left out, as builds took {took:.0f} s"
                    break
                self._row(candidate, self._data.calls, "native code", len(measured), len(chosen))
                measured.append(candidate)
        self._record = replace(self._record, native=missing)
        return measured

    def _counted(self, calls: int) -> str:
        return f"{calls} call{'s' * (calls > 1)} of {self._data.batch}" if self._data.label is not None else "all data"

    def _row(self, candidate: Candidate, calls: int, stage: str, done: int, count: int) -> Row:
        """The row of a candidate on the first calls: from the record, or measured now and written at once."""
        self._tell(stage, done, count, str(candidate))
        earlier = next((row for row in self._record.rows if (row.candidate, row.calls) == (candidate, calls)), None)
        if earlier is not None:
            return earlier
        row = self._ready().measure(candidate, calls, last=calls == self._data.calls)
        self._record = replace(self._record, rows=(*self._record.rows, row))
        self._fresh += 1
        write_record(self._folder, self._record)
        return row


def _check_reference(uncertainty: float, target: float) -> None:
    if not uncertainty <= SHARE * target:
        raise InputError(
            f"--target {target:g} is too small to be measured: the reference itself changes by {uncertainty:.1e} from "
            f"one tight tolerance to the next, and may change by {SHARE * target:.1e}; raise the target, or make the "
            "model run in float64 (with constants in the dtype of its inputs)"
        )


def _module(model: Callable[..., Any]) -> nn.Module:
    """The model as a module, for code that reads the signature of `forward`."""
    if isinstance(model, nn.Module):
        return model
    module = nn.Module()
    module.forward = model
    return module
