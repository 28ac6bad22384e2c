"""Many paths of a model, with a progress bar on the terminal."""

from __future__ import annotations

import sys

import typer

from odelet.model.arguments import Argument
from odelet.model.interruption import interruptible
from odelet.model.model import Model
from odelet.model.paths import Paths
from odelet.model.settings import CallSettings


def solve_paths(model: Model, count: int, settings: CallSettings, inputs: dict[str, Argument]) -> Paths:
    """Solve many paths, and show how many are done."""
    with typer.progressbar(length=count, label="paths", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        done = 0

        def progress(paths: int) -> None:
            nonlocal done
            bar.update(paths - done)
            done = paths

        return interruptible(lambda: model.paths_with(settings, count, (), inputs, progress=progress))
