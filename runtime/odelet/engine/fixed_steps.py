"""The steps that a fixed-step solve takes by its step graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnxruntime as ort

from odelet.engine.buffers import Buffers, StepArrays
from odelet.loops.trajectory import StepEnds
from odelet.numerics.backend import Array, NumpyArray


class GraphFixedStepper:
    """A FixedStepper over a step graph.

    y0: the first state, (1, n). memory: what the method's first step remembers. constants: the values that the graph
    reads besides times and states, by name. calls: evaluations of the field in a step, or None where the graph counts
    them.
    """

    def __init__(
        self,
        step: ort.InferenceSession,
        y0: NumpyArray,
        memory: Sequence[Array],
        constants: Mapping[str, NumpyArray],
        calls: int | None,
        step_buffers: Callable[[StepArrays], Buffers],
    ) -> None:
        outputs = {node.name for node in step.get_outputs()}
        starts = {"y": y0, **{f"memory.{i}": np.asarray(x) for i, x in enumerate(memory)}}
        written = {name: np.zeros((), np.int64) for name in ("calls", "failed") if name in outputs}
        self._counts = list(written)
        self._slope = "k0" in outputs
        written |= {"k0": np.empty_like(y0)} if self._slope else {}
        self._buffers = step_buffers(StepArrays(starts, written, constants))
        self._calls = calls

    def step(self, t: float, t1: float) -> tuple[int, bool]:
        buffers = self._buffers
        buffers.run(t, t1)
        buffers.swap()
        counts = {name: int(buffers.written(name)) for name in self._counts}
        calls = counts.get("calls", self._calls)
        assert calls is not None
        return calls, bool(counts.get("failed"))

    def ends(self) -> StepEnds:
        buffers = self._buffers
        k0 = buffers.written("k0") if self._slope else None
        return StepEnds(buffers.state("y", before=True), buffers.state("y"), k0=k0)
