"""A loaded model: arrays in, arrays out, the same call for every form.

The law here: a call runs the program of the card over a dictionary of arrays, and nothing else.
"""

from __future__ import annotations

import math
import os
from numbers import Integral, Real
from typing import Any

import numpy as np

from odelet.arguments import Arguments
from odelet.artifact import open_artifact
from odelet.card import Card, SolveCard, Tensor
from odelet.errors import ArtifactError, InputError, OdeletError
from odelet.graphs import drive_solve
from odelet.program import Drive, Run
from odelet.session import ORT_ERRORS, one_line
from odelet.solution import Solution, SolveStats, Stats, Status

Array = np.ndarray[Any, Any]

_WHY_NOT_SET = {
    "unrolled": "its steps were fixed at export",
    "rolled": "its steps were fixed at export",
    "bounded": "its steps were chosen at export",
    "adaptive": "its graph was exported without that input",
    "driven": "its solver does not take it",
    "mixed": "none of its solves takes it",
}


def load(path: str | os.PathLike[str], *, device: str = "cpu", threads: int = 1) -> Model:
    """Load an artifact's folder, or a lone .onnx file of a self-contained form.

    device: "cpu" or "cuda". threads: that work inside one operator; 1 is best for small models. Raises
    ArtifactError when a file is missing, damaged or newer than this odelet, InputError for a device that is
    not there.
    """
    return Model(path, device=device, threads=threads)


