"""Samples whose error estimate is above the tolerance, solved again with error control.

The law here: what is replaced is exactly the rows of those samples; each is solved alone, so that its answer depends
on no other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from odelet.artifact.card import Card, Tensor
from odelet.engine.problem import Request
from odelet.engine.program import DriveSolve, RunGraph
from odelet.engine.reports import reported_stats
from odelet.errors import ArtifactError
from odelet.loops.stats import SolveStats
from odelet.numerics.backend import NumpyArray
from odelet.status import Status

Driver = Callable[[DriveSolve, dict[str, NumpyArray], dict[str, NumpyArray], Request], tuple[SolveStats, Any]]


class Fallback:
    """The second program of an artifact. drive: solves one of its driven solves, and adds what that gives."""

    def __init__(self, card: Card, program: tuple[RunGraph | DriveSolve, ...], drive: Driver) -> None:
        assert card.fallback is not None
        axis = card.fallback.axis
        self._card, self._program, self._drive = card, program, drive
        self._inputs, self._outputs = sample_axes(card)
        self._whole = axis is None
        self._ratios = [solve.report["error_ratio"] for solve in card.solves if "error_ratio" in solve.report]

    def mend(
        self, values: dict[str, NumpyArray], settings: dict[str, NumpyArray], request: Request
    ) -> dict[int, SolveStats]:
        """Solve again what must be, and put its outputs in their place; returns what all solves did, by index, or
        nothing where all is well.

        The status of a solve is that of the first sample that fails again.
        """
        bad = np.zeros(1, np.bool_)
        for name in self._ratios:
            bad = bad | ~(values[name] <= 1)
        if not bad.any():
            return {}
        stats = {solve.index: reported_stats(solve, values) for solve in self._card.solves}
        if any(one.status is Status.BAD_TIMES for one in stats.values()):
            return {}
        for name in self._outputs:
            values[name] = values[name].copy()
        again: list[tuple[int, list[SolveStats]]] = []
        for sample in np.flatnonzero(bad).tolist():
            told = self._again(values, None if self._whole else self._rows(values, bad, sample), settings, request)
            again.append((sample, told))
        return {index: _mended(one, again) for index, one in stats.items()}

    def _rows(self, values: Mapping[str, NumpyArray], bad: NumpyArray, sample: int) -> list[int]:
        """The rows of a sample; all of them where the error estimate is one for the whole batch."""
        if len(bad) > 1:
            return [sample]
        name, place = next((name, place) for name, place in self._inputs.items() if place is not None)
        return list(range(values[name].shape[place]))

    def _again(
        self, values: dict[str, NumpyArray], rows: list[int] | None, settings: dict[str, NumpyArray], request: Request
    ) -> list[SolveStats]:
        """Run the program on some rows, or on all as it is, and keep what it gives."""
        own = {name: _taken(values[name], place, rows) for name, place in self._inputs.items()}
        told: list[SolveStats] = []
        for step in self._program:
            if isinstance(step, RunGraph):
                own |= step(own, settings)
                continue
            stats, _ = self._drive(step, own, settings, request)
            told.append(stats)
            if stats.status is not Status.OK:
                return told
        for name, place in self._outputs.items():
            if rows is None or place is None:
                values[name] = own[name]
            else:
                values[name][(slice(None),) * place + (rows,)] = own[name]
        return told


def sample_axes(card: Card) -> tuple[dict[str, int | None], dict[str, int | None]]:
    """The places of the samples' axis in the inputs and outputs. Raises ArtifactError where samples cannot be taken
    alone."""
    assert card.fallback is not None
    axis = card.fallback.axis
    inputs, outputs = ({x.name: _axis(x, axis) for x in tensors} for tensors in (card.inputs, card.outputs))
    shared = [name for name, place in outputs.items() if place is None]
    if axis is not None and (shared or set(inputs.values()) == {None}):
        wrong = f"the output {shared[0]!r}" if shared else "the inputs"
        raise ArtifactError(f"card: samples ({axis}) cannot be taken alone, as {wrong} has no such axis")
    return inputs, outputs


def _axis(tensor: Tensor, axis: str | None) -> int | None:
    """The place of the samples' axis in an array. Raises ArtifactError where it is no axis by itself."""
    if axis is None:
        return None
    own = [place for place, size in enumerate(tensor.shape) if axis in re.findall(r"\w+", str(size))]
    if len(own) > 1 or any(tensor.shape[place] != axis for place in own):
        raise ArtifactError(f"card: samples ({axis}) cannot be taken alone of {tensor.name!r} {tensor}")
    return own[0] if own else None


def _taken(array: NumpyArray, place: int | None, rows: list[int] | None) -> NumpyArray:
    return array if rows is None or place is None else np.ascontiguousarray(np.take(array, rows, axis=place))


def _mended(stats: SolveStats, again: list[tuple[int, list[SolveStats]]]) -> SolveStats:
    """What a solve did, with what was done again added to it."""
    own = [one for _, told in again for one in told if one.index == stats.index]
    failed = [one.status for one in own if one.status is not Status.OK]
    done = tuple(sample for sample, told in again if all(one.status is Status.OK for one in told))
    counts: dict[str, Any] = {}
    for name in ("steps", "accepted", "rejected", "evaluations"):
        known = [getattr(one, name) for one in (stats, *own)]
        counts[name] = None if None in known else sum(known)
    mended = stats.error_ratio is not None and len(done) == len(again)
    status = failed[0] if failed else Status.OK if mended else stats.status
    return replace(stats, status=status, resolved=done, **counts)
