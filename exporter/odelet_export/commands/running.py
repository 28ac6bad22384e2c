"""The set-up that commands share which run a model: the report of errors, and the settings made before torch loads."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from odelet.errors import InputError
from odelet_export.errors import OutputError, ParityError
from odelet_intercept.errors import CaptureError


def switch_off_script() -> None:
    """Make torch.jit.script leave functions as Python. Must run before torch is imported.

    A compiled function is traced with the sizes of the example in it; as Python it is not.
    """
    os.environ.setdefault("PYTORCH_JIT", "0")


@contextmanager
def writing(out: Path | None) -> Iterator[None]:
    """Turn errors of the file system into an InputError that names the folder `--out`."""
    try:
        yield
    except OutputError as error:
        raise InputError(f"--out {error}") from error
    except OSError as error:
        raise InputError(f"--out {out}: it cannot be written ({error.strerror or error})") from error


@contextmanager
def reported(*, as_json: bool) -> Iterator[None]:
    """Report the errors that need more than the one line that the command line prints for any error."""
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
