"""Calls of a model, with a progress bar on the terminal."""

from __future__ import annotations

import sys
from dataclasses import replace

import typer

from odelet.loops.progress import SolveProgress
from odelet.loops.solution import Solution
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


def solve_quietly(model: Model, settings: CallSettings, inputs: dict[str, Argument]) -> Solution:
    """Solve, and show nothing."""
    return interruptible(lambda: model.solve_with(settings, (), inputs))


def solve_shown(model: Model, settings: CallSettings, inputs: dict[str, Argument]) -> Solution:
    """Solve, and show how much of all solves is done, and the steps of the present one."""
    solves, parts = max(len(model.card.solves), 1), 1000
    with typer.progressbar(
        length=solves * parts, label="solve", file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as bar:
        done = 0

        def progress(now: SolveProgress) -> None:
            nonlocal done
            reached = int(parts * ((now.solve or 0) + (now.share or 0.0)))
            bar.label = _label(now)
            # The fallback of a bounded solve solves one sample after the other, so that the share falls back.
            bar.update(max(reached - done, 0))
            done = max(done, reached)

        return solve_quietly(model, replace(settings, progress=progress), inputs)


def _label(now: SolveProgress) -> str:
    sample = "" if now.sample is None else f", sample {now.sample}"
    steps = "" if now.steps is None else f", {now.steps} steps"
    return f"solve {now.solve}{sample}{steps}"
