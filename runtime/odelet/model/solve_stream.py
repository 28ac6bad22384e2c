"""A long solve that is read piece by piece, each call going on exactly where the last one stopped.

The law here: what runs before the solve runs once; the pieces, put together, are the single call.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np

from odelet.artifact.card import Card
from odelet.artifact.solve_card import DRIVEN
from odelet.engine.driven import adaptive_start, fixed_stepper, stats_of
from odelet.engine.problem import Problem, Request, problem_of
from odelet.engine.program import DriveSolve, RunGraph
from odelet.engine.session import failing_as
from odelet.errors import InputError
from odelet.loops.adaptive import AdaptiveRun, AdaptiveSolve, continue_to, solution_arrays
from odelet.loops.fixed import FixedRun, solve_on_grid
from odelet.loops.options import method_and_grid
from odelet.loops.solution import Solution
from odelet.loops.stats import SolveStats, Stats
from odelet.methods.roster import METHODS, method_of
from odelet.model.arguments import Arguments
from odelet.model.settings import limits_for
from odelet.numerics.backend import NumpyArray
from odelet.status import Status


class SolveStream:
    """A model whose one solve goes on from call to call; make one with `model.stream(...)`.

    The first piece of times begins with the start of the solve; later ones hold later times alone. calls: how many
    were made.
    """

    def __init__(
        self,
        card: Card,
        program: Sequence[RunGraph | DriveSolve],
        start: Mapping[str, Any],
        settings: Mapping[str, NumpyArray],
        *,
        device: str,
        seed: int | None = None,
    ) -> None:
        self._card, self._device, self._settings, self._seed = card, device, settings, seed
        self._arguments = Arguments(card)
        self._before, self._drive, self._after = _parts(card, program)
        assert self._drive.names.t is not None
        self._time = self._drive.names.t
        start = self._arguments.spread(start)
        self._each = self._noise_of_each_piece()
        self._start = deepcopy(start)  # the caller may write into them between two calls
        known = [tensor.name for tensor in card.inputs]
        if self._time in start:
            raise InputError(f"input {self._time!r} holds the times; give it piece by piece, to each call")
        drawn = self._arguments.noise
        needed = [name for name in known if name not in (*start, *drawn) and self._before_reads(name)]
        if needed:
            raise InputError(f"the solve begins with a value of {', '.join(needed)}; give it to stream()")
        self._values: dict[str, NumpyArray] | None = None
        self._solving: _Adaptive | _Fixed | None = None
        self._t = np.zeros(0)
        self._direction = 0.0
        self._over: str | None = None
        self.calls = 0

    def _noise_of_each_piece(self) -> list[str]:
        """The noise with numbers for each output time."""
        tensors = {tensor.name: tensor for tensor in self._card.inputs}
        times = [size for size in tensors[self._time].shape if isinstance(size, str)]
        return [
            name
            for name in self._arguments.noise
            if any(re.search(rf"\b{re.escape(axis)}\b", str(size)) for axis in times for size in tensors[name].shape)
        ]

    def _before_reads(self, name: str) -> bool:
        """Whether a value is read before the solve, or by it."""
        names = self._drive.names
        return any(name in run.feeds for run in self._before) or name in (
            *names.y0,
            *names.captured,
            names.step_t,
            names.jump_t,
        )

    def __call__(self, **named: Any) -> Any:
        """Return the model's output at the next times, or a tuple of them, as `model(...)` does.

        named: the times, by the name of the model's input, and inputs that only what follows the solve reads. Raises
        InputError for times that do not go on forward, SolveError when the solve fails, and InputError thereafter.
        """
        solution = self.solve(**named).raise_if_failed()
        outputs = tuple(solution.outputs[tensor.name] for tensor in self._card.outputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def solve(self, **named: Any) -> Solution:
        """As a call, but return a Solution, as `model.solve(...)` does; its statistics are those of the whole solve."""
        if self._over is not None:
            raise InputError(
                f"the solve of this stream has ended ({self._over}), so there is nothing to go on from; begin another "
                "with model.stream()"
            )
        named = self._arguments.spread(named)
        for name in named:
            if name in self._start:
                raise InputError(f"input {name!r} was given to stream() and stays; leave it out")
        for name in self._each:
            if name not in named:
                raise InputError(f"the noise {name!r} has numbers for each output time; give those of each piece")
        values = self._arguments.bind((), {**self._start, **named}, seed=self._seed)
        piece = values[self._time]
        direction = self._forward(piece)
        self._over = "a call was interrupted"
        if self._values is None:
            made = dict(values)
            for run in self._before:
                made |= run(made, {})
            # What was drawn belongs to the solve, and stays as it is.
            self._start |= {name: values[name] for name in self._arguments.noise if name not in named}
            self._values = {name: value for name, value in made.items() if name != self._time}
        self._t, self._direction = np.concatenate([self._t.astype(piece.dtype), piece]), direction
        solution = self._piece({**self._values, **values}, piece)
        self._over = None if solution.status is Status.OK else f"{solution.status.name}: {solution.status.sentence}"
        self._t = self._t[[0, -1]] if self._t.size > 1 else self._t
        self.calls += 1
        return solution

    def _forward(self, piece: NumpyArray) -> float:
        """The direction of the times so far, 0 while it is not known. Raises InputError for those that turn back."""
        last = self._t[-1:].astype(piece.dtype)
        gaps = np.diff(np.concatenate([last, piece.ravel()]))
        direction = self._direction or (float(np.sign(gaps[0])) if gaps.size else 0.0)
        if piece.ndim == 1 and piece.size and np.isfinite(piece).all() and (gaps * direction > 0).all():
            return direction
        way = {1.0: "strictly increasing", -1.0: "strictly decreasing", 0.0: "strictly monotone"}[self._direction]
        beyond = f", beyond {last.item():g}, where the last call ended" if last.size else ""
        raise InputError(f"{self._time} must be a row of finite, {way} times{beyond}; got {piece}")

    def _piece(self, values: dict[str, NumpyArray], piece: NumpyArray) -> Solution:
        solve = self._drive.solve
        with failing_as(solve.index):
            rows, stats, shapes = self._advance(values, piece)
        stats.warn_unconverged()
        if not stats.status.usable:
            return Solution({}, Stats((stats,)), stats.status)
        values |= zip(self._drive.names.solution, solution_arrays(rows, shapes), strict=True)
        for run in self._after:
            values |= run(values, {})
        outputs = {tensor.name: values[tensor.name] for tensor in self._card.outputs}
        return Solution(outputs, Stats((stats,)), stats.status)

    def _advance(
        self, values: dict[str, NumpyArray], piece: NumpyArray
    ) -> tuple[NumpyArray, SolveStats, Sequence[tuple[int, ...]]]:
        """The rows at a piece of times, what the solve did so far, and the shapes of the state's parts."""
        if self._solving is not None:
            return *self._solving.continue_to(piece), self._solving.problem.parts
        solve = self._drive.solve
        request = Request(limits_for(self._settings)).settled(solve, self._settings)
        problem = problem_of(solve, self._drive.graphs, {**values, self._time: self._t}, request, device=self._device)
        if self._t.size == 1:
            # Which way time runs is not known yet, and nobody asked for a step.
            status = Status.OK if np.isfinite(problem.row).all() else Status.NOT_FINITE
            run = AdaptiveRun(problem.row, status, float(piece[0]), 0, 0, 0)
            return problem.row, stats_of(solve, run, 0, 0, None), problem.parts
        self._solving = (_Adaptive if METHODS[solve.method].adaptive else _Fixed)(problem)
        rows, stats = self._solving.continue_to(self._t[1:])
        rows = np.concatenate([problem.row, rows])
        return rows[-piece.size :], stats, problem.parts


