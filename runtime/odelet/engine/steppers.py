"""Steps by the graphs of a driven solve, for the loop that solves it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from odelet.engine.adaptive_steps import GraphAdaptiveStepper
from odelet.engine.fixed_steps import GraphFixedStepper
from odelet.engine.method_settings import settings_of
from odelet.engine.problem import Problem, control_settings
from odelet.engine.sample_steps import GraphSampleStepper
from odelet.engine.sde_steps import GraphSdeStepper, check_noise, path_of
from odelet.loops.adaptive import AdaptiveStepper
from odelet.loops.fixed import FixedStepper
from odelet.loops.per_sample import SampleStepper
from odelet.loops.recorder import RecordedFixedStepper, RecordedSampleStepper, RecordedStepper
from odelet.loops.sde_steps import SdeGridStepper
from odelet.loops.solve import LoopProblem
from odelet.methods.sde import SdeMethod
from odelet.numerics.backend import NUMPY, NumpyArray
from odelet.numerics.state import Layout


@dataclass(frozen=True)
class GraphSteppers:
    """Makes steppers over the graphs of a driven solve, which record their steps if the caller asked for that."""

    problem: Problem

    def adaptive(self, loop: LoopProblem) -> AdaptiveStepper:
        problem, recording = self.problem, self.problem.request.recording
        constants = _with_tolerances(problem, loop)
        stepper = GraphAdaptiveStepper(problem.graphs, problem.row, constants, problem.direction, problem.step_buffers)
        return stepper if recording is None else RecordedStepper(stepper, recording)

    def per_sample(self, loop: LoopProblem) -> SampleStepper:
        problem, recording = self.problem, self.problem.request.recording
        assert problem.solve.drive is not None
        stepper = GraphSampleStepper(
            problem.graphs,
            problem.states,
            _with_tolerances(problem, loop),
            batched=problem.solve.drive.batched,
            direction=problem.direction,
            step_buffers=problem.step_buffers,
        )
        return stepper if recording is None else RecordedSampleStepper(stepper, recording, problem.parts[0][0])

    def fixed(self, loop: LoopProblem) -> FixedStepper:
        problem, recording, method = self.problem, self.problem.request.recording, loop.method
        assert problem.graphs.step is not None and loop.grid is not None
        if isinstance(method, SdeMethod):
            steps = loop.grid.steps if loop.constructed is None else len(loop.constructed) - 1
            check_noise(problem, steps)
            sde_stepper = SdeGridStepper(
                method, GraphSdeStepper(problem, method), path_of(problem, method), problem.row
            )
            return sde_stepper if recording is None else RecordedFixedStepper(sde_stepper, recording, None)
        stepper = GraphFixedStepper(
            problem.graphs.step,
            problem.row,
            method.initial_memory(problem.row, xp=NUMPY),
            problem.constants,
            method.evaluations,
            problem.step_buffers,
        )
        if recording is None:
            return stepper
        return RecordedFixedStepper(stepper, recording, problem.slope if loop.grid.reads_cubics else None)


def _with_tolerances(problem: Problem, loop: LoopProblem) -> dict[str, NumpyArray]:
    return {**problem.constants, "rtol": np.asarray(loop.rtol), "atol": np.asarray(loop.atol)}


def loop_problem(problem: Problem) -> LoopProblem:
    """A driven solve that is no iteration, as its loop sees it."""
    solve, graphs, names = problem.solve, problem.graphs, problem.solve.drive
    assert names is not None
    method, control, grid = settings_of(solve)
    loop = LoopProblem(
        method=method,
        row=problem.row,
        layout=Layout.of(problem.states, per_sample=solve.per_sample),
        t=problem.t,
        direction=problem.direction,
        slope=problem.slope,
        limits=problem.request.limits,
        rtol=problem.tolerance("rtol"),
        atol=problem.tolerance("atol"),
        event=None if graphs.event is None else problem.event,
    )
    if control is not None:
        control, tolerances, points = control_settings(problem, control)
        return replace(loop, control=control, points=points, rtol=tolerances["rtol"], atol=tolerances["atol"])
    constructed = None if names.grid is None else problem.values[names.grid]
    return replace(loop, grid=grid, constructed=constructed)
