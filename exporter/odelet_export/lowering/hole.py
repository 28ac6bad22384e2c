"""A hole: one solve of the host graph that waits for a solver."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from odelet_export.lowering.region import Region
from odelet_export.model.spec import SolveSpec


@dataclass(frozen=True)
class Placed:
    """Where the steps of a solve are put: positions (steps + 1,), from 0 at its first time to 1 at its last. samples:
    name of the axis that is the first of every part of its state and counts samples, or None."""

    positions: np.ndarray
    samples: str | None = None


@dataclass(frozen=True)
class Hole:
    """A solve of the host graph, waiting for a solver.

    regions: its functions, the "field" and those that the spec names. t: the output times, a value of the
    host, and `times` their constant, if they are; of an iteration, a number that nothing reads. y0: the parts of the
    initial state. solution: what stands for the results, (times, *shape) each, of an iteration (*shape), until they are
    replaced. event_time: the same, a scalar in the dtype of t,
    where the solve ends at an event; its two times are then the start and whatever says the direction. extras:
    other values of the host that the solver takes, by their names in the spec, such as the grid of a fixed-step
    solve where the model constructs it. nested: a line about each solve inside its functions, filled already. placed:
    its steps, for the form `bounded`.
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
        """The hole where solves before it are filled, and so what stood for their results is another value."""

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
        """dy/dt = f(t, y), or what an iteration makes of y."""
        return self.regions["field"]

    @property
    def event(self) -> Region | None:
        """The function whose zero ends the solve."""
        return self.regions.get("event")

    @property
    def norm(self) -> Region | None:
        """The function that says how large an error is."""
        return self.regions.get("norm")

    @property
    def results(self) -> list[ir.Value]:
        """All that the solve gives: the solution, and the time of the event."""
        return [*self.solution, *([] if self.event_time is None else [self.event_time])]

    @property
    def grid(self) -> ir.Value | None:
        """The grid that the model constructs."""
        return self.extras.get("grid")

    @property
    def grid_points(self) -> np.ndarray | None:
        """The constructed grid, if it is a constant."""
        return None if self.grid is None else _constant(self.grid)

    @property
    def count(self) -> int | None:
        """How many output times, where it is known at export."""
        if self.times is not None:
            return len(self.times)
        dim = self.t.shape[0] if self.t.shape is not None else None
        return dim if isinstance(dim, int) else None


def _constant(value: ir.Value) -> np.ndarray | None:
    return None if value.const_value is None or value.is_graph_input() else value.const_value.numpy()
