"""Which models can be solved a few output times at a time, and what of them runs before, in and after the solve."""

from __future__ import annotations

from collections.abc import Sequence

from odelet.artifact.card import Card
from odelet.artifact.solve_card import DRIVEN
from odelet.engine.blocks import Block
from odelet.engine.native import NativeRun
from odelet.engine.program import DriveSolve
from odelet.engine.run_graph import RunGraph
from odelet.errors import InputError
from odelet.loops.options import method_and_grid
from odelet.methods.roster import method_of


def divided(
    card: Card, program: Sequence[Block | NativeRun | DriveSolve]
) -> tuple[list[RunGraph], DriveSolve, list[RunGraph]]:
    """Return what runs before the solve, the solve, and what runs after it.

    Raises InputError, with the reason, for a model that cannot go on from one segment of its times to the next.
    """
    why = "a stream without `carry` goes on with a solve from some of its output times to the next ones, and "
    if not card.solves:
        raise InputError(f"{why}this model has no solve; name what goes from call to call with `carry`")
    if not card.driven:
        raise InputError(
            f"{why}this artifact has the form {card.form!r}, whose solves end inside the graph; export the model with "
            f"the form {DRIVEN.name!r}"
        )
    drives = [step for step in program if isinstance(step, DriveSolve)]
    if len(drives) != 1:
        raise InputError(f"{why}this model has {len(drives)} solves; name what goes from call to call with `carry`")
    (drive,) = drives
    place = list(program).index(drive)
    before, after = (
        [step for step in steps if isinstance(step, RunGraph)] for steps in (program[:place], program[place + 1 :])
    )
    prefix = f"{why}solve {drive.solve.index} ({drive.solve.source}) "
    time = _time_input(card, drive, prefix)
    readers = [run.graph.file for run in before if time in run.feeds]
    if readers or time in (*drive.names.y0, *drive.names.captured, drive.names.step_t, drive.names.jump_t):
        what = f"{readers[0]}, which runs before it, reads" if readers else "it also reads, besides its output times,"
        raise InputError(
            f"{prefix}begins from what is computed once, but {what} the times {time!r}; give the model an input of its "
            "own for that"
        )
    return before, drive, after


def _time_input(card: Card, drive: DriveSolve, prefix: str) -> str:
    """Return the name of the model's input that holds the times of a solve.

    Raises InputError, its message beginning with the prefix, for a solve that cannot go on beyond its times.
    """
    names, method = drive.names, method_of(drive.solve.method)
    if names.t is None:
        raise InputError(f"{prefix}is an iteration ({method.name}), which has no times")
    if names.event is not None:
        raise InputError(f"{prefix}ends at an event of its own, so no times follow")
    if drive.solve.per_sample:
        raise InputError(f"{prefix}solves each sample on its own; export it without per_sample")
    if method.stochastic:
        raise InputError(
            f"{prefix}is of an SDE ({method.name}), whose Brownian motion belongs to all of its times; solve to all "
            "times in one call, or name what goes from call to call with `carry`"
        )
    if not (method.adaptive or method.fixed):
        raise InputError(f"{prefix}is SciPy's ({method.name}), which cannot go on; export it with another method")
    if method.fixed and (names.grid is not None or not method_and_grid(method, names.options)[1].at_outputs):
        raise InputError(
            f"{prefix}places its steps over the whole range of its times ({method.name} with step_size, steps or "
            "grid_constructor); export it with steps that end at the output times"
        )
    if names.t not in [tensor.name for tensor in card.inputs]:
        raise InputError(f"{prefix}computes its times inside the model; export a model that takes them as an input")
    return names.t