class _Adaptive:
    """A solve with error control, under way."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._under_way: AdaptiveSolve | None = None

    def continue_to(self, t: NumpyArray) -> tuple[NumpyArray, SolveStats]:
        """The rows at later times, and what the solve did so far."""
        problem = self.problem
        rows = np.full((t.size, problem.row.size), np.nan, problem.row.dtype)
        if not np.isfinite(problem.row).all():
            run = AdaptiveRun(rows, Status.NOT_FINITE, float(problem.t[0]), 0, 0)
        else:
            self._under_way = self._under_way or adaptive_start(problem)()
            run = continue_to(self._under_way, problem.row, t, rows)
        return rows, stats_of(problem.solve, run, run.steps, run.accepted, None)


class _Fixed:
    """A solve whose steps end at the output times, under way."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        names = problem.solve.drive
        assert names is not None
        self._method, self._grid = method_and_grid(METHODS[problem.solve.method], names.options)
        self._stepper = fixed_stepper(problem, self._method)
        self._reached, self._row = problem.t[:1], problem.row
        self._done: FixedRun | None = None

    def continue_to(self, t: NumpyArray) -> tuple[NumpyArray, SolveStats]:
        """The rows at later times, and what the solve did so far."""
        problem, before = self.problem, self._done
        points = np.concatenate([self._reached, t])
        done = solve_on_grid(
            self._stepper,
            problem.slope,
            self._method,
            self._row,
            points,
            points,
            grid=self._grid,
            direction=problem.direction,
        )
        self._reached, self._row = points[-1:], done.rows[-1:]
        rows = done.rows[1:]
        if before is not None:
            unconverged = None if done.unconverged is None else done.unconverged + (before.unconverged or 0)
            steps, calls = done.steps + before.steps, done.evaluations + before.evaluations
            done = done._replace(steps=steps, evaluations=calls, unconverged=unconverged)
        self._done = done
        return rows, stats_of(problem.solve, done, done.steps, done.steps, done.unconverged)


