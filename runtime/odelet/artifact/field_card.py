"""Where a solve's vector field lies in the graphs. The law here: for measuring alone; nothing that solves reads it."""

from __future__ import annotations

from dataclasses import dataclass

from odelet.artifact.checks import check, check_file_name


@dataclass(frozen=True, kw_only=True)
class FieldCard:
    """One copy of a solve's field in a graph: names of the time and the parts of the state that it takes, null where it
    does not read them, and of the slopes that it makes.

    graph: the file. t, y, k: of the copy. times: how many output times the solve has, or the name of their value, null
    for an iteration. y0, solution: its initial state and results, in the same graph, null where nothing reads it.
    These three are left out in `driven`, whose drive entry has them.
    """

    graph: str
    t: str | None
    y: tuple[str | None, ...]
    k: tuple[str, ...]
    times: int | str | None = None
    y0: tuple[str, ...] = ()
    solution: tuple[str | None, ...] = ()

    def __post_init__(self) -> None:
        check_file_name(self.graph)
        check(len(self.y) == len(self.k) > 0, "a field entry needs one slope k for each part y")
        whole = len(self.y0) == len(self.solution) and len(self.y0) in (0, len(self.y))
        check(whole, "a field entry needs one y0 and one solution for each part y, or none")
