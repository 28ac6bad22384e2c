"""What a Loop of the steps of a solve knows of them, in memory only, for the program that may take its place."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from odelet_export.graphs.scope import Value
from odelet_export.model.spec import SolveSpec

_KEY = "odelet.steps"


@dataclass(frozen=True)
class Clock:
    """The time of a Loop. place: which of the values that it carries is the time reached, as time runs forward. ends:
    the first and the last output time, where they are constants."""

    place: int
    ends: tuple[float, float] | None


@dataclass(frozen=True)
class StepsNote:
    """What the turns of a Loop are. solve: the index of the solve of which each turn is a step. all_turns: whether
    nothing can be read of the solve where the Loop ends early. clock: the time of the Loop, where it has one."""

    solve: int
    all_turns: bool = False
    clock: Clock | None = None


def note_steps(result: Value, spec: SolveSpec, *, all_turns: bool = False, clock: Clock | None = None) -> None:
    """Note on the Loop that makes a value that its turns are the steps of a solve.

    Nothing is noted for a solve inside the field of another one: no call may limit it or is told of it.
    """
    loop = result.ir.producer()
    assert loop is not None and loop.op_type == "Loop"
    if not spec.around:
        loop.meta[_KEY] = StepsNote(spec.index, all_turns, clock)


def noted_steps(loop: ir.Node) -> StepsNote | None:
    """What was noted on a Loop, or None for one that takes no steps."""
    note: StepsNote | None = loop.meta.get(_KEY)
    return note
