"""Where a solve's field lies in the graphs.

The law here: these entries serve measurements alone; no solve reads them.
"""

from __future__ import annotations

from dataclasses import dataclass

from odelet.artifact.checks import check, check_file_name


@dataclass(frozen=True, kw_only=True)
class FieldCard:
    """One copy of a solve's field in a graph.

    graph: the graph's file. t, y: names of the values that hold the time and the parts of the state, null where the
    copy does not read them. k: names of the slopes that the copy makes, one for each part. times: how many output times
    the solve has, or the name of the value that holds them, null for an iteration. y0, solution: names of the solve's
    initial state and results in the same graph, one for each part, null where nothing reads a result. The last two
    are left out where other graphs hold these values; `times` as well for a driven solve, whose drive entry has them.
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
