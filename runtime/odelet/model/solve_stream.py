"""A long solve that is read one segment of its output times at a time, each call going on where the last one stopped.

The law here: what runs before the solve runs once; the segments, put together, are what a single call returns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial

import numpy as np

from odelet.artifact.solve_card import TAKEN
from odelet.engine.failures import GraphFailed, failing_as
from odelet.engine.problem import Problem, Request, problem_of
from odelet.engine.steppers import GraphSteppers, loop_problem
from odelet.errors import InputError
from odelet.loops.adaptive import AdaptiveSolve, continue_to, not_begun
from odelet.loops.fixed import solve_on_grid
from odelet.loops.limits import Limits
from odelet.loops.progress import ProgressRaised, Watch
from odelet.loops.run import SolveRun, solution_arrays
from odelet.loops.solution import Solution
from odelet.loops.solve import begin_adaptive
from odelet.loops.stats import SolveStats, Stats
from odelet.methods.roster import METHODS
from odelet.model.arguments import Argument, Arguments
from odelet.model.divided import divided
from odelet.model.interruption import interruptible
from odelet.model.results import Result, result_builder
from odelet.model.runner import Runner
from odelet.model.settings import CallSettings, limits_for
from odelet.model.watching import tell_end
from odelet.numerics.backend import NumpyArray
from odelet.status import Status


class SolveStream:
    """A model whose one solve goes on from call to call; `model.stream(...)` makes one.

    The times of the first call begin with the start of the solve; those of a later call lie beyond it. calls: how many
    calls were made.
    """

    def __init__(self, runner: Runner, start: Mapping[str, Argument], settings: CallSettings) -> None:
        """start: the inputs that stay the same, by name. Raises InputError for a model that cannot go on, and for
        inputs and settings that do not fit."""
        self._interruptible, self._device = runner.interruptible, runner.device
        self._card, self._seed = runner.card, settings.seed
        self._artifact_for, self._guard = runner.artifact_for, runner.artifact.guard
        if settings.deadline is not None:
            raise InputError(
                f"deadline={settings.deadline!r} cannot be set for a stream, whose solve lasts as long as its caller "
                "goes on"
            )
        self._settings = settings.checked(self._card)
        self._watch = None if settings.progress is None else Watch(settings.progress)
        self._arguments, self._result = Arguments(self._card), result_builder(self._card)
        self._before, self._drive, self._after = divided(self._card, runner.artifact.program)
        assert self._drive.names.t is not None
        self._time = self._drive.names.t
        start = self._arguments.spread(start)
        self._noise_per_call = self._noise_along_times()
        self._start = deepcopy(start)  # the caller may write into them between two calls
        if self._time in start:
            raise InputError(f"input {self._time!r} holds the times; give them to each call, a few at a time")
        inputs = [tensor.name for tensor in self._card.inputs]
        optional = (*start, *self._arguments.noise)
        missing = [name for name in inputs if name not in optional and self._is_read_at_the_start(name)]
        if missing:
            raise InputError(f"the solve begins with a value of {', '.join(missing)}; give it to stream()")
        self._values: dict[str, NumpyArray] | None = None
        self._solving: _AdaptiveSegments | _FixedSegments | None = None
        self._t = np.zeros(0)
        self._direction = 0.0
        self._ended: str | None = None
        self.calls = 0

    def _noise_along_times(self) -> list[str]:
        """Return the names of the random inputs that hold numbers for each output time."""
        shapes = {tensor.name: tensor.shape for tensor in self._card.inputs}
        time_axes = [size for size in shapes[self._time] if isinstance(size, str)]
        return [
            name
            for name in self._arguments.noise
            if any(re.search(rf"\b{re.escape(axis)}\b", str(size)) for axis in time_axes for size in shapes[name])
        ]

    def _is_read_at_the_start(self, name: str) -> bool:
        """Return whether an input is read before the solve, or by the solve."""
        names = self._drive.names
        return any(name in run.feeds for run in self._before) or name in (
            *names.y0,
            *names.captured,
            names.step_t,
            names.jump_t,
        )

    def __call__(self, **named: Argument) -> Result:
        """Return the model's result at the next times, as `model(...)` does.

        named: the times, by the name of the model's input, and inputs that are read only after the solve. Raises
        InputError for times that do not go on forward, SolveError when the solve fails, and InputError in each call
        after a failure.
        """
        return self._result(self.solve(**named).raise_if_failed().outputs)

    def __reduce__(self) -> tuple[object, ...]:
        """Raise InputError: a solve that goes on cannot be copied."""
        raise InputError(
            "a stream of one long solve can be neither pickled nor copied, as its solve lives in the memory of this "
            "process; send the model, and begin another stream with model.stream() from the state that was reached"
        )

    def solve(self, **named: Argument) -> Solution:
        """Return a Solution, as `model.solve(...)` does; its statistics are those of the whole solve so far."""
        with self._guard:
            return self._continue(named)

    def _continue(self, named: dict[str, Argument]) -> Solution:
        if self._ended is not None:
            raise InputError(
                f"the solve of this stream has ended ({self._ended}), so there is nothing to go on from; begin another "
                "with model.stream()"
            )
        inputs = {tensor.name for tensor in self._card.inputs}
        for name in TAKEN:
            if name in named and name not in inputs:
                raise InputError(f"{name} is a setting of the whole solve of this stream; give it to model.stream()")
        named = self._arguments.spread(named)
        for name in named:
            if name in self._start:
                raise InputError(f"input {name!r} was given to stream() and stays; leave it out")
        for name in self._noise_per_call:
            if name not in named:
                raise InputError(f"the noise {name!r} has numbers for each output time; give those of these times")
        values = self._arguments.bind((), {**self._start, **named}, seed=self._seed)
        if self._values is None:
            artifact = self._artifact_for(values)
            self._guard = artifact.guard
            self._before, self._drive, self._after = divided(self._card, artifact.program)
        times = values[self._time]
        direction = self._direction_to(times)
        self._ended = "a call was interrupted"
        self._direction = direction
        go_on = partial(self._go_on, named, values, times)
        try:
            solution = interruptible(go_on) if self._interruptible else go_on()
        except GraphFailed as failed:
            raise failed.judged(values) from None
        except ProgressRaised as raised:
            raise raised.error from None
        ok = solution.status is Status.OK
        self._ended = None if ok else f"{solution.status.name}: {solution.status.sentence}"
        self._t = self._t[[0, -1]] if self._t.size > 1 else self._t
        self.calls += 1
        return solution

    def _go_on(self, named: Mapping[str, Argument], values: dict[str, NumpyArray], times: NumpyArray) -> Solution:
        """Return the solution at the next times. values: of all inputs. named: those that came with this call."""
        if self._values is None:
            start_values = dict(values)
            for run in self._before:
                start_values |= run(start_values, {})
            # The random numbers that were drawn belong to the solve, and stay as they are.
            self._start |= {name: values[name] for name in self._arguments.noise if name not in named}
            self._values = {name: value for name, value in start_values.items() if name != self._time}
        self._t = np.concatenate([self._t.astype(times.dtype), times])
        return self._solve_segment({**self._values, **values}, times)

    def _direction_to(self, times: NumpyArray) -> float:
        """Return the direction of time, 1 or -1, or 0 while one time alone is known.

        Raises InputError for times that do not go on in that direction.
        """
        last = self._t[-1:].astype(times.dtype)
        gaps = np.diff(np.concatenate([last, times.ravel()]))
        direction = self._direction or (float(np.sign(gaps[0])) if gaps.size else 0.0)
        if times.ndim == 1 and times.size and np.isfinite(times).all() and (gaps * direction > 0).all():
            return direction
        order = {1.0: "strictly increasing", -1.0: "strictly decreasing", 0.0: "strictly monotone"}[self._direction]
        beyond = f", beyond {last.item():g}, where the last call ended" if last.size else ""
        raise InputError(f"{self._time} must be a row of finite, {order} times{beyond}; got {times}")

    def _solve_segment(self, values: dict[str, NumpyArray], times: NumpyArray) -> Solution:
        solve = self._drive.solve
        with failing_as(solve.index):
            if self._watch is not None:
                before = self._t[: -times.size or None]
                start = times[0] if not before.size else before[-1]
                self._watch.begin(solve.index, start=float(start), end=float(times[-1]))
            rows, stats, shapes = self._advance(values, times)
            tell_end(self._watch, stats)
        stats.warn_unconverged()
        if not stats.status.usable:
            return Solution({}, Stats((stats,)), stats.status)
        values |= zip(self._drive.names.solution, solution_arrays(rows, shapes), strict=True)
        for run in self._after:
            values |= run(values, {})
        outputs = {tensor.name: values[tensor.name] for tensor in self._card.outputs}
        return Solution(outputs, Stats((stats,)), stats.status)

    def _advance(
        self, values: dict[str, NumpyArray], times: NumpyArray
    ) -> tuple[NumpyArray, SolveStats, Sequence[tuple[int, ...]]]:
        """Return the state at the times, (times, n); what the solve did so far; the shapes of the state's parts."""
        if self._solving is not None:
            return *self._solving.continue_to(times), self._solving.problem.parts
        solve = self._drive.solve
        limits = replace(limits_for(self._settings), watch=self._watch)
        request = Request(limits).settled(solve, self._settings)
        problem = problem_of(solve, self._drive.graphs, {**values, self._time: self._t}, request, device=self._device)
        if self._t.size == 1:
            # The direction of time is not known yet, and no step is needed.
            status = Status.OK if np.isfinite(problem.row).all() else Status.NOT_FINITE
            run = SolveRun(rows=problem.row, status=status, time=float(times[0]), steps=0, accepted=0, evaluations=0)
            return problem.row, SolveStats.of(solve, run), problem.parts
        self._solving = (_AdaptiveSegments if METHODS[solve.method].adaptive else _FixedSegments)(problem)
        rows, stats = self._solving.continue_to(self._t[1:])
        rows = np.concatenate([problem.row, rows])
        return rows[-times.size :], stats, problem.parts


