"""Calls of which the caller watches the steps: for which artifacts that can be, and what is told at the end."""

from __future__ import annotations

from collections.abc import Sequence

from odelet.artifact.card import Card
from odelet.artifact.solve_card import FORMS
from odelet.engine.blocks import Block
from odelet.engine.native import NativeRun
from odelet.engine.program import DriveSolve
from odelet.engine.turns import Repeated
from odelet.errors import InputError
from odelet.loops.progress import Progress, Watch
from odelet.loops.stats import SolveStats


def watch_of(progress: Progress, card: Card, program: Sequence[Block | NativeRun | DriveSolve]) -> Watch:
    """What tells a caller of the steps of a program, its fallback included. Raises InputError for an artifact with no
    loop of a solve between whose steps the caller could be told."""
    if any(isinstance(x, DriveSolve) or (isinstance(x, Repeated) and x.loop.solve is not None) for x in program):
        return Watch(progress)
    raise _refusal(card, native=any(isinstance(step, NativeRun) for step in program))


def tell_end(watch: Watch | None, stats: SolveStats) -> None:
    """Tell a caller, if there is one, how a solve ended."""
    if watch is not None:
        watch.ended(stats.index, stats.status, steps=stats.steps, evaluations=stats.evaluations, time=stats.time)


def _refusal(card: Card, *, native: bool) -> InputError:
    """Return the error for a function that could not be called between the steps of an artifact. native: whether a
    library runs all of its solves in one call."""
    what = "progress cannot be given: the function is called between steps that the runtime takes, and "
    if not card.solves:
        return InputError(f"{what}this model has no solve")
    if native:
        return InputError(f"{what}a library takes all steps in one call; load the model with engine='onnxruntime'")
    forms = " or ".join(repr(facts.name) for facts in FORMS.values() if facts.outside or facts.between_turns)
    return InputError(
        f"{what}the solves of this artifact, of the form {card.form!r}, end inside its graphs; export the model again "
        f"with the form {forms}, or bounded with a fallback"
    )
