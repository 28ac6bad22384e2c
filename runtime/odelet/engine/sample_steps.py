"""The steps that a batch whose samples are solved each on its own takes by the graphs of a driven solve.

The law here: the loop sees tables, one row of elements for each sample.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np

from odelet.engine.adaptive_steps import SolveGraphs, run_field, run_graph
from odelet.engine.buffers import NUMPY_TYPES, Buffers, StepArrays
from odelet.loops.sample_tables import row_of, table_of
from odelet.loops.trajectory import StepEnds, Time
from odelet.numerics.adaptive_step import first_slope, slope_after_jump
from odelet.numerics.backend import NUMPY, NumpyArray
from odelet.numerics.state import Layout


class GraphSampleStepper:
    """A SampleStepper over the graphs of a driven solve.

    parts: of the first state, each (samples, ...). constants: the values that the graphs read besides times and states,
    by name. batched: the names of those constants that have a row for each sample, or None where the batch cannot be
    cut down.
    """

    def __init__(
        self,
        graphs: SolveGraphs,
        parts: list[NumpyArray],
        constants: Mapping[str, NumpyArray],
        *,
        batched: Collection[str] | None,
        direction: float,
        step_buffers: Callable[[StepArrays], Buffers],
    ) -> None:
        self._graphs, self._parts, self._constants, self._batched = graphs, parts, dict(constants), batched
        self._direction, self._step_buffers = direction, step_buffers
        self._layout = Layout.of(parts, per_sample=True)
        self._row = self._layout.pack(parts, xp=NUMPY)
        self._buffers: Buffers | None = None

    def begin(self, t: NumpyArray) -> None:
        k = first_slope(self._slope, t, self._row, xp=NUMPY)
        self._set(self._row, k)

    def _set(self, y: NumpyArray, k: NumpyArray) -> None:
        """Make the buffers of the step graph for the present batch, from rows (1, n)."""
        assert self._graphs.step is not None
        types = {node.name: NUMPY_TYPES.get(node.type) for node in self._graphs.step.get_outputs()}
        samples = len(self._parts[0])
        written = {"mid": np.empty_like(y), "ratio": np.zeros(samples, types["ratio"])}
        self._buffers = self._step_buffers(StepArrays({"y": y, "k": k}, written, self._constants, lanes=samples))

    def _slope(self, t: Time, y: NumpyArray) -> NumpyArray:
        return run_field(self._graphs.field, t, y, self._constants)

    def first_length(self, t: NumpyArray) -> NumpyArray:
        assert self._buffers is not None
        direction = np.asarray(self._direction, t.dtype)
        feeds = {"t": t, "direction": direction, "y": self._row, "k": self._buffers.state("k"), **self._constants}
        return run_graph(self._graphs.start, "h", feeds, shape=t.shape)

    def attempt(self, t: NumpyArray, t1: NumpyArray, h: NumpyArray) -> NumpyArray:
        assert self._buffers is not None
        self._buffers.run(t, t1, h)
        return self._buffers.written("ratio")

    def ends(self) -> StepEnds:
        b = self._buffers
        assert b is not None
        rows = (b.state("y"), b.pending("y"), b.written("mid"), b.state("k"), b.pending("k"))
        return StepEnds(*(table_of(row, self._layout) for row in rows))

    def state(self) -> NumpyArray:
        assert self._buffers is not None
        return table_of(self._buffers.state("y"), self._layout)

    def accept(self, accepted: NumpyArray, jump: NumpyArray | None) -> None:
        b = self._buffers
        assert b is not None
        if not accepted.all():
            rows = {name: (b.pending(name), b.state(name)) for name in ("y", "k")}
            for name, (new, old) in rows.items():
                b.set_pending(name, self._layout.select(accepted, new, old, xp=NUMPY))
        b.swap()
        if jump is not None:
            jumped = ~np.isnan(jump)
            times = np.where(jumped, jump, 0.0)
            k = slope_after_jump(self._slope, times, b.state("y"), direction=self._direction, xp=NUMPY)
            b.set("k", self._layout.select(jumped, k, b.state("k"), xp=NUMPY))

    def keep(self, kept: NumpyArray) -> bool:
        b = self._buffers
        if self._batched is None or b is None:
            return False
        y, k = (table_of(b.state(name), self._layout)[kept] for name in ("y", "k"))
        self._parts = [part[kept] for part in self._parts]
        self._layout = Layout.of(self._parts, per_sample=True)
        for name in self._batched:
            self._constants[name] = self._constants[name][kept]
        self._constants |= shape_inputs(self._parts)
        self._set(row_of(y, self._layout), row_of(k, self._layout))
        return True


def shape_inputs(parts: list[NumpyArray]) -> dict[str, NumpyArray]:
    """The graph inputs `shape.0`, `shape.1`, ... that hold the shapes of the parts of the state."""
    return {f"shape.{i}": np.array(part.shape, np.int64) for i, part in enumerate(parts)}