class _AdaptiveSegments:
    """A solve with error control, continued from one segment of output times to the next."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._solve: AdaptiveSolve | None = None

    def continue_to(self, t: NumpyArray) -> tuple[NumpyArray, SolveStats]:
        """Return the state at later times, (times, n), and what the solve did so far."""
        problem = self.problem
        rows = np.full((t.size, problem.row.size), np.nan, problem.row.dtype)
        if not np.isfinite(problem.row).all():
            run = not_begun(rows, problem.t[0])
        else:
            self._solve = self._solve or begin_adaptive(loop_problem(problem), GraphSteppers(problem))
            run = continue_to(self._solve, problem.row, t, rows)
        return rows, SolveStats.of(problem.solve, run)


class _FixedSegments:
    """A solve whose fixed steps end at the output times, continued from one segment to the next."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self._loop = problem, loop_problem(problem)
        self._stepper = GraphSteppers(problem).fixed(self._loop)
        self._reached, self._row = problem.t[:1], problem.row
        self._before: SolveRun | None = None

    def continue_to(self, t: NumpyArray) -> tuple[NumpyArray, SolveStats]:
        """Return the state at later times, (times, n), and what the solve did so far."""
        problem, loop, before = self.problem, self._loop, self._before
        assert loop.grid is not None
        points = np.concatenate([self._reached, t])
        run = solve_on_grid(
            self._stepper,
            problem.slope,
            loop.method,
            self._row,
            points,
            points,
            grid=loop.grid,
            direction=problem.direction,
            limits=Limits(watch=problem.request.limits.watch),
        )
        self._reached, self._row = points[-1:], run.rows[-1:]
        self._before = run = run if before is None else run.after(before)
        return run.rows[1:], SolveStats.of(problem.solve, run)
