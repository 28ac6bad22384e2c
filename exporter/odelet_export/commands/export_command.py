"""What `odelet export` does. The law here: a slip that shows without torch is told before torch loads."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from odelet.artifact.array_files import read_npz
from odelet.errors import InputError
from odelet_export.commands.arguments import Example, Target, read_example, read_target
from odelet_export.commands.screen import CALIBRATING, EXPLAINING, STAGES, Checklist, next_commands, show
from odelet_export.errors import FormError, ParityError
from odelet_intercept.errors import CaptureError, ExportError

if TYPE_CHECKING:
    from odelet_export.pipeline.explanation import Explanation
    from odelet_export.pipeline.export import Exported


@dataclass(frozen=True)
class Result:
    """A finished export, or what was captured where nothing was to be written.

    explanation: what was captured, where it is to be told. name: the model's. seconds: by stage. out: the artifact's
    folder, as the user wrote it.
    """

    exported: Exported | None
    explanation: Explanation | None
    name: str
    seconds: dict[str, float]
    out: Path | None

    def show(self, *, as_json: bool) -> None:
        """Print it on stdout, as text or as one JSON object."""
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


def perform(
    target: str,
    inputs: Sequence[str],
    example: Path | None,
    weights: Path | None,
    out: Path | None,
    *,
    seed: int,
    explained: bool = False,
    calibration: Path | None = None,
    **options: Any,
) -> Result:
    """Load a model and export it, with a checklist on stderr. calibration: an .npz of arrays by input name. options: of
    `odelet_export.export`.

    explained: tell what was captured; without `out` that is all, and nothing is written. Raises what `export` raises,
    and InputError for a target, weights or an example that cannot be used.
    """
    if out is None and not explained:
        raise InputError("--out is missing; name a folder for the artifact, or give --explain to write nothing")
    if out is not None and out.name in ("", ".."):
        raise InputError(f"--out {out}: give the artifact a folder of its own, such as {out / 'artifact'}")
    if seed < 0:
        raise InputError(f"--seed {seed} must not be negative")
    place = read_target(target)
    call = read_example(inputs, example, seed=seed)
    # What the model's code prints is not the result.
    if calibration is not None:
        options["calibration"] = read_npz(calibration)
    stages = EXPLAINING if out is None else CALIBRATING if options["form"] == "bounded" else STAGES
    with Checklist(stages=stages) as checklist, redirect_stdout(sys.stderr):
        checklist("load")
        name, exported, explanation = _made(place, call, weights, out, seed=seed, on_stage=checklist, **options)
    return Result(exported, explanation if explained else None, name, checklist.seconds, out)


def _made(
    target: Target, call: Example, weights: Path | None, out: Path | None, *, form: str, **options: Any
) -> tuple[str, Exported | None, Explanation]:
    """The model's name, what was exported, if a folder for it was given, and what was captured."""
    # What torch.jit.script compiled has the example's sizes in it when it is traced; as Python it has not.
    os.environ.setdefault("PYTORCH_JIT", "0")
    from odelet_export.commands.target import loaded
    from odelet_export.commands.weights import load_weights
    from odelet_export.lowering.forms import FORMS
    from odelet_export.model.call_arguments import call_arguments, check_runs
    from odelet_export.pipeline.explain import explain
    from odelet_export.pipeline.export import export

    if form not in ("auto", *FORMS):
        raise FormError(f"--form {form!r} is not one of auto, {', '.join(FORMS)}")
    with loaded(target) as model:
        if weights is not None:
            load_weights(model, weights)
        args, kwargs = call_arguments(model, call.arrays)
        options |= {"kwargs": kwargs, "dynamic": call.dynamic, "form": form}
        try:
            if out is None:
                for name in ("keep_debug_info", "calibration", "quantile", "fallback"):  # of the files
                    options.pop(name, None)
                return type(model).__name__, None, explain(model, args, **options)
            exported = export(model, args, out, **options)
            return exported.card.name, exported, exported.explanation
        except ParityError:
            raise
        except ExportError:
            # A model that fails in plain torch too has a plainer story to tell.
            check_runs(model, args, kwargs)
            raise
        except OSError as error:
            raise InputError(f"--out {out}: it cannot be written ({error.strerror or error})") from error


@contextmanager
def reported(*, as_json: bool) -> Iterator[None]:
    """Report the errors that deserve more than the one line that the command line gives to all."""
    try:
        yield
    except CaptureError as error:
        typer.echo(f"odelet: {error}", err=True)
        raise typer.Exit(error.exit_code) from None
    except ParityError as error:
        if as_json:
            data = {"passed": False, "path": error.folder, "problems": error.report.problems}
            typer.echo(json.dumps({**data, "parity": error.report.card()}, indent=2))
        raise
