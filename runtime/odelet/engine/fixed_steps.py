"""Steps of a fixed-step method over its step graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort

from odelet.engine.buffers import Buffers
from odelet.loops.trajectory import StepEnds
from odelet.numerics.backend import NumpyArray


class GraphFixedStepper:
    """A FixedStepper over a step graph. calls: evaluations of the field in a step, where that number does not vary."""

    def __init__(
        self,
        step: ort.InferenceSession,
        y0: NumpyArray,
        memory: Sequence[Any],
        kept: Mapping[str, NumpyArray],
        calls: int | None,
        bind: Callable[..., Buffers],
    ) -> None:
        outputs = {node.name for node in step.get_outputs()}
        starts = {"y": y0, **{f"memory.{i}": np.asarray(x) for i, x in enumerate(memory)}}
        written = {name: np.zeros((), np.int64) for name in ("calls", "failed") if name in outputs}
        self._told = list(written)
        self._slope = "k0" in outputs
        written |= {"k0": np.empty_like(y0)} if self._slope else {}
        self._buffers = bind(starts, written, kept)
        self._calls = calls

    def step(self, t: float, t1: float) -> tuple[int, bool]:
        buffers = self._buffers
        buffers.run(t, t1)
        buffers.swap()
        told = {name: int(buffers.written(name)) for name in self._told}
        calls = told.get("calls", self._calls)
        assert calls is not None
        return calls, bool(told.get("failed"))

    def ends(self) -> StepEnds:
        buffers = self._buffers
        k0 = buffers.written("k0") if self._slope else None
        return StepEnds(buffers.state("y", before=True), buffers.state("y"), k0=k0)
