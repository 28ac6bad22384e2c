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

from odelet.errors import InputError
from odelet_export.arguments import Example, Target, read_example, read_target
from odelet_export.errors import CaptureError, ExportError, FormError, ParityError
from odelet_export.screen import Checklist, next_commands, show

if TYPE_CHECKING:
    from odelet_export.pipeline import Exported


@dataclass(frozen=True)
class Result:
    """A finished export. seconds: by stage. out: the artifact's folder, as the user wrote it."""

    exported: Exported
    seconds: dict[str, float]
    out: Path

    def show(self, *, as_json: bool) -> None:
        """Print it on stdout, as text or as one JSON object."""
        if not as_json:
            show(self.exported, self.out)
            return
        data = {
            "passed": True,
            "path": str(self.out),
            "card": json.loads(self.exported.card.to_json()),
            "tracer": self.exported.tracer,
            "warnings": list(self.exported.warnings),
            "seconds": {stage: round(seconds, 3) for stage, seconds in self.seconds.items()},
            "next": next_commands(self.exported, self.out),
        }
        typer.echo(json.dumps(data, indent=2))


def perform(
    target: str,
    inputs: Sequence[str],
    example: Path | None,
    weights: Path | None,
    out: Path,
    *,
    seed: int,
    **options: Any,
) -> Result:
    """Load a model and export it, with a checklist on stderr. options: of `odelet_export.export`.

    Raises what `export` raises, and InputError for a target, weights or an example that cannot be used.
    """
    if out.name in ("", ".."):
        raise InputError(f"--out {out}: give the artifact a folder of its own, such as {out / 'artifact'}")
    if seed < 0:
        raise InputError(f"--seed {seed} must not be negative")
    place = read_target(target)
    call = read_example(inputs, example, seed=seed)
    # What the model's code prints is not the result.
    with Checklist() as checklist, redirect_stdout(sys.stderr):
        checklist("load")
        exported = _export(place, call, weights, out, seed=seed, on_stage=checklist, **options)
    return Result(exported, checklist.seconds, out)


def _export(target: Target, call: Example, weights: Path | None, out: Path, *, form: str, **options: Any) -> Exported:
    # What torch.jit.script compiled has the example's sizes in it when it is traced; as Python it has not.
    os.environ.setdefault("PYTORCH_JIT", "0")
    from odelet_export.forms import FORMS
    from odelet_export.pipeline import export
    from odelet_export.target import call_arguments, check_runs, loaded
    from odelet_export.weights import load_weights

    if form not in ("auto", *FORMS):
        raise FormError(f"--form {form!r} is not one of auto, {', '.join(FORMS)}")
    with loaded(target) as model:
        if weights is not None:
            load_weights(model, weights)
        args, kwargs = call_arguments(model, call.arrays)
        try:
            return export(model, args, out, kwargs=kwargs, dynamic=call.dynamic, form=form, **options)
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
