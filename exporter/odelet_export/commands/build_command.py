"""The work of `odelet build`. The law here: as in `export_command`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from odelet.errors import InputError
from odelet_export.commands.running import writing

if TYPE_CHECKING:
    from odelet_export.pipeline.build import BuildResult


def perform(artifact: Path, target: str, out: Path | None, name: str | None) -> BuildResult:
    """Build an artifact. Raises what `build` raises."""
    from odelet_export.pipeline.build import build

    if out is not None and out.name in ("", ".."):
        raise InputError(f"--out {out}: give the build a folder of its own, such as {out / 'build'}")
    with writing(out or Path(target)):
        return build(artifact, target, out, name=name)


def show(result: BuildResult, *, as_json: bool) -> None:
    """Print a finished build on stdout, as text or as one JSON object."""
    built, tested = result.built, result.tested
    if as_json:
        data = {"path": str(result.path), "target": result.target, **built.facts}
        data["test"] = None if tested is None else asdict(tested)
        typer.echo(json.dumps(data, indent=2))
        return
    typer.echo(f"{result.path}: {', '.join(built.files)}")
    if built.is_code:
        typer.echo(f"arena {built.arena:,} bytes, weights {built.weights:,} bytes, {built.kernels} operators")
    for note in built.notes:
        typer.echo(note)
    if tested is None:
        typer.echo(f"not tested, as no C compiler is installed; later: make -C {result.path} test")
    else:
        typer.echo(f"tested with {tested.by}: {tested.text}")
