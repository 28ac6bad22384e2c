"""What a solve inside a graph did, as its graph reports it.

The law here: a count that the graph does not report is taken from the card, or is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from odelet.artifact.solve_card import OF_SAMPLES, SolveCard
from odelet.errors import ArtifactError, InputError
from odelet.loops.stats import SampleStats, SolveOutcome, SolveStats, status_of
from odelet.numerics.backend import NumpyArray
from odelet.status import Status


def reported_stats(solve: SolveCard, values: Mapping[str, NumpyArray]) -> SolveStats:
    """The statistics of a solve inside a graph, completed by what the card knows. values: the graph's outputs, by
    name."""
    reports = {key: values[name] for key, name in solve.report.items()}
    return SolveStats.of(solve, _of_samples(solve, reports) if solve.per_sample else _of_whole(solve, reports))


def check_times(solve: SolveCard, stats: SolveStats, inputs: Mapping[str, NumpyArray]) -> None:
    """Raise InputError where a solve inside a graph failed since its output times are not in order, or none that it
    can reach.

    inputs: the model's, by name; the times may be one of them.
    """
    name = times_input(solve)
    times = inputs.get(name) if name is not None else None
    if times is None or stats.status not in (Status.NOT_FINITE, Status.BAD_TIMES):
        return
    in_order = bool((np.diff(times) > 0).all() or (np.diff(times) < 0).all())
    if stats.status is Status.BAD_TIMES and in_order:
        return
    if not np.isfinite(times).all() and (stats.status is Status.BAD_TIMES or not solve.chooses_steps):
        raise InputError(f"input {name!r} holds output times that are not finite: {times}")
    if stats.status is Status.BAD_TIMES:
        raise InputError(
            f"input {name!r} holds output times that are not strictly increasing or strictly decreasing: {times}; "
            "give each time once, in order"
        )
    if not stats.steps and times.size > 1 and not solve.chooses_steps:
        raise InputError(
            f"input {name!r} holds output times from {times[0]:g} to {times[-1]:g}, too far apart for steps of the "
            f"length that solve {solve.index} ({solve.source}) has; give times that are closer together"
        )


def times_input(solve: SolveCard) -> str | None:
    """The name of the value that holds the output times of a solve, which may be an input of the model; None where
    they are constant or not known."""
    name = None if solve.piece is None else solve.piece.times
    return name if isinstance(name, str) else None


def stopped_at(status: Status, solve: SolveCard, values: dict[str, NumpyArray]) -> None:
    """Change the report of a solve whose loop was stopped from outside: the graph took that for its limit of steps, or
    for an iteration that did not converge within its limit. No report is there where the call ended before."""
    name = solve.report.get("status")
    if name in values:
        reported = values[name]
        limited = np.isin(reported, [Status.STEP_LIMIT.value, Status.NOT_CONVERGED.value])
        values[name] = np.where(limited, np.int64(status.value), reported)


def _of_samples(solve: SolveCard, reports: Mapping[str, NumpyArray]) -> SolveOutcome:
    count = reports["status"].size
    for key, value in reports.items():
        # A graph may give other shapes than it states.
        if key in (*OF_SAMPLES, "time") and value.shape != (count,):
            raise ArtifactError(
                f"solve {solve.index}: its report {key} has the shape {value.shape}; expected a number for each sample"
            )
    samples = SampleStats.of(reports["status"], reports.get("time"), reports["steps"], reports["accepted"])
    # Each turn of the loop evaluates the field for all samples at once, so the sample with the most steps counts.
    return SolveOutcome.of_samples(samples, evaluations=_evaluations(solve, max(samples.steps, default=0)))


def _of_whole(solve: SolveCard, reports: Mapping[str, NumpyArray]) -> SolveOutcome:
    numbers = {key: _number(solve, key, value) for key, value in reports.items() if key != "error_ratio"}
    ratios = reports.get("error_ratio")
    steps = numbers.get("steps", solve.steps)
    evaluations = None if steps is None else _evaluations(solve, steps)
    status = status_of(numbers.get("status", 0))
    if ratios is not None and status is Status.OK and not (ratios <= 1).all():
        status = Status.OUT_OF_TOLERANCE if np.isfinite(ratios).all() else Status.NOT_FINITE
    return SolveOutcome(
        status=status,
        time=numbers.get("time"),
        steps=steps,
        # Only the form with error control inside the graph can reject a step.
        accepted=numbers.get("accepted", None if solve.chooses_steps else steps),
        evaluations=numbers.get("evaluations") if evaluations is None else evaluations,
        unconverged=numbers.get("unconverged"),
        error_ratio=None if ratios is None else tuple(ratios.tolist()),
    )


def _number(solve: SolveCard, key: str, value: NumpyArray) -> Any:  # an int or a float, as the report is
    """The number that a report holds. Raises ArtifactError for an array of another size: a graph may state no rank."""
    if value.size != 1:
        raise ArtifactError(f"solve {solve.index}: its report {key} has the shape {value.shape}; expected one number")
    return value.item()


def _evaluations(solve: SolveCard, steps: int) -> int | None:
    """The evaluations of the field that so many attempted steps take, or None where the card does not know."""
    counts = solve.evaluations
    return None if counts is None else counts.start + counts.step * steps
