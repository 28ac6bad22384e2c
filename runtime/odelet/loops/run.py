"""The result of a loop: the states at the output times, the status of the solve, and its counts of steps.

A state inside a loop is a row (1, n); the shapes of its parts come back only in what the caller gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from odelet.loops.stats import SolveOutcome
from odelet.numerics.backend import NumpyArray


@dataclass(frozen=True, kw_only=True)
class SolveRun(SolveOutcome):
    """The result of a solve, as its loop returns it.

    rows: the state at each output time, (times, n), NaN at times not reached. event_time: the time of the event
    that ends the solve, NaN if none was found, or None for a solve that ends at its last output time.
    """

    rows: NumpyArray
    event_time: float | None = None


def rows_from(y0: NumpyArray, count: int) -> NumpyArray:
    """The rows (count, n) of a solve that begins: the first is y0 (1, n), the others are NaN until they are reached."""
    rows = np.full((count, y0.size), np.nan, y0.dtype)
    rows[0] = y0[0]
    return rows


def solution_arrays(rows: NumpyArray, shapes: Sequence[tuple[int, ...]]) -> list[NumpyArray]:
    """Split rows (times, n) into one array (times, *shape) for each part of the state."""
    ends = np.cumsum([prod(shape) for shape in shapes])[:-1]
    return [part.reshape(len(rows), *shape) for part, shape in zip(np.split(rows, ends, axis=1), shapes, strict=True)]
