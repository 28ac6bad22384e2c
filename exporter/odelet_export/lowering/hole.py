"""A hole: one solve of the host graph that waits for a solver."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from odelet_export.graphs.nodes import constant_of
from odelet_export.lowering.region import Region
from odelet_export.model.spec import SolveSpec


@dataclass(frozen=True)
class Placed:
    """The places of the steps of a solve.

    positions: the ends of the steps, (steps + 1,), from 0 at the first output time to 1 at the last. samples: the name
    of the axis that counts batch rows and is the first axis of every part of the state, or None.
    """

    positions: np.ndarray
    samples: str | None = None


@dataclass(frozen=True)
class Hole:
    """A solve of the host graph that waits for a solver.

    regions: the functions of the solve, the "field" and those that the spec names. t: the output times, a value of the
    host; for an iteration, a number that nothing reads. times: the constant output times (times,), where t is a
    constant. y0: the parts of the initial state. solution: values that stand for the results until a form replaces
    them, (times, *shape) each, (*shape) for an iteration. event_time: a value that stands for the time of the event, a
    scalar in the dtype of t, where the solve ends at an event; the two times in t are then the start and a time that
    gives the direction. extras: other values of the host that the solver takes, by their names in the spec, such as the
    grid of a fixed-step solve where the model constructs it. nested: a line about each solve inside the functions,
    which is filled already. placed: the places of the steps, for the form `bounded`.
    """

    spec: SolveSpec
    regions: Mapping[str, Region]
    t: ir.Value
    times: np.ndarray | None
    y0: Sequence[ir.Value]
    solution: Sequence[ir.Value]
    event_time: ir.Value | None = None
    extras: Mapping[str, ir.Value] = dataclasses.field(default_factory=dict)
    nested: tuple[str, ...] = ()
    placed: Placed | None = None

    def reading(self, filled: Mapping[ir.Value, ir.Value]) -> Hole:
        """The hole after earlier solves were filled: it reads their results, not the stand-ins of these results.

        filled: the result for each value that stood for it.
        """

        def now(values: Sequence[ir.Value]) -> list[ir.Value]:
            return [filled.get(value, value) for value in values]

        read = [self.t, *self.y0, *self.extras.values()]
        for region in self.regions.values():
            read += [*region.captured, *region.results]
        if not filled.keys() & set(read):
            return self
        regions = {
            name: dataclasses.replace(region, captured=now(region.captured), results=now(region.results))
            for name, region in self.regions.items()
        }
        extras = dict(zip(self.extras, now(list(self.extras.values())), strict=True))
        (t,) = now([self.t])
        return dataclasses.replace(self, regions=regions, t=t, y0=now(self.y0), extras=extras)

    @property
    def field(self) -> Region:
        """The field dy/dt = f(t, y), or the function y = f(y) of an iteration."""
        return self.regions["field"]

    @property
    def event(self) -> Region | None:
        """The event function, whose zero ends the solve, or None."""
        return self.regions.get("event")

    @property
    def norm(self) -> Region | None:
        """The norm that measures errors, where the model gives one."""
        return self.regions.get("norm")

    @property
    def results(self) -> list[ir.Value]:
        """The values that stand for all results of the solve: the solution, then the time of the event."""
        return [*self.solution, *([] if self.event_time is None else [self.event_time])]

    @property
    def grid(self) -> ir.Value | None:
        """The grid (steps + 1,) that the model constructs, a value of the host, or None."""
        return self.extras.get("grid")

    @property
    def grid_points(self) -> np.ndarray | None:
        """The constructed grid (steps + 1,), where it is a constant."""
        return None if self.grid is None else constant_of(self.grid)

    @property
    def count(self) -> int | None:
        """The number of output times, where the export knows it."""
        if self.times is not None:
            return len(self.times)
        dim = self.t.shape[0] if self.t.shape is not None else None
        return dim if isinstance(dim, int) else None
