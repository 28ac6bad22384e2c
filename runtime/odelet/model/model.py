"""A loaded model: arrays in, arrays out, the same call for every form.

The law here: a call runs the program of the card over a dictionary of arrays, and nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, overload

from odelet.artifact.card import Card, Tensor
from odelet.artifact.solve_card import DRIVEN
from odelet.engine.driven import drive_solve
from odelet.engine.fallback import Fallback
from odelet.engine.opening import open_artifact
from odelet.engine.problem import Request
from odelet.engine.program import DriveSolve, RunGraph
from odelet.engine.reports import reported_stats
from odelet.engine.session import failing_as
from odelet.errors import InputError
from odelet.loops.recorder import Recording
from odelet.loops.solution import Solution
from odelet.loops.stats import SolveStats, Stats
from odelet.loops.watched import SolveObserver
from odelet.model.arguments import Arguments
from odelet.model.settings import check_settings, limits_for
from odelet.model.solve_stream import SolveStream
from odelet.model.stream import Stream
from odelet.numerics.backend import NumpyArray
from odelet.numerics.events import Event
from odelet.status import Status


def load(path: str | os.PathLike[str], *, device: str = "cpu", threads: int | None = None) -> Model:
    """Load an artifact's folder, or a lone .onnx file of a self-contained form.

    device: "cpu" or "cuda". threads: that work inside one operator; None takes 1, and up to 4 where an operator is
    known to be so large that it pays (the card's `work`). Raises ArtifactError when a file is missing, damaged or newer
    than this odelet, InputError for a device that is not there.
    """
    return Model(path, device=device, threads=threads)


class Model:
    """An exported model, ready to call; safe to call from several threads at once.

    card: what the artifact says of itself. inputs: in the order of positional arguments. outputs: in the
    order that a call returns them. folder: where it was loaded from, None for a lone file. threads: inside an operator.
    """

    def __init__(self, path: str | os.PathLike[str], *, device: str = "cpu", threads: int | None = None) -> None:
        artifact = open_artifact(path, device=device, threads=threads)
        self.card: Card = artifact.card
        self.inputs: tuple[Tensor, ...] = artifact.card.inputs
        self.outputs: tuple[Tensor, ...] = artifact.card.outputs
        self.folder, self.threads = artifact.folder, artifact.threads
        self._program = artifact.program
        self._device = device
        self._arguments = Arguments(self.card)
        self._ratio_names = tuple(
            solve.report["error_ratio"] for solve in self.card.solves if "error_ratio" in solve.report
        )
        again = artifact.fallback
        self._fallback = Fallback(self.card, again, self._drive) if again else None
        self._alarm_names = tuple(
            solve.report[key] for solve in self.card.solves for key in ("status", "unconverged") if key in solve.report
        )

    def __repr__(self) -> str:
        inputs = ", ".join(f"{tensor.name}: {tensor}" for tensor in self.inputs)
        outputs = ", ".join(f"{tensor.name}: {tensor}" for tensor in self.outputs)
        return f"<odelet.Model {self.card.name} ({self.card.form}): {inputs} -> {outputs}>"

    def __call__(
        self,
        /,
        *args: Any,
        rtol: Any = None,
        atol: Any = None,
        max_steps: int | None = None,
        max_evals: int | None = None,
        deadline: float | None = None,
        seed: int | None = None,
        **named: Any,
    ) -> NumpyArray | tuple[NumpyArray, ...]:
        """Return the model's output, or a tuple in the card's order if it has several.

        args, named: one array for each input, of its dtype and shape; lists and numbers are converted. Inputs with
        dots in their names may come in a dict, tuple or dataclass, as in the model's own call.
        rtol, atol, max_steps: in place of those the model was exported with; a solve with a tolerance for each
        part of its state takes a row of them, too. max_evals: of the field, in each solve; deadline: seconds,
        for the whole call (form driven only). seed: of the random numbers that the model takes and that are not given;
        None draws others in each call. Raises InputError for arguments that do not fit, also for those
        for which an assumption of the card does not hold, and SolveError when a solve fails, or the error estimate of a
        bounded one is above the tolerance and there is no fallback. A RuntimeWarning tells of
        steps whose iteration did not converge.
        """
        given = {"rtol": rtol, "atol": atol, "max_steps": max_steps, "max_evals": max_evals, "deadline": deadline}
        values, driven = self._run(args, named, given, seed)
        # Most calls succeed, and their statistics, half of the cost of a small model, are not asked for.
        failed = bool(driven)
        for name in self._alarm_names:
            failed = failed or bool(values[name].any())
        for name in self._ratio_names:
            failed = failed or not (values[name] <= 1).all()
        if failed:
            self._solution(values, driven).raise_if_failed()
        outputs = tuple([values[tensor.name] for tensor in self.outputs])
        return outputs[0] if len(outputs) == 1 else outputs

    def solve(
        self,
        /,
        *args: Any,
        rtol: Any = None,
        atol: Any = None,
        max_steps: int | None = None,
        max_evals: int | None = None,
        deadline: float | None = None,
        seed: int | None = None,
        events: Sequence[Event] | Mapping[int, Sequence[Event]] = (),
        dense: bool = False,
        **named: Any,
    ) -> Solution:
        """Like a call, but return a Solution: outputs by name, statistics, and a status, not SolveError.

        After a deadline or max_evals the outputs are those of the state that was reached; `stats` has its time.
        events: to look for in solve 0, or in each solve by its index; dense: keep all solves, for
        `solution.at(t)`; both for adaptive methods in the form driven. What a solve gives after a terminal event
        is NaN, and the status is EVENT.
        """
        given = {"rtol": rtol, "atol": atol, "max_steps": max_steps, "max_evals": max_evals, "deadline": deadline}
        asked = dict(events) if isinstance(events, Mapping) else ({0: events} if events else {})
        solves = {solve.index for solve in self.card.solves}
        if (asked or dense) and not self.card.driven:
            raise InputError(
                f"events and dense need the solver outside the graph, and this artifact has the form "
                f"{self.card.form!r}; export the model with the form {DRIVEN.name!r}"
            )
        if not asked.keys() <= solves:
            raise InputError(f"events are for solves {sorted(asked)}; the model has {sorted(solves)}")
        watched: dict[int, SolveObserver] = {}
        solution = self._solution(*self._run(args, named, given, seed, asked, dense, watched))
        if not (asked or dense):
            return solution
        happened = {index: watched[index].finder.occurrences() for index in asked if index in watched}
        return replace(
            solution,
            events=happened if isinstance(events, Mapping) else happened.get(0, ()),
            trajectories={index: kept.trajectory for index, kept in watched.items()} if dense else {},
        )

    @overload
    def stream(self, /, *, carry: Mapping[str, str], **start: Any) -> Stream: ...

    @overload
    def stream(
        self,
        /,
        *,
        rtol: Any = None,
        atol: Any = None,
        max_steps: int | None = None,
        max_evals: int | None = None,
        seed: int | None = None,
        **start: Any,
    ) -> SolveStream: ...

    def stream(self, /, *, carry: Mapping[str, str] | None = None, **start: Any) -> Stream | SolveStream:
        """A stream of calls, each going on from the one before.

        With carry, a series fed one observation at a time, in any form: for inputs, by name, the name of the output
        or input whose value they take from the call before, as in `model.stream(carry={"h": "h1", "t0": "t1"}, h=h0,
        t0=0.0)`. start: inputs of the first call that are carried, and those that stay the same.

        Without, one long solve whose output times come in pieces, in the form driven: `stream = model.stream(x=x)`,
        then `stream(t=[0.0, 0.1])`, `stream(t=[0.2])`. start: all inputs but the times, and settings of the call.

        Raises InputError for names that the model does not have, and, with the reason, for a model that cannot go on.
        """
        if carry is not None:
            return Stream(self, carry, start)
        given = {name: start.pop(name, None) for name in ("rtol", "atol", "max_steps", "max_evals")}
        seed = start.pop("seed", None)
        settings = check_settings(given, self.card)
        return SolveStream(self.card, self._program, start, settings, device=self._device, seed=seed)

    def spread(self, named: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments by name, those in dicts, tuples and the like under the names of the inputs: `batch={"x": x}` is
        `batch.x`. Raises InputError for what is no input."""
        return self._arguments.spread(named)

    def _run(
        self,
        args: tuple[Any, ...],
        named: dict[str, Any],
        given: dict[str, Any],
        seed: int | None,
        events: Mapping[int, Sequence[Event]] | None = None,
        dense: bool = False,
        watched: dict[int, SolveObserver] | None = None,
        recordings: Mapping[int, Recording] | None = None,
    ) -> tuple[dict[str, NumpyArray], dict[int, SolveStats]]:
        """Run the program; returns all values by name, and the statistics of the driven solves by index, those solved
        again among them.

        A driven solve that fails is the last thing that runs. watched: receives what was watched in each solve, by its
        index. recordings: each records the attempted steps of the solve of its index.
        """
        values = self._arguments.bind(args, named, seed=seed)
        settings: dict[str, NumpyArray] = {}
        if any(value is not None for value in given.values()):
            settings = check_settings(given, self.card)
        limits = limits_for(settings)
        driven: dict[int, SolveStats] = {}
        for step in self._program:
            if isinstance(step, RunGraph):
                values |= step(values, settings)
                continue
            asked = (events or {}).get(step.solve.index, ())
            recording = (recordings or {}).get(step.solve.index)
            request = Request(limits, events=asked, dense=dense, recording=recording)
            stats, kept = self._drive(step, values, settings, request)
            if watched is not None and kept is not None:
                watched[stats.index] = kept
            driven[stats.index] = stats
            if not (stats.status.usable or stats.samples):
                break
        if self._fallback is not None:
            driven |= self._fallback.mend(values, settings, Request(limits))
        return values, driven

    def _solution(self, values: dict[str, NumpyArray], driven: dict[int, SolveStats]) -> Solution:
        lost = (stats.status for stats in driven.values() if not (stats.status.usable or stats.samples))
        stopped = next(lost, None)
        if stopped is not None:
            return _told(Solution({}, Stats(tuple(driven.values())), stopped))
        outputs = {tensor.name: values[tensor.name] for tensor in self.outputs}
        solves = tuple(
            driven[solve.index] if solve.index in driven else reported_stats(solve, values)
            for solve in self.card.solves
        )
        status = next((solve.status for solve in solves if solve.status is not Status.OK), Status.OK)
        noise = {name: values[name] for name in self._arguments.noise}
        return _told(Solution(outputs, Stats(solves), status, noise=noise))

    def _drive(
        self, step: DriveSolve, values: dict[str, NumpyArray], settings: dict[str, NumpyArray], request: Request
    ) -> tuple[SolveStats, SolveObserver | None]:
        solve = step.solve
        request = request.settled(solve, settings)
        with failing_as(solve.index):
            solution, stats, watched = drive_solve(solve, step.graphs, values, request, device=self._device)
        if stats.status.usable or stats.samples:
            values |= zip(step.names.results, solution, strict=True)
        return stats, watched


def _told(solution: Solution) -> Solution:
    for stats in solution.stats.solves:
        stats.warn_unconverged()
    return solution
