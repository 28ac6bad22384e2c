"""The steps of an SDE by the step graph of a driven solve, along a Brownian path that the runtime draws."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from odelet.artifact.brownian_card import BrownianCard
from odelet.engine.buffers import StepArrays
from odelet.engine.problem import Problem
from odelet.errors import ArtifactError
from odelet.loops.brownian import BridgedPath, BrownianPath, StepwisePath, draw_shapes
from odelet.loops.trajectory import Time
from odelet.methods.sde import Increment, SdeMethod, SdeStep
from odelet.numerics.backend import NumpyArray

# The inputs of the step graph that take the Brownian motion over the step, in the order of `Increment`.
MOTION = ("w", "u", "area")


def motion_of(method: SdeMethod) -> Sequence[str]:
    """The inputs of MOTION that the step graph of a method takes."""
    return MOTION[: len(method.draws)]


def card_of(problem: Problem) -> BrownianCard:
    """What the card says of the Brownian motion of a solve."""
    card = problem.solve.brownian
    assert card is not None, "the card has checked that a solve of an SDE has a Brownian motion"
    return card


def path_of(problem: Problem, method: SdeMethod) -> BrownianPath:
    """The Brownian path of a solve, made of the noise among the values of the model."""
    card = card_of(problem)
    noise = [problem.values[name] for name in card.inputs]
    if method.step_doubling:
        return BridgedPath(method, noise[0], problem.t[0], card.channels, problem.row.dtype)
    return StepwisePath(method, noise, card.channels)


def check_noise(problem: Problem, steps: int | None) -> None:
    """Raise ArtifactError unless there are standard normal numbers for each of the fixed steps, and no others."""
    for name in card_of(problem).inputs:
        drawn = len(problem.values[name])
        if drawn != steps:
            raise ArtifactError(
                f"solve {problem.solve.index} takes {steps} steps, and {name!r} has numbers for {drawn}; export the "
                "model again"
            )


class GraphSdeStepper:
    """An SdeStepper over a step graph. The state stays in the memory of the graph where one step follows another."""

    def __init__(self, problem: Problem, method: SdeMethod) -> None:
        card = card_of(problem)
        self._memory = tuple(problem.values[name] for name in card.memory)
        self._names = [f"memory.{i}" for i in range(len(self._memory))]
        batch = problem.states[0].shape[0]
        shapes = zip(motion_of(method), draw_shapes(method, card.channels).values(), strict=True)
        zeros = {name: np.zeros((batch, *shape), problem.row.dtype) for name, shape in shapes}
        starts = {"y": problem.row, **dict(zip(self._names, self._memory, strict=True))}
        self._buffers = problem.step_buffers(StepArrays(starts, {}, {**problem.constants, **zeros}))
        self._state: NumpyArray = problem.row

    def begin(self, t: Time, y: NumpyArray) -> tuple[NumpyArray, ...]:
        del t, y
        return self._memory

    def advance(self, y: NumpyArray, memory: tuple[NumpyArray, ...], t: Time, t1: Time, noise: Increment) -> SdeStep:
        buffers = self._buffers
        if y is not self._state:
            buffers.set("y", y)
            for name, x in zip(self._names, memory, strict=True):
                buffers.set(name, x)
        for name, increment in zip(MOTION, noise, strict=True):
            if increment is not None:
                buffers.write(name, increment)
        buffers.run(t, t1)
        buffers.swap()
        self._state = buffers.state("y").copy()
        return SdeStep(self._state, tuple(buffers.state(name).copy() for name in self._names))