def _parts(card: Card, program: Sequence[RunGraph | DriveSolve]) -> tuple[list[RunGraph], DriveSolve, list[RunGraph]]:
    """What runs before the solve, the solve, and what runs after it. Raises InputError for a model that cannot go on
    from piece to piece, with the reason."""
    why = "a stream without `carry` goes on with a solve from one piece of its times to the next, and "
    if not card.driven:
        raise InputError(
            f"{why}this artifact has the form {card.form!r}, whose solves end inside the graph; export the model with "
            f"the form {DRIVEN.name!r}"
        )
    drives = [step for step in program if isinstance(step, DriveSolve)]
    if len(drives) != 1:
        raise InputError(f"{why}this model has {len(drives)} solves; name what goes from call to call with `carry`")
    (drive,) = drives
    place = list(program).index(drive)
    before, after = (
        [step for step in part if isinstance(step, RunGraph)] for part in (program[:place], program[place + 1 :])
    )
    time = drive.names.t
    me = f"{why}solve {drive.solve.index} ({drive.solve.source}) "
    method = method_of(drive.solve.method)
    if time is None:
        raise InputError(f"{me}is an iteration ({method.name}), which has no times")
    if drive.names.event is not None:
        raise InputError(f"{me}ends at an event of its own, so no times follow")
    if drive.solve.per_sample:
        raise InputError(f"{me}solves each sample on its own; export it without per_sample")
    if not (method.adaptive or method.fixed):
        raise InputError(f"{me}is SciPy's ({method.name}), which cannot go on; export it with another method")
    if method.fixed and (
        drive.names.grid is not None or not method_and_grid(method, drive.names.options)[1].at_outputs
    ):
        raise InputError(
            f"{me}places its steps over the whole range of its times ({method.name} with step_size, steps or "
            "grid_constructor); export it with steps that end at the output times"
        )
    if time not in [tensor.name for tensor in card.inputs]:
        raise InputError(f"{me}computes its times inside the model; export a model that takes them as an input")
    readers = [run.graph.file for run in before if time in run.feeds]
    if readers or time in (*drive.names.y0, *drive.names.captured, drive.names.step_t, drive.names.jump_t):
        what = f"{readers[0]}, which runs before it, reads" if readers else "it also reads, besides its output times,"
        raise InputError(
            f"{me}begins from what is computed once, but {what} the times {time!r}; give the model an input of its own "
            "for that"
        )
    return before, drive, after
