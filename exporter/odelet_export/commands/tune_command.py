"""What `odelet tune` does. The law here: a slip that shows without torch is told before torch loads."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from odelet.errors import InputError
from odelet.loops.adaptive import DEFAULT_MAX_STEPS
from odelet_export.commands.arguments import read_arrays, read_target

if TYPE_CHECKING:
    from odelet_export.commands.export_command import Result
    from odelet_export.tuning.result import Tuning


ARTIFACT = "artifact"
# What `odelet export` does unasked.
USUAL = {"max_steps": DEFAULT_MAX_STEPS, "opset": 20, "seed": 0}


class Meter:
    """A progress bar on stderr for each stage; plain lines where there is no terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description:<32}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[what]}", style="dim"),
            console=self._console,
            disable=not self._console.is_terminal,
            refresh_per_second=4,  # it runs beside what is timed
        )
        self._stage, self._task = "", self._bar.add_task("", visible=False, what="")

    def __enter__(self) -> Meter:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._finish()
        self._bar.stop()

    def __call__(self, stage: str, done: int, count: int, what: str) -> None:
        """A stage is so far: done of count, with this under way."""
        if stage != self._stage:
            self._finish()
            self._stage = stage
            self._task = self._bar.add_task(stage, total=count, what=what)
            if not self._console.is_terminal:
                self._console.print(stage, highlight=False, soft_wrap=True)
        self._bar.update(self._task, completed=done, total=count, what=what)

    def _finish(self) -> None:
        total = next((task.total for task in self._bar.tasks if task.id == self._task), None)
        self._bar.update(self._task, completed=total, what="")


def perform(
    named: str,
    data: Path,
    inputs: Sequence[str],
    weights: Path | None,
    metric: str | None,
    out: Path,
    **options: Any,
) -> Tuning:
    """Tune a model. named: where it is. options: of `odelet_export.tune`, the target among them.

    Raises what that raises, and InputError for what cannot be read.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: it is a file; give a folder")
    place = read_target(named)
    arrays, dynamic = read_arrays(inputs, data)
    # What torch.jit.script compiled has the example's sizes in it when it is traced; as Python it has not.
    os.environ.setdefault("PYTORCH_JIT", "0")
    with ExitStack() as stack:
        # What the model's code prints is not the result.
        meter = stack.enter_context(Meter())
        stack.enter_context(redirect_stdout(sys.stderr))
        meter("import torch and the model", 0, 1, "")
        from odelet_export.commands.metric import loaded_metric
        from odelet_export.commands.target import loaded
        from odelet_export.commands.weights import load_weights
        from odelet_export.tuning.report import write_page
        from odelet_export.tuning.tune import tune

        model = stack.enter_context(loaded(place))
        if weights is not None:
            load_weights(model, weights)
        measure = None if metric is None else stack.enter_context(loaded_metric(metric))
        try:
            tuning = tune(model, arrays, out, metric=measure, dynamic=dynamic, tell=meter, **options)
            if tuning.choice is not None:
                tuning = tuning.commanded(command_of(tuning, named, weights))
                write_page(tuning)
        except OSError as error:
            raise InputError(f"--out {out}: it cannot be written ({error.strerror or error})") from error
    return tuning


def command_of(tuning: Tuning, target: str, weights: Path | None) -> str:
    """The `odelet export` that makes the choice."""
    return shlex.join(["odelet", "export", target, *_words(tuning, weights)])


def _words(tuning: Tuning, weights: Path | None) -> list[str]:
    from odelet_export.tuning.candidates import FORMS
    from odelet_export.tuning.search import CALIBRATED, EXAMPLE

    candidate, settings = tuning.raise_if_none().candidate, tuning.record.identity["settings"]
    words = ["--example", str(tuning.folder / EXAMPLE)]
    words += [word for text in tuning.record.inputs for word in ("--input", text)]
    words += ["--weights", str(weights)] if weights is not None else []
    words += candidate.flags
    if FORMS[candidate.form].calibrated:
        words += ["--calibration", str(tuning.folder / CALIBRATED)]
    words += [word for name in settings["freeze"] for word in ("--freeze", name)]
    for name, usual in USUAL.items():
        words += [f"--{name.replace('_', '-')}", str(settings[name])] if settings[name] != usual else []
    return [*words, "--out", str(tuning.folder / ARTIFACT)]


def export_choice(tuning: Tuning, target: str, weights: Path | None) -> Result:
    """Do what the command says. Raises what `odelet export` raises."""
    from odelet_export.commands.export_command import perform as perform_export
    from odelet_export.tuning.candidates import FORMS
    from odelet_export.tuning.search import CALIBRATED, EXAMPLE

    settings = tuning.record.identity["settings"]
    candidate = tuning.raise_if_none().candidate
    options: dict[str, Any] = {name: settings[name] for name in ("freeze", *USUAL)} | candidate.options
    if FORMS[candidate.form].calibrated:
        options["calibration"] = tuning.folder / CALIBRATED
    return perform_export(
        target,
        tuning.record.inputs,
        tuning.folder / EXAMPLE,
        weights,
        tuning.folder / ARTIFACT,
        **options,
    )


def tell(tuning: Tuning, target: str, weights: Path | None, *, export: bool, as_json: bool) -> None:
    """Print the result on stdout, and export the choice if that is asked for. Raises TargetError where there is
    none."""
    from odelet_export.tuning.pareto import PICTURE
    from odelet_export.tuning.report import PAGE, show, to_json

    console = Console(highlight=False)
    if as_json:
        print(to_json(tuning))
    else:
        show(tuning, console)
    tuning.raise_if_none()
    if not as_json:
        drawn = [PAGE, *([PICTURE] if (tuning.folder / PICTURE).exists() else [])]
        console.print(f"written to {tuning.folder}: tune.json, {', '.join(drawn)}", soft_wrap=True)
        if PICTURE not in drawn:
            console.print(Text('no picture, as matplotlib is not there: pip install "odelet[plot]"'), soft_wrap=True)
        console.print("\nNext" if not export else "\nExport", style="bold")
        console.print(Text(f"  {tuning.record.command}"), soft_wrap=True)
    if export:
        done = export_choice(tuning, target, weights)
        if not as_json:
            done.show(as_json=False)
