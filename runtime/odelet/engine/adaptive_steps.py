"""The graphs of a driven solve, and the steps that an adaptive solve takes by them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import field as member
from typing import Any

import numpy as np
import onnxruntime as ort

from odelet.engine.buffers import NUMPY_TYPES, BufferPool, Buffers, StepArrays
from odelet.engine.ending import run_options
from odelet.errors import ArtifactError
from odelet.loops.trajectory import StepEnds, Time
from odelet.numerics.adaptive_step import first_slope, slope_after_jump
from odelet.numerics.backend import NUMPY, NumpyArray


@dataclass(frozen=True)
class SolveGraphs:
    """The sessions of a driven solve.

    field: None for an iteration. step: None for a solver that needs the field alone. start: estimates the length of the
    first step. event: the functions whose zero ends the solve. pool: the buffers that earlier solves took steps in.
    """

    field: ort.InferenceSession | None
    step: ort.InferenceSession | None = None
    start: ort.InferenceSession | None = None
    event: ort.InferenceSession | None = None
    pool: BufferPool = member(default_factory=BufferPool)


def run_graph(
    session: ort.InferenceSession | None, output: str, feeds: Mapping[str, Any], *, shape: tuple[int | None, ...]
) -> NumpyArray:
    """One output of a graph. feeds: values by name, of which the graph is given the ones it takes. shape: that the
    output must have, None for any size: a graph may give other shapes than it states. Raises ArtifactError."""
    assert session is not None, "a solve asks for no graph that its kind does not have"
    (value,) = session.run([output], {node.name: feeds[node.name] for node in session.get_inputs()}, run_options())
    array: NumpyArray = np.asarray(value)
    if array.shape != shape and (
        array.ndim != len(shape)
        or any(size not in (None, found) for size, found in zip(shape, array.shape, strict=True))
    ):
        raise ArtifactError(
            f"a graph of a driven solve gives {output!r} of the shape {array.shape}; expected "
            f"[{', '.join('?' if size is None else str(size) for size in shape)}]: export the model again"
        )
    return array


def run_field(
    session: ort.InferenceSession | None, t: Time, y: NumpyArray, constants: Mapping[str, NumpyArray]
) -> NumpyArray:
    """The slope dy/dt that the graph of a field gives. constants: the values that it reads besides t and y, by name."""
    return run_graph(session, "k", {"t": np.asarray(t, y.dtype), "y": y, **constants}, shape=y.shape)


class GraphAdaptiveStepper:
    """An AdaptiveStepper over the graphs of an adaptive method: the field, the first step's length, and one step.

    y0: the first state, (1, n). constants: the values that the graphs read besides times and states, by name.
    """

    def __init__(
        self,
        graphs: SolveGraphs,
        y0: NumpyArray,
        constants: Mapping[str, NumpyArray],
        direction: float,
        step_buffers: Callable[[StepArrays], Buffers],
    ) -> None:
        self._graphs, self._constants, self._direction = graphs, constants, direction
        self._y0, self._step_buffers = y0, step_buffers
        self._buffers: Buffers | None = None
        self._k_before_jump: NumpyArray | None = None

    def begin(self, t: float) -> None:
        k0 = first_slope(self._slope, np.float64(t), self._y0, xp=NUMPY)
        assert self._graphs.step is not None
        types = {node.name: NUMPY_TYPES.get(node.type) for node in self._graphs.step.get_outputs()}
        written = {"mid": np.empty_like(self._y0), "ratio": np.zeros((), types["ratio"])}
        self._buffers = self._step_buffers(StepArrays({"y": self._y0, "k": k0}, written, self._constants))
        self._number = types["ratio"]

    def _slope(self, t: Time, y: NumpyArray) -> NumpyArray:
        return run_field(self._graphs.field, t, y, self._constants)

    def first_length(self, t: float) -> float:
        assert self._buffers is not None and self._graphs.start is not None
        feeds = {"t": np.asarray(t, self._number), "direction": np.asarray(self._direction, self._number)}
        feeds |= {"y": self._y0, "k": self._buffers.state("k"), **self._constants}
        return float(run_graph(self._graphs.start, "h", feeds, shape=()))

    def attempt(self, t: float, t1: float, h: float) -> float:
        buffers = self._buffers
        assert buffers is not None
        buffers.run(t, t1, h)
        return float(buffers.written("ratio"))

    def accept(self, jump: float | None) -> None:
        buffers = self._buffers
        assert buffers is not None
        buffers.swap()
        self._k_before_jump = None
        if jump is not None:
            # The dense output of this step still reads the slope at its end; the new slope is for the next step.
            self._k_before_jump = buffers.state("k").copy()
            y = buffers.state("y")
            with np.errstate(all="ignore"):
                time = np.float64(jump)
                buffers.set("k", slope_after_jump(self._slope, time, y, direction=self._direction, xp=NUMPY))

    def restart(self, t: float, y: NumpyArray) -> None:
        buffers = self._buffers
        assert buffers is not None
        buffers.set("y", y)
        buffers.set("k", first_slope(self._slope, np.float64(t), y, xp=NUMPY))

    def ends(self) -> StepEnds:
        buffers = self._buffers
        assert buffers is not None
        k1 = buffers.state("k") if self._k_before_jump is None else self._k_before_jump
        y0, k0 = (buffers.state(name, before=True) for name in ("y", "k"))
        return StepEnds(y0, buffers.state("y"), buffers.written("mid"), k0, k1)
