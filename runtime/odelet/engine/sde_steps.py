"""The steps that a solve of an SDE takes by its step graph, on a Brownian motion that the runtime makes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from odelet.artifact.brownian_card import BrownianCard
from odelet.engine.buffers import StepArrays
from odelet.engine.problem import Problem
from odelet.errors import ArtifactError
from odelet.loops.trajectory import StepEnds
from odelet.methods.sde import Increment, Interval, SdeMethod
from odelet.numerics.backend import NUMPY, NumpyArray

# The inputs of the step graph that take the Brownian motion over the step, in the order of `Increment`.
MOTION = ("w", "u", "area")


class SdeGraph:
    """The step graph of a solve, in bound memory. motion: the Brownian motion of the solve as the card has it."""

    def __init__(self, problem: Problem, method: SdeMethod) -> None:
        card = problem.solve.brownian
        assert card is not None, "the card has checked that a solve of an SDE has a Brownian motion"
        self.motion: BrownianCard = card
        batch = problem.states[0].shape[0]
        memory = {f"memory.{i}": problem.values[name] for i, name in enumerate(card.memory)}
        zeros = _zeros(method, batch, card.channels, problem.row.dtype)
        arrays = StepArrays({"y": problem.row, **memory}, {}, {**problem.constants, **zeros})
        self._buffers = problem.step_buffers(arrays)

    def run(self, t: float, t1: float, motion: Increment) -> None:
        """Take the step from t to t1; it becomes the state."""
        for name, x in zip(MOTION, motion, strict=True):
            if x is not None:
                self._buffers.write(name, x)
        self._buffers.run(t, t1)
        self._buffers.swap()

    def ends(self) -> StepEnds:
        """The states at the ends of the last step; valid until the next step."""
        return StepEnds(self._buffers.state("y", before=True), self._buffers.state("y"))


def _zeros(method: SdeMethod, batch: int, channels: int, dtype: np.dtype[np.generic]) -> dict[str, NumpyArray]:
    """Arrays of the shapes of a Brownian motion, by the name of the input that takes it."""
    shapes = {"w": (channels,), "u": (channels,), "area": (channels, channels)}
    return {name: np.zeros((batch, *shapes[name]), dtype) for name in motion_of(method)}


def motion_of(method: SdeMethod) -> Sequence[str]:
    """The inputs of MOTION that the step graph of a method takes."""
    return MOTION[: len(method.draws)]


class GraphSdeStepper:
    """A FixedStepper over the step graph of an SDE, with the normal numbers of each step in the inputs of the model."""

    def __init__(self, problem: Problem, method: SdeMethod) -> None:
        self._graph = SdeGraph(problem, method)
        self._method, self._row, self._step = method, problem.row, 0
        self._normals = [problem.values[name] for name in self._graph.motion.inputs]

    def step(self, t: float, t1: float) -> tuple[int, bool]:
        if any(self._step >= len(x) for x in self._normals):
            raise ArtifactError("the solve takes more steps than its noise has; export the model again")
        channels = self._graph.motion.channels
        interval = Interval.of(t, t1, self._row, xp=NUMPY)
        motion = self._method.increment([x[self._step] for x in self._normals], interval, channels=channels, xp=NUMPY)
        self._graph.run(t, t1, motion)
        self._step += 1
        return self._method.drifts, False

    def ends(self) -> StepEnds:
        return self._graph.ends()
