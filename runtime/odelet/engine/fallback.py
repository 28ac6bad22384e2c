"""Samples whose error ratio is above 1, solved again with error control.

The law here: only the rows of those samples are replaced, and each sample is solved alone, so that its answer depends
on no other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from odelet.artifact.card import Card, Tensor
from odelet.engine.blocks import Block
from odelet.engine.ending import EndedError
from odelet.engine.problem import Request
from odelet.engine.program import DriveSolve
from odelet.engine.reports import reported_stats
from odelet.errors import ArtifactError
from odelet.loops.observer import SolveObserver
from odelet.loops.stats import SolveOutcome, SolveStats, total
from odelet.numerics.backend import NumpyArray
from odelet.status import Status

# Solves a driven solve with the values and settings of a call, and adds its solution to the values.
Driver = Callable[
    [DriveSolve, dict[str, NumpyArray], dict[str, NumpyArray], Request], tuple[SolveStats, SolveObserver | None]
]


class Fallback:
    """The second program of an artifact, whose solves have error control. drive: solves one of its driven solves."""

    def __init__(self, card: Card, program: tuple[Block | DriveSolve, ...], drive: Driver) -> None:
        assert card.fallback is not None
        axis = card.fallback.axis
        self._card, self._program, self._drive = card, program, drive
        self._inputs, self._outputs = sample_axes(card)
        self._whole = axis is None
        self._ratios = [solve.report["error_ratio"] for solve in card.solves if "error_ratio" in solve.report]

    def solve_again(
        self, values: dict[str, NumpyArray], settings: dict[str, NumpyArray], request: Request
    ) -> dict[int, SolveStats]:
        """Solve the samples again whose error ratio in any solve is above 1, and replace their rows in the outputs.

        values: of the call, by name; its outputs are replaced by copies first. Returns what all solves did, by index,
        or nothing if no sample had to be solved again. The status of a solve is then that of the first sample that
        failed again; such a sample keeps its bounded answer. After the deadline, or where the caller
        ends the call, no further sample is begun.
        """
        wrong = np.zeros(1, np.bool_)
        for name in self._ratios:
            ratios = values[name]
            if ratios.ndim != 1 or (len(ratios) != len(wrong) and 1 not in (len(ratios), len(wrong))):
                raise ArtifactError(f"the report {name!r} has the shape {ratios.shape}, which does not fit the others")
            wrong = wrong | ~(ratios <= 1)
        if not wrong.any():
            return {}
        stats = {solve.index: reported_stats(solve, values) for solve in self._card.solves}
        if any(one.status is Status.BAD_TIMES for one in stats.values()):
            return {}
        for name in self._outputs:
            values[name] = values[name].copy()
        again: list[tuple[int, list[SolveStats]]] = []
        late: Status | None = None
        for sample in np.flatnonzero(wrong).tolist():
            if late is not None:
                again.append((sample, self._unsolved(late, steps=0)))
                continue
            if request.limits.watch is not None and len(wrong) > 1:
                request.limits.watch.resolve(sample)
            rows = None if self._whole else self._rows(values, wrong, sample)
            second = self._again(values, rows, settings, request)
            again.append((sample, second))
            early = (Status.DEADLINE, Status.CANCELLED)
            late = next((one.status for one in second if one.status in early), None)
        return {index: _with_second(one, again) for index, one in stats.items()}

    def _rows(self, values: Mapping[str, NumpyArray], wrong: NumpyArray, sample: int) -> list[int]:
        """The rows of a sample; all rows if the whole batch has one error ratio."""
        name, place = next((name, place) for name, place in self._inputs.items() if place is not None)
        count = values[name].shape[place]
        if len(wrong) == 1:
            return list(range(count))
        if len(wrong) != count:
            raise ArtifactError(f"the graph reports {len(wrong)} error ratios for {count} samples; export it again")
        return [sample]

    def _again(
        self, values: dict[str, NumpyArray], rows: list[int] | None, settings: dict[str, NumpyArray], request: Request
    ) -> list[SolveStats]:
        """Run the program on these rows of the batch, or on the whole batch if None, and replace their outputs.

        Returns what its solves did, up to the first that failed, after which nothing is replaced.
        """
        sample_values = {name: _rows_of(values[name], place, rows) for name, place in self._inputs.items()}
        second: list[SolveStats] = []
        try:
            for step in self._program:
                if not isinstance(step, DriveSolve):
                    sample_values |= step(sample_values, settings)
                    continue
                stats, _ = self._drive(step, sample_values, settings, request)
                second.append(stats)
                if stats.status is not Status.OK:
                    return second
        except EndedError:
            return self._unsolved(Status.DEADLINE, steps=None)
        for name, place in self._outputs.items():
            array = sample_values[name]
            if rows is None or place is None:
                values[name] = array
                continue
            shape = (*values[name].shape[:place], len(rows), *values[name].shape[place + 1 :])
            if array.shape != shape:
                raise ArtifactError(
                    f"the fallback makes the output {name!r} of shape {array.shape} for {len(rows)} samples; expected "
                    f"{shape}: export the model again"
                )
            values[name][(slice(None),) * place + (rows,)] = array
        return second

    def _unsolved(self, status: Status, *, steps: int | None) -> list[SolveStats]:
        """What the solves did for a sample that the deadline or the caller kept from being solved again. steps: 0, or
        None if nobody counted those that were taken."""
        assert self._card.fallback is not None
        outcome = SolveOutcome(status=status, time=None, steps=steps, accepted=steps, evaluations=steps)
        return [SolveStats.of(solve, outcome) for solve in self._card.fallback.solves]


def sample_axes(card: Card) -> tuple[dict[str, int | None], dict[str, int | None]]:
    """The place of the axis of samples in each input and output, by name; None for an array without it.

    Raises ArtifactError for a card whose samples cannot be solved alone.
    """
    assert card.fallback is not None
    axis = card.fallback.axis
    inputs, outputs = ({x.name: _axis(x, axis) for x in tensors} for tensors in (card.inputs, card.outputs))
    shared = [name for name, place in outputs.items() if place is None]
    if axis is not None and (shared or set(inputs.values()) == {None}):
        wrong = f"the output {shared[0]!r}" if shared else "the inputs"
        raise ArtifactError(f"card: samples ({axis}) cannot be taken alone, as {wrong} has no such axis")
    return inputs, outputs


def _axis(tensor: Tensor, axis: str | None) -> int | None:
    """The place of the axis of samples in an array. Raises ArtifactError if it is only a factor of an axis, or twice
    there."""
    if axis is None:
        return None
    places = [place for place, size in enumerate(tensor.shape) if axis in re.findall(r"\w+", str(size))]
    if len(places) > 1 or any(tensor.shape[place] != axis for place in places):
        raise ArtifactError(f"card: samples ({axis}) cannot be taken alone of {tensor.name!r} {tensor}")
    return places[0] if places else None


def _rows_of(array: NumpyArray, place: int | None, rows: list[int] | None) -> NumpyArray:
    return array if rows is None or place is None else np.ascontiguousarray(np.take(array, rows, axis=place))


def _with_second(stats: SolveStats, again: list[tuple[int, list[SolveStats]]]) -> SolveStats:
    """What a solve did, with what solving samples again took added. again: each sample, with what the solves of the
    second program did for it."""
    second = [one for _, solves in again for one in solves if one.index == stats.index]
    failed = [one.status for one in second if one.status is not Status.OK]
    resolved = tuple(sample for sample, solves in again if all(one.status is Status.OK for one in solves))
    in_tolerance = stats.error_ratio is not None and len(resolved) == len(again)
    every = (stats, *second)
    return replace(
        stats,
        status=failed[0] if failed else Status.OK if in_tolerance else stats.status,
        resolved=resolved,
        steps=total(one.steps for one in every),
        accepted=total(one.accepted for one in every),
        rejected=total(one.rejected for one in every),
        evaluations=total(one.evaluations for one in every),
    )