class Model:
    """An exported model, ready to call; safe to call from several threads at once.

    card: what the artifact says of itself. inputs: in the order of positional arguments. outputs: in the
    order that a call returns them. folder: where it was loaded from, None for a lone file.
    """

    def __init__(self, path: str | os.PathLike[str], *, device: str = "cpu", threads: int = 1) -> None:
        artifact = open_artifact(path, device=device, threads=threads)
        self.card: Card = artifact.card
        self.inputs: tuple[Tensor, ...] = artifact.card.inputs
        self.outputs: tuple[Tensor, ...] = artifact.card.outputs
        self.folder = artifact.folder
        self._program = artifact.program
        self._device = device
        self._arguments = Arguments(self.card.inputs)
        self._alarm_names = tuple(
            solve.report[key] for solve in self.card.solves for key in ("status", "unconverged") if key in solve.report
        )
        self._settable = {key for solve in self.card.solves for key in solve.settings}

    def __repr__(self) -> str:
        inputs = ", ".join(f"{tensor.name}: {tensor}" for tensor in self.inputs)
        outputs = ", ".join(f"{tensor.name}: {tensor}" for tensor in self.outputs)
        return f"<odelet.Model {self.card.name} ({self.card.form}): {inputs} -> {outputs}>"

    def __call__(
        self,
        /,
        *args: Any,
        rtol: float | None = None,
        atol: float | None = None,
        max_steps: int | None = None,
        **named: Any,
    ) -> Array | tuple[Array, ...]:
        """Return the model's output, or a tuple in the card's order if it has several.

        args, named: one array for each input, of its dtype and shape; lists and numbers are converted.
        rtol, atol, max_steps: in place of those the model was exported with. Raises InputError for arguments
        that do not fit, SolveError when a solve fails. A RuntimeWarning tells of steps whose iteration did not
        converge.
        """
        values, driven = self._run(args, named, rtol, atol, max_steps)
        # Most calls succeed, and their statistics, half of the cost of a small model, are not asked for.
        failed = bool(driven)
        for name in self._alarm_names:
            failed = failed or values[name].item() != 0
        if failed:
            self._solution(values, driven).raise_if_failed()
        outputs = tuple([values[tensor.name] for tensor in self.outputs])
        return outputs[0] if len(outputs) == 1 else outputs

    def solve(
        self,
        /,
        *args: Any,
        rtol: float | None = None,
        atol: float | None = None,
        max_steps: int | None = None,
        **named: Any,
    ) -> Solution:
        """Like a call, but return a Solution: outputs by name, statistics, and a status, not SolveError."""
        return self._solution(*self._run(args, named, rtol, atol, max_steps))

    def _run(
        self,
        args: tuple[Any, ...],
        named: dict[str, Any],
        rtol: float | None,
        atol: float | None,
        max_steps: int | None,
    ) -> tuple[dict[str, Array], dict[int, SolveStats]]:
        """Run the program; returns all values by name, and the statistics of the driven solves by index.

        A driven solve that fails is the last thing that runs.
        """
        values = self._arguments.bind(args, named)
        settings: dict[str, Array] = {}
        if not (rtol is None and atol is None and max_steps is None):
            settings = self._check_settings({"rtol": rtol, "atol": atol, "max_steps": max_steps})
        driven: dict[int, SolveStats] = {}
        for step in self._program:
            if isinstance(step, Run):
                values |= step.graph.run(_feeds(step, values, settings))
                continue
            stats = self._drive(step, values, settings)
            driven[stats.index] = stats
            if stats.status is not Status.OK:
                break
        return values, driven

    def _solution(self, values: dict[str, Array], driven: dict[int, SolveStats]) -> Solution:
        status = next((stats.status for stats in driven.values() if stats.status is not Status.OK), Status.OK)
        if status is not Status.OK:
            return _told(Solution({}, Stats(tuple(driven.values())), status))
        outputs = {tensor.name: values[tensor.name] for tensor in self.outputs}
        solves = tuple(
            driven[solve.index] if solve.index in driven else _report(solve, values) for solve in self.card.solves
        )
        status = next((solve.status for solve in solves if solve.status is not Status.OK), Status.OK)
        return _told(Solution(outputs, Stats(solves), status))

    def _drive(self, step: Drive, values: dict[str, Array], settings: dict[str, Array]) -> SolveStats:
        numbers = {key: settings[key].item() for key in step.solve.settings if key in settings}
        try:
            solution, stats = drive_solve(
                step.solve,
                step.field.session,
                step.step.session if step.step is not None else None,
                values,
                rtol=numbers.get("rtol"),
                atol=numbers.get("atol"),
                max_steps=numbers.get("max_steps"),
                device=self._device,
            )
        except OdeletError:
            raise
        except ORT_ERRORS as error:
            raise ArtifactError(
                f"solve {step.solve.index}: its graphs failed on these inputs ({one_line(error)}); if `odelet verify` "
                "passes, they do not support these sizes: export the model with these axes dynamic"
            ) from None
        if stats.status is Status.OK:
            values |= zip(step.names.solution, solution, strict=True)
        return stats

    def _check_settings(self, given: dict[str, float | None]) -> dict[str, Array]:
        settings: dict[str, Array] = {}
        for key, value in given.items():
            if value is None:
                continue
            if key not in self._settable:
                raise InputError(
                    f"{key}={value!r} cannot be set: this artifact has the form {self.card.form!r}, and "
                    f"{_WHY_NOT_SET[self.card.form]}; export the model with the form 'adaptive' or 'driven'"
                )
            whole = key == "max_steps"
            if isinstance(value, bool) or not isinstance(value, Integral if whole else Real):
                raise InputError(f"{key}={value!r} must be a {'whole ' if whole else ''}number")
            if not 0 < value < (2**63 if whole else math.inf):
                raise InputError(f"{key}={value!r} must be positive and finite")
            settings[key] = np.array(value, np.int64 if whole else np.float64)
        return settings


def _feeds(step: Run, values: dict[str, Array], settings: dict[str, Array]) -> dict[str, Array]:
    feeds = {name: values[name] for name in step.feeds}
    for key, value in settings.items():
        feeds |= dict.fromkeys(step.settings.get(key, ()), value)
    return feeds


def _told(solution: Solution) -> Solution:
    for stats in solution.stats.solves:
        stats.warn_unconverged()
    return solution


def _report(solve: SolveCard, values: dict[str, Array]) -> SolveStats:
    """What a solve inside a graph says of itself, completed by what the card knows."""
    told = {key: values[name].item() for key, name in solve.report.items()}
    steps = told.get("steps", solve.steps)
    # Only the form with error control inside the graph can reject a step.
    accepted = told.get("accepted", steps if solve.form != "adaptive" else None)
    evaluations = told.get("evaluations")
    if steps is not None and solve.evaluations is not None:
        evaluations = solve.evaluations.start + solve.evaluations.step * steps
    return SolveStats(
        index=solve.index,
        method=solve.method,
        form=solve.form,
        steps=steps,
        accepted=accepted,
        rejected=None if steps is None or accepted is None else steps - accepted,
        evaluations=evaluations,
        status=Status.of(told.get("status", 0)),
        time=told.get("time"),
        source=solve.source,
        unconverged=told.get("unconverged"),
    )
