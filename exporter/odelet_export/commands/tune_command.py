"""The work of `odelet tune`. The law here: a mistake that shows without torch is reported before torch loads."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from odelet.engine.opening import NATIVE
from odelet.errors import InputError
from odelet_export.commands.arguments import read_arrays, read_target
from odelet_export.commands.running import switch_off_script, writing
from odelet_export.pipeline.settings import ExportChanges, ExportSettings, SharedChanges
from odelet_export.tuning.settings import TuneSettings

if TYPE_CHECKING:
    from odelet_export.commands.export_command import Result
    from odelet_export.pipeline.build import BuildResult
    from odelet_export.tuning.result import Tuning


ARTIFACT = "artifact"


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
            refresh_per_second=4,  # a higher rate would disturb the timing of candidates
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
        """Show the progress of a stage: `done` of `count`, with `what` under way."""
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
    target: str,
    data: Path,
    inputs: Sequence[str],
    weights: Path | None,
    metric: str | None,
    out: Path,
    settings: TuneSettings,
    *,
    anew: bool = False,
) -> Tuning:
    """Tune a model, with a progress bar on stderr.

    target: the place of the model. data: an .npz file. inputs: texts like "x=[batch,_]". weights: a file of weights.
    metric: the place of a function. out, settings, anew: as in `tune`.

    Raises what `tune` raises, and InputError for a file that cannot be read.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: it is a file; give a folder")
    place = read_target(target)
    arrays, dynamic = read_arrays(inputs, data)
    switch_off_script()
    with ExitStack() as stack:
        # Text that the model's code prints must not mix with the result on stdout.
        meter = stack.enter_context(Meter())
        stack.enter_context(redirect_stdout(sys.stderr))
        meter("import torch and the model", 0, 1, "")
        from odelet_export.commands.metric import loaded_metric
        from odelet_export.commands.target import loaded
        from odelet_export.tuning.report import write_page
        from odelet_export.tuning.tune import tune

        model = stack.enter_context(loaded(place, weights=weights))
        measure = None if metric is None else stack.enter_context(loaded_metric(metric))
        with writing(out):
            tuning = tune(model, arrays, out, metric=measure, dynamic=dynamic, anew=anew, tell=meter, settings=settings)
            if tuning.choice is not None:
                tuning = tuning.commanded(command_of(tuning, target, weights), build=build_command_of(tuning))
                write_page(tuning)
    return tuning


def command_of(tuning: Tuning, target: str, weights: Path | None) -> str:
    """The `odelet export` command that makes the choice, as text for a shell."""
    return shlex.join(["odelet", "export", target, *_words(tuning, weights)])


def build_command_of(tuning: Tuning) -> str:
    """The `odelet build` command that makes the library of the choice; "" where the choice is no library."""
    if not tuning.raise_if_none().candidate.native:
        return ""
    return shlex.join(["odelet", "build", str(tuning.folder / ARTIFACT), "--target", NATIVE])


def _example_of(tuning: Tuning) -> tuple[Path, Path | None, tuple[str, ...]]:
    """The files of the example and of the calibration data of the choice (None where it needs none), and its axes and
    numbers that may change."""
    from odelet_export.tuning.search import CALIBRATED, EXAMPLE, MANY_CALLS, ONE_CALL

    candidate = tuning.raise_if_none().candidate
    example, calibration = (ONE_CALL, MANY_CALLS) if candidate.native else (EXAMPLE, CALIBRATED)
    # The sizes of a library are those of one call.
    inputs = () if candidate.native else tuning.record.inputs
    return tuning.folder / example, tuning.folder / calibration if candidate.calibrated else None, inputs


def _words(tuning: Tuning, weights: Path | None) -> list[str]:
    candidate, settings = tuning.raise_if_none().candidate, _shared(tuning)
    example, calibration, inputs = _example_of(tuning)
    words = ["--example", str(example)]
    words += [word for text in inputs for word in ("--input", text)]
    words += ["--weights", str(weights)] if weights is not None else []
    words += candidate.flags
    words += [] if calibration is None else ["--calibration", str(calibration)]
    words += [word for name in settings["freeze"] for word in ("--freeze", name)]
    usual = ExportSettings()
    for option, value, default in (
        ("--max-steps", settings["max_steps"], usual.max_steps),
        ("--opset", settings["opset"], usual.opset),
        ("--seed", settings["seed"], usual.proof.seed),
    ):
        words += [option, str(value)] if value != default else []
    return [*words, "--out", str(tuning.folder / ARTIFACT)]


def _shared(tuning: Tuning) -> SharedChanges:
    """The settings of all exports of a tuning."""
    settings = tuning.record.identity["settings"]
    return SharedChanges(
        max_steps=settings["max_steps"], opset=settings["opset"], freeze=settings["freeze"], seed=settings["seed"]
    )


def export_choice(tuning: Tuning, target: str, weights: Path | None) -> Result:
    """Run the command that makes the choice. Raises what `odelet export` raises."""
    from odelet_export.commands.export_command import Request, settings_from
    from odelet_export.commands.export_command import perform as perform_export

    changes: ExportChanges = {**_shared(tuning), **tuning.raise_if_none().candidate.options}
    example, calibration, inputs = _example_of(tuning)
    request = Request(target, inputs, example, weights, tuning.folder / ARTIFACT)
    return perform_export(request, settings_from({"calibration": calibration}, **changes))


def build_choice(tuning: Tuning) -> BuildResult:
    """Run the command that makes the library of the choice. Raises what `odelet build` raises."""
    from odelet_export.commands.build_command import perform as perform_build

    return perform_build(tuning.folder / ARTIFACT, NATIVE, None, None)


def tell(tuning: Tuning, target: str, weights: Path | None, *, export: bool, as_json: bool) -> None:
    """Print the result on stdout, and with `export` run the command of the choice. Raises TargetError where there is no
    choice."""
    from odelet_export.commands.build_command import show as show_build
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
            console.print(
                Text('no picture, as matplotlib is not installed: pip install "odelet[plot]"'), soft_wrap=True
            )
        console.print("\nNext" if not export else "\nExport", style="bold")
        for command in filter(None, (tuning.record.command, tuning.record.build)):
            console.print(Text(f"  {command}"), soft_wrap=True)
        if tuning.record.build:
            console.print(Text(f"  odelet.load({str(tuning.folder / ARTIFACT)!r}, engine={NATIVE!r})"), soft_wrap=True)
    if export:
        done = export_choice(tuning, target, weights)
        library = build_choice(tuning) if tuning.record.build else None
        if not as_json:
            done.show(as_json=False)
            if library is not None:
                show_build(library, as_json=False)
