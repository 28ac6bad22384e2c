"""The work of `odelet export`. The law here: a mistake that shows without torch is reported before torch loads."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import typer

from odelet.artifact.npy import read_npz
from odelet.errors import InputError
from odelet_export.commands.arguments import Example, Target, read_example, read_target
from odelet_export.commands.running import switch_off_script, writing
from odelet_export.commands.screen import EXPLAINING, Checklist, next_commands, show, stages_of
from odelet_export.pipeline.settings import ExportChanges, ExportSettings

if TYPE_CHECKING:
    from odelet_export.pipeline.explanation import Explanation
    from odelet_export.pipeline.export import Exported


@dataclass(frozen=True)
class Result:
    """The result of the command: a finished export, or only an explanation where nothing was to be written.

    exported: the export, or None where nothing was written. explanation: the explanation of the captured model, where
    it is to be printed. name: the model's name. seconds: the time of each stage, by name. out: the artifact's folder,
    as the user wrote it.
    """

    exported: Exported | None
    explanation: Explanation | None
    name: str
    seconds: dict[str, float]
    out: Path | None

    def show(self, *, as_json: bool) -> None:
        """Print the result on stdout, as text or as one JSON object."""
        if as_json:
            typer.echo(json.dumps(self._data(), indent=2))
            return
        if self.explanation is not None:
            from odelet_export.commands.explanation_screen import show_explanation

            show_explanation(self.explanation, name=self.name)
        if self.exported is not None and self.out is not None:
            show(self.exported, self.out)

    def _data(self) -> dict[str, Any]:
        data: dict[str, Any] = {}
        if self.exported is not None and self.out is not None:
            data |= {
                "passed": True,
                "path": str(self.out),
                "card": json.loads(self.exported.card.to_json()),
                "tracer": self.exported.tracer,
                "warnings": list(self.exported.warnings),
                "next": next_commands(self.exported, self.out),
            }
        if self.explanation is not None:
            data["explanation"] = self.explanation.to_dict()
        return data | {"seconds": {stage: round(seconds, 3) for stage, seconds in self.seconds.items()}}


@dataclass(frozen=True)
class Request:
    """The arguments of the command line besides the settings.

    target: the place of the model. inputs: texts like "x=float32[batch,64]". example: an .npz of arrays by input name.
    weights: a file of weights. out: the artifact's folder, None to write nothing. explained: whether to print the
    explanation of the captured model.
    """

    target: str
    inputs: Sequence[str]
    example: Path | None
    weights: Path | None
    out: Path | None
    explained: bool = False

    def __post_init__(self) -> None:
        out = self.out
        if out is None and not self.explained:
            raise InputError("--out is missing; name a folder for the artifact, or give --explain to write nothing")
        if out is not None and out.name in ("", ".."):
            raise InputError(f"--out {out}: give the artifact a folder of its own, such as {out / 'artifact'}")


def settings_from(files: Mapping[str, Path | None], **changes: Unpack[ExportChanges]) -> ExportSettings:
    """The settings of an export as the command line gives them. files: an .npz of arrays by input name for each of the
    settings `calibration` and `data`, or None.

    Raises what `ExportSettings` raises, and InputError for a file that cannot be read.
    """
    arrays = {name: read_npz(path) for name, path in files.items() if path is not None}
    return ExportSettings.of(**changes, **arrays)


def perform_with(request: Request, metric: str | None, options: dict[str, Any]) -> Result:
    """Do what `perform` does with the settings that the options of the command line give. metric: the place of a
    function, or None."""
    from odelet_export.commands.metric import metric_given

    files = {name: options.pop(name) for name in ("calibration", "data")}
    with metric_given(metric) as function:
        return perform(request, settings_from(files, metric=function, **options))


def perform(request: Request, settings: ExportSettings) -> Result:
    """Load a model and export it, with a checklist on stderr.

    Raises what `export` raises, and InputError for a target, weights or an example that cannot be used.
    """
    seed = settings.proof.seed
    if seed < 0:
        raise InputError(f"--seed {seed} must not be negative")
    if request.out is not None:
        settings.check_calibration()
    target = read_target(request.target)
    example = read_example(request.inputs, request.example, seed=seed)
    stages = stages_of(calibrating=settings.calibration.inputs is not None, reducing=settings.storage.reduced)
    # Text that the model's code prints must not mix with the result on stdout.
    with (
        Checklist(stages=EXPLAINING if request.out is None else stages) as checklist,
        redirect_stdout(sys.stderr),
    ):
        checklist("load")
        name, exported, explanation = _run(request, settings, target, example, checklist)
    return Result(exported, explanation if request.explained else None, name, checklist.seconds, request.out)


def _run(
    request: Request, settings: ExportSettings, target: Target, example: Example, checklist: Checklist
) -> tuple[str, Exported | None, Explanation]:
    """The model's name, the finished export if there is a folder for one, and the explanation of the capture."""
    switch_off_script()
    from odelet_export.commands.target import loaded
    from odelet_export.model.call_arguments import call_arguments
    from odelet_export.pipeline.explain import explain
    from odelet_export.pipeline.export import export

    with loaded(target, weights=request.weights) as model:
        args, kwargs = call_arguments(model, {**example.arrays, **example.numbers})
        call: dict[str, Any] = {"kwargs": kwargs, "dynamic": example.dynamic, "on_stage": checklist}
        with writing(request.out):
            if request.out is None:
                return type(model).__name__, None, explain(model, args, settings=settings, **call)
            exported = export(model, args, request.out, settings=settings, **call)
            return exported.card.name, exported, exported.explanation
