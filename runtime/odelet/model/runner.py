"""Runs the calls of a model: arguments and settings go in; all values, by name, and what each solve did come out.

The law here: a call runs the program of the card over a dictionary of arrays, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NoReturn

from odelet.engine.driven import drive_solve
from odelet.engine.ending import EndedError, ended_at
from odelet.engine.failures import GraphFailed, failing_as
from odelet.engine.fallback import Fallback
from odelet.engine.forking import RUNNING
from odelet.engine.opening import Artifact
from odelet.engine.problem import Request, ends_of
from odelet.engine.program import DriveSolve
from odelet.engine.reports import check_times, reported_stats, stopped_at, times_input
from odelet.engine.turn_limits import TurnLimits
from odelet.engine.turns import Repeated
from odelet.errors import ArtifactError, InputError
from odelet.loops.limits import Limits
from odelet.loops.observer import SolveObserver
from odelet.loops.progress import ProgressRaised
from odelet.loops.solution import Solution
from odelet.loops.stats import SolveStats, Stats
from odelet.model.arguments import Argument, Arguments
from odelet.model.call_result import CallResult, has_outputs, stats_at_the_end
from odelet.model.interruption import interruptible
from odelet.model.observed import NOTHING, Observed
from odelet.model.settings import AS_EXPORTED, CallSettings, limits_for
from odelet.model.watching import tell_end, watch_of
from odelet.numerics.backend import NumpyArray
from odelet.status import Status

# A driven solve looks at the clock between its steps. So many seconds after the deadline, the step that was begun and
# what follows the solve are ended as well.
_GRACE = 0.05

_NO_LIMITS = Limits()


class Runner:
    """The program of an open artifact, ready to be called from several threads at once. threads: of the latest call."""

    def __init__(self, artifact: Artifact, *, device: str, interruptible: bool = False) -> None:
        self.artifact, self.interruptible = artifact, interruptible
        self.card, self._program, self.device = artifact.card, artifact.program, device
        self._guard, self.threads = artifact.guard, artifact.threads
        self.arguments = Arguments(artifact.card)
        self._again = artifact.fallback
        self._fallback = Fallback(artifact.card, artifact.fallback, self._drive) if artifact.fallback else None
        reports = [solve.report for solve in self.card.solves]
        self._error_ratios = tuple(report["error_ratio"] for report in reports if "error_ratio" in report)
        # Artifacts of 0.1 may have an input of the name of this setting.
        self._has_progress = any(tensor.name.split(".")[0] == "progress" for tensor in self.card.inputs)
        self._ranks = tuple((tensor.name, len(tensor.shape)) for tensor in self.card.outputs)
        times = {times_input(solve) for solve in self.card.solves}
        self._times = tuple(tensor.name for tensor in self.card.inputs if tensor.name in times)
        self._alarms = tuple(report[key] for report in reports for key in ("status", "unconverged") if key in report)

    def run(
        self,
        args: tuple[Argument, ...],
        named: dict[str, Argument],
        settings: CallSettings,
        *,
        observed: Observed = NOTHING,
        first_sample: int = 0,
    ) -> CallResult:
        """Run the program. args, named: the arguments of the call, checked and converted here. first_sample: the number
        of the first sample, which decides its random numbers.

        Raises InputError for arguments and settings that do not fit, and AssumptionError; a failed solve is a result.
        """
        if settings.progress is not None and self._has_progress:
            settings, named = replace(settings, progress=None), {**named, "progress": settings.progress}
        values = self.arguments.bind(args, named, seed=settings.seed, first_sample=first_sample)
        for name in self._times:
            if not values[name].size:
                raise InputError(f"input {name!r} holds no output time; give at least one")
        return self.run_bound(values, settings, observed=observed)

    def artifact_for(self, values: Mapping[str, NumpyArray]) -> Artifact:
        """The artifact as it is open for these inputs."""
        return self.artifact

    def run_bound(
        self, values: dict[str, NumpyArray], settings: CallSettings, *, observed: Observed = NOTHING
    ) -> CallResult:
        """Run the program on an array for each input. values: what is computed is added to them. Raises as `run`."""
        arrays: dict[str, NumpyArray] = {}
        limits = _NO_LIMITS
        if settings is not AS_EXPORTED:
            arrays = settings.checked(self.card)
            limits = limits_for(arrays)
            if settings.progress is not None:
                limits = replace(limits, watch=watch_of(settings.progress, self.card, (*self._program, *self._again)))
        result = CallResult(values, {}, {})
        if self._guard.refusal:
            self._guard.check()
        RUNNING.append(None)
        try:
            if self.interruptible:
                interruptible(lambda: self._run_both(result, arrays, limits, observed))
            else:
                self._run_both(result, arrays, limits, observed)
        except GraphFailed as failed:
            raise failed.judged({tensor.name: values[tensor.name] for tensor in self.card.inputs}) from None
        except ProgressRaised as raised:
            raise raised.error from None
        finally:
            if RUNNING:
                RUNNING.pop()
        for name, rank in self._ranks:
            if name in result.values and result.values[name].ndim != rank:
                self._refuse_shape(name, result.values[name])
        return result

    def _refuse_shape(self, name: str, found: NumpyArray) -> NoReturn:
        """Raise ArtifactError for an output of another shape than the card says; a graph may state no shape, or another
        one than it gives."""
        tensor = next(tensor for tensor in self.card.outputs if tensor.name == name)
        raise ArtifactError(
            f"the output {name!r} has the shape {found.shape}, and the card says {tensor}: "
            "export the model again; where it calls squeeze(), name the axis, as every axis of size 1 goes"
        )

    def _run_both(self, result: CallResult, arrays: dict[str, NumpyArray], limits: Limits, observed: Observed) -> None:
        """Run the program and the fallback, and tell a caller who watches how the solves ended."""
        self._run_within(result, arrays, limits, observed)
        for index in () if limits.watch is None else limits.watch.under_way:
            tell_end(limits.watch, stats_at_the_end(self.card.solves[index], result))

    def _run_within(
        self, result: CallResult, arrays: dict[str, NumpyArray], limits: Limits, observed: Observed
    ) -> None:
        """Run the program and the fallback, and end their runs when the deadline has passed."""
        if limits.deadline is None:
            self._run_program(result, arrays, limits, observed)
            self._solve_again(result, arrays, limits)
            return
        drives = any(isinstance(step, (DriveSolve, Repeated)) for step in self._program)
        try:
            with ended_at(limits.deadline + (_GRACE if drives else 0.0)):
                self._run_program(result, arrays, limits, observed)
            with ended_at(limits.deadline + _GRACE):
                self._solve_again(result, arrays, limits)
        except EndedError:
            result.ended = Status.DEADLINE

    def _run_program(
        self, result: CallResult, arrays: dict[str, NumpyArray], limits: Limits, observed: Observed
    ) -> None:
        """Run the program on the values of a result, and add what it computes. arrays: the settings of the call."""
        try:
            self._run_steps(result, arrays, limits, observed)
        finally:
            for index, outcome in result.stopped.items():
                stopped_at(outcome.status, self.card.solves[index], result.values)

    def _run_steps(self, result: CallResult, arrays: dict[str, NumpyArray], limits: Limits, observed: Observed) -> None:
        """Run the steps of the program, up to one that ends the call."""
        values, events = result.values, observed.events_by_solve
        for step in self._program:
            if isinstance(step, Repeated) and step.loop.solve is not None:
                self._take_turns(step, result, arrays, limits)
                if result.ended is not None:
                    return
                self._tell_ends(result, limits)
                continue
            if not isinstance(step, DriveSolve):
                values |= step(values, arrays)
                self._tell_ends(result, limits)
                continue
            index = step.solve.index
            request = Request(
                limits,
                events=events.get(index, ()),
                dense=observed.dense,
                recording=observed.recordings.get(index),
            )
            stats, watched = self._drive(step, values, arrays, request)
            if watched is not None:
                result.watched[index] = watched
            result.driven[index] = stats
            if not has_outputs(stats):
                break

    def _tell_ends(self, result: CallResult, limits: Limits) -> None:
        """Tell a caller who watches of the solves that have ended, and whose reports have been read."""
        for index in () if limits.watch is None else limits.watch.under_way:
            solve = self.card.solves[index]
            if all(name in result.values for name in solve.report.values()):
                if index in result.stopped:
                    stopped_at(result.stopped[index].status, solve, result.values)
                tell_end(limits.watch, reported_stats(solve, result.values))

    def _take_turns(self, step: Repeated, result: CallResult, arrays: dict[str, NumpyArray], limits: Limits) -> None:
        """Run the loop of a solve, which ends early at a limit that its graphs do not know."""
        assert step.loop.solve is not None
        if limits.max_evals is None and limits.deadline is None and limits.watch is None:
            result.values |= step(result.values, arrays)
            return
        solve = self.card.solves[step.loop.solve]
        limited = TurnLimits(limits, step.loop, solve, result.values)
        try:
            result.values |= step(result.values, arrays, limited.stops)
        except EndedError:
            result.stopped[solve.index] = replace(limited.outcome, status=Status.DEADLINE)
            raise
        if limited.outcome.status is not Status.OK:
            result.stopped[solve.index] = limited.outcome
            if step.loop.all_turns:
                result.ended = limited.outcome.status

    def _solve_again(self, result: CallResult, arrays: dict[str, NumpyArray], limits: Limits) -> None:
        """Replace answers that are out of tolerance, where there is a fallback."""
        if self._fallback is not None and result.ended is None:
            result.driven.update(self._fallback.solve_again(result.values, arrays, Request(limits)))

    def may_have_failed(self, result: CallResult) -> bool:
        """Whether a solve may have failed or an iteration may not have converged.

        Most calls succeed, and their statistics, which are half of the cost of a small model, need not be made.
        """
        if result.driven or result.ended is not None:
            return True
        for name in self._alarms:
            if result.values[name].any():
                return True
        return any(not (result.values[name] <= 1).all() for name in self._error_ratios)

    def solution(self, result: CallResult, *, observed: Observed = NOTHING) -> Solution:
        """Return the outputs, statistics and observations of a call.

        A RuntimeWarning tells of an iteration that did not converge, and of steps whose error is above the tolerance.
        """
        solution = self._solution(result)
        for stats in solution.stats.solves:
            stats.warn_unconverged()
            stats.warn_above_tolerance()
        if not (observed.events or observed.dense):
            return solution
        occurrences = {
            index: result.watched[index].finder.occurrences()
            for index in observed.events_by_solve
            if index in result.watched
        }
        trajectories = {index: watched.trajectory for index, watched in result.watched.items()}
        return replace(
            solution,
            events=occurrences if isinstance(observed.events, Mapping) else occurrences.get(0, ()),
            trajectories=trajectories if observed.dense else {},
        )

    def _solution(self, result: CallResult) -> Solution:
        driven, values = result.driven, result.values
        if result.ended is not None:
            solves = tuple(stats_at_the_end(solve, result) for solve in self.card.solves)
            return Solution({}, Stats(solves), result.ended)
        if not all(has_outputs(stats) for stats in driven.values()):
            # A solve that had to stop leaves something to go on from, which may be what the next one fails on.
            first = next(stats.status for stats in driven.values() if stats.status not in (Status.OK, Status.EVENT))
            return Solution({}, Stats(tuple(driven.values())), first)
        outputs = {tensor.name: values[tensor.name] for tensor in self.card.outputs}
        solves = tuple(
            driven[solve.index] if solve.index in driven else reported_stats(solve, values)
            for solve in self.card.solves
        )
        inputs = {tensor.name: values[tensor.name] for tensor in self.card.inputs}
        for entry, solve in zip(self.card.solves, solves, strict=True):
            check_times(entry, solve, inputs)
            # The driver has compared its times before its first step; a graph compares them on its way.
            if solve.status is Status.BAD_TIMES:
                raise InputError(
                    f"solve {solve.index} ({solve.source}): {solve.status.sentence}; {solve.status.advice}"
                )
        status = next((solve.status for solve in solves if solve.status is not Status.OK), Status.OK)
        noise = {name: values[name] for name in self.arguments.noise}
        return Solution(outputs, Stats(solves), status, noise=noise)

    def _drive(
        self, step: DriveSolve, values: dict[str, NumpyArray], settings: dict[str, NumpyArray], request: Request
    ) -> tuple[SolveStats, SolveObserver | None]:
        solve = step.solve
        request = request.settled(solve, settings)
        watch = request.limits.watch
        if watch is not None:
            start, end = ends_of(solve, values)
            watch.begin(solve.index, start=start, end=end)
        with failing_as(solve.index):
            solution, stats, watched = drive_solve(solve, step.graphs, values, request, device=self.device)
        if has_outputs(stats):
            values |= zip(step.names.results, solution, strict=True)
        tell_end(watch, stats)
        return stats, watched
