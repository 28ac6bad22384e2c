"""Adaptive steps on numpy arrays for a batch whose samples are solved each on its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from odelet.loops.trajectory import StepEnds
from odelet.numerics.adaptive_step import Attempt, attempt, first_length, first_slope, slope_after_jump
from odelet.numerics.backend import NUMPY, NumpyArray
from odelet.numerics.rk import Field
from odelet.numerics.state import Layout
from odelet.numerics.tableau import Tableau


def table_of(row: NumpyArray, layout: Layout) -> NumpyArray:
    """A row (1, n) as a table (samples, width), all parts of a sample side by side."""
    assert layout.table_shapes is not None
    parts = layout.slices(row, xp=NUMPY)
    return np.concatenate([np.reshape(p, shape) for p, shape in zip(parts, layout.table_shapes, strict=True)], axis=1)


def row_of(table: NumpyArray, layout: Layout) -> NumpyArray:
    """A table back to a row (1, n)."""
    assert layout.table_shapes is not None
    cuts = np.cumsum([shape[1] for shape in layout.table_shapes])[:-1]
    return np.concatenate([part.reshape(1, -1) for part in np.split(table, cuts, axis=1)], axis=1)


class ArraySampleStepper:
    """A SampleStepper on numpy arrays, with a field on rows; its batch cannot be cut down."""

    def __init__(
        self, field: Field, tableau: Tableau, y0: NumpyArray, *, layout: Layout, direction: float, **tolerances: Any
    ) -> None:
        self._field, self._tableau, self._layout, self._y, self._k = field, tableau, layout, y0, y0
        self._direction = direction
        self._common: dict[str, Any] = {**tolerances, "layout": layout, "direction": direction}
        self._try: Attempt | None = None

    def begin(self, t: NumpyArray) -> None:
        self._k = first_slope(self._field, t, self._y, xp=NUMPY)

    def first_length(self, t: NumpyArray) -> NumpyArray:
        order = self._tableau.order
        return np.asarray(first_length(self._field, t, self._y, self._k, order=order, **self._common, xp=NUMPY))

    def attempt(self, t: NumpyArray, t1: NumpyArray, h: NumpyArray) -> NumpyArray:
        self._try = attempt(self._field, self._tableau, t, t1, h, self._y, self._k, xp=NUMPY, **self._common)
        return np.asarray(self._try.ratio)

    def ends(self) -> StepEnds:
        assert self._try is not None
        rows = (self._y, self._try.y1, self._try.mid, self._k, self._try.k1)
        return StepEnds(*(table_of(row, self._layout) for row in rows))

    def state(self) -> NumpyArray:
        return table_of(self._y, self._layout)

    def accept(self, accepted: NumpyArray, jump: NumpyArray | None) -> None:
        assert self._try is not None
        choose = self._layout.select
        self._y = choose(accepted, self._try.y1, self._y, xp=NUMPY)
        self._k = choose(accepted, self._try.k1, self._k, xp=NUMPY)
        if jump is not None:
            jumped = ~np.isnan(jump)
            times = np.where(jumped, jump, 0.0)
            k = slope_after_jump(self._field, times, self._y, direction=self._direction, xp=NUMPY)
            self._k = choose(jumped, k, self._k, xp=NUMPY)

    def keep(self, kept: NumpyArray) -> bool:
        del kept
        return False
