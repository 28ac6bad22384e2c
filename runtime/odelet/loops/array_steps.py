"""Steps on numpy arrays, of a field that is a Python function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from odelet.errors import InputError
from odelet.loops.trajectory import StepEnds
from odelet.numerics.adaptive_step import Attempt, attempt, first_length, first_slope, slope_after_jump
from odelet.numerics.backend import NUMPY, NumpyArray
from odelet.numerics.rk import Field
from odelet.numerics.state import Layout, Tolerance
from odelet.numerics.tableau import Tableau


class ArrayAdaptiveStepper:
    """Steps of an adaptive method on numpy arrays."""

    def __init__(
        self,
        field: Field,
        tableau: Tableau,
        y0: NumpyArray,
        *,
        rtol: Tolerance,
        atol: Tolerance,
        layout: Layout,
        direction: float,
        dtype: str,
    ) -> None:
        self._field, self._tableau, self._y = field, tableau, y0
        self._time = np.dtype(dtype).type
        self._direction = direction
        self._common: dict[str, Any] = {"rtol": rtol, "atol": atol, "layout": layout, "direction": direction}
        self._k: NumpyArray | None = None
        self._try: Attempt | None = None
        self._t1: Any = None
        self._ends: StepEnds | None = None

    def begin(self, t: float) -> None:
        with np.errstate(all="ignore"):
            self._k = first_slope(self._field, self._time(t), self._y, xp=NUMPY)

    def first_length(self, t: float) -> float:
        order = self._tableau.order
        with np.errstate(all="ignore"):
            h = first_length(self._field, self._time(t), self._y, self._k, order=order, **self._common, xp=NUMPY)
        return float(h)

    def attempt(self, t: float, t1: float, h: float) -> float:
        t, t1, h = (self._time(x) for x in (t, t1, h))
        with np.errstate(all="ignore"):
            self._try = attempt(self._field, self._tableau, t, t1, h, self._y, self._k, xp=NUMPY, **self._common)
        return float(self._try.ratio)

    def accept(self, jump: float | None) -> None:
        assert self._try is not None
        y1, k1 = self._try.y1, self._try.k1
        self._ends = StepEnds(self._y, y1, self._try.mid, self._k, k1)
        self._y, self._k = y1, k1
        if jump is not None:
            with np.errstate(all="ignore"):
                self._k = slope_after_jump(self._field, self._time(jump), y1, direction=self._direction, xp=NUMPY)

    def restart(self, t: float, y: NumpyArray) -> None:
        self._y = y
        self.begin(t)

    def ends(self) -> StepEnds:
        assert self._ends is not None
        return self._ends


def row_field(
    field: Callable[..., Any], layout: Layout, *, single: bool, time: Callable[[Any, Any], Any] | None = None
) -> Field:
    """The field on rows (1, n); time: how it gets its time, of a time and a dtype.

    Raises InputError when the slope's shape is not the state's.
    """

    def on_row(t: Any, row: Any) -> Any:
        parts = layout.unpack(row, xp=NUMPY)
        now = row.dtype.type(t) if time is None else time(t, row.dtype)
        slope = field(now, parts[0] if single else tuple(parts))
        slopes: Sequence[Any] = (slope,) if single else slope
        arrays = [np.asarray(part, row.dtype) for part in slopes]
        shapes = [array.shape for array in arrays]
        if shapes != list(layout.shapes):
            raise InputError(f"field returned slopes of shapes {shapes} for a state of shapes {list(layout.shapes)}")
        return layout.pack(arrays, xp=NUMPY)

    return on_row
