"""Solving a field given as a Python function on numpy arrays: the driver with no model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from odelet.attempt import Attempt, attempt
from odelet.backend import NUMPY
from odelet.control import Control
from odelet.drive import (
    DEFAULT_MAX_STEPS,
    Array,
    Ends,
    Run,
    direction_of,
    integrate_fixed,
    solution_arrays,
    solve_adaptive,
)
from odelet.errors import InputError
from odelet.grid import Grid
from odelet.rk import Field, erk_step
from odelet.solution import Solution, SolveStats, Stats
from odelet.state import Layout
from odelet.tableau import TABLEAUS, Tableau


class AdaptiveArrays:
    """Steps of an adaptive method on numpy arrays."""

    def __init__(
        self,
        field: Field,
        tableau: Tableau,
        y0: Array,
        k0: Array,
        *,
        rtol: float,
        atol: float,
        layout: Layout,
        direction: float,
    ) -> None:
        self._field, self._tableau, self._y, self._k = field, tableau, y0, k0
        self._fixed = {"rtol": rtol, "atol": atol, "layout": layout, "direction": direction}
        self._try: Attempt | None = None
        self._ends: Ends | None = None

    def attempt(self, t: float, h: float) -> float:
        with np.errstate(all="ignore"):
            self._try = attempt(
                self._field,
                self._tableau,
                np.float64(t),
                np.float64(h),
                self._y,
                self._k,
                xp=NUMPY,
                **self._fixed,  # type: ignore[arg-type]
            )
        return float(self._try.ratio)

    def accept(self) -> None:
        assert self._try is not None
        y1, k1, mid, _ = self._try
        self._ends = Ends(self._y, y1, mid, self._k, k1)
        self._y, self._k = y1, k1

    def ends(self) -> Ends:
        assert self._ends is not None
        return self._ends


class FixedArrays:
    """Steps of a fixed-step method on numpy arrays."""

    def __init__(self, field: Field, tableau: Tableau, y0: Array) -> None:
        self._field, self._tableau, self._y, self._y1 = field, tableau, y0, y0
        self._ends: Ends | None = None

    def attempt(self, t: float, h: float) -> float:
        with np.errstate(all="ignore"):
            self._y1, _ = erk_step(self._field, self._tableau, t, h, self._y, h - t, None, xp=NUMPY)
        return 0.0

    def accept(self) -> None:
        self._ends = Ends(self._y, self._y1)
        self._y = self._y1

    def ends(self) -> Ends:
        assert self._ends is not None
        return self._ends


def odeint(
    field: Callable[..., Any],
    y0: Any,
    t: Any,
    *,
    method: str = "dopri5",
    rtol: float = 1e-7,
    atol: float = 1e-9,
    options: Mapping[str, Any] | None = None,
    max_steps: int = DEFAULT_MAX_STEPS,
) -> Solution:
    """Solve dy/dt = field(t, y), y(t[0]) = y0, as `torchdiffeq.odeint` would, with numpy alone.

    field: called with t, a scalar in the dtype of y0, and y, shaped like y0; returns the slope, shaped alike.
    y0: a float32 or float64 array, or a tuple of them with one dtype. t: (times,), strictly monotone.
    options: settings of `Control` for an adaptive method (first_step, min_step, max_step, safety, ifactor,
    dfactor, max_num_steps), step_size for a fixed-step one. Returns a Solution whose outputs are `y`
    (times, *shape), or `y_0`, `y_1`, ... for a tuple. Raises InputError for arguments that cannot work; a
    solve that fails is a status.
    """
    parts, names = _state(y0)
    times = np.asarray(t)
    times = times if times.dtype == np.float32 else times.astype(np.float64)
    tableau = TABLEAUS.get(method)
    if tableau is None:
        raise InputError(f"method={method!r} is not one of {', '.join(TABLEAUS)}")
    direction = direction_of(times)
    layout = Layout.of(parts)
    row_field = _row_field(field, layout, single=not isinstance(y0, tuple))
    row = layout.pack(parts, xp=NUMPY)
    if tableau.adaptive:
        control = settings(Control, options, method)
        run = _adaptive(row_field, tableau, row, times, direction, layout, control, rtol, atol, max_steps)
    else:
        grid = settings(Grid, options, method).points(times, direction=direction, xp=NUMPY)
        run = integrate_fixed(FixedArrays(row_field, tableau, row), row, times, grid, direction=direction)
    outputs = dict(zip(names, solution_arrays(run.rows, layout.shapes), strict=True))
    start, per_step = evaluations(tableau, options)
    stats = SolveStats(
        index=0,
        method=method,
        form="driven",
        steps=run.steps,
        accepted=run.accepted,
        rejected=run.steps - run.accepted,
        evaluations=start + per_step * run.steps,
        status=run.status,
        time=run.time,
    )
    return Solution(outputs, Stats((stats,)), run.status)


def _adaptive(
    field: Field,
    tableau: Tableau,
    y0: Array,
    t: Array,
    direction: float,
    layout: Layout,
    control: Control,
    rtol: float,
    atol: float,
    max_steps: int,
) -> Run:
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not 0 <= value < float("inf"):
            raise InputError(f"{name}={value!r} must be a number that is finite and not negative")
    common: dict[str, Any] = {"rtol": rtol, "atol": atol, "layout": layout, "direction": direction}
    return solve_adaptive(
        field,
        lambda k0: AdaptiveArrays(field, tableau, y0, k0, **common),
        y0,
        t,
        order=tableau.order,
        control=control,
        max_steps=max_steps,
        **common,
    )


def evaluations(tableau: Tableau, options: Mapping[str, Any] | None) -> tuple[int, int]:
    """How often a solve calls the field: at its start, and for each attempted step."""
    if not tableau.adaptive:
        return 0, tableau.stages
    return (1 if (options or {}).get("first_step") is not None else 2), tableau.stages - 1


def settings(kind: Any, options: Mapping[str, Any] | None, method: str) -> Any:
    """A Control or a Grid from an options dict. Raises InputError naming what it does not know."""
    given = dict(options or {})
    known = {field.name for field in fields(kind)}
    unknown = sorted(given.keys() - known)
    if unknown:
        raise InputError(
            f"options {', '.join(unknown)} are not known for method {method!r}; known are {', '.join(sorted(known))}"
        )
    try:
        return kind(**given)
    except ValueError as error:
        raise InputError(f"options: {error}") from None


def _state(y0: Any) -> tuple[list[Array], list[str]]:
    """The parts of a state and the names of its outputs."""
    single = not isinstance(y0, tuple)
    parts = [np.asarray(part) for part in ((y0,) if single else y0)]
    if not parts or any(part.dtype not in (np.float32, np.float64) for part in parts):
        raise InputError(
            f"y0 must be a float32 or float64 array, or a tuple of them; got {[str(part.dtype) for part in parts]}"
        )
    if len({part.dtype for part in parts}) > 1:
        raise InputError(f"the parts of y0 must have one dtype; got {[str(part.dtype) for part in parts]}")
    return parts, ["y"] if single else [f"y_{i}" for i in range(len(parts))]


def _row_field(field: Callable[..., Any], layout: Layout, *, single: bool) -> Field:
    """The field on rows (1, n). Raises InputError when the slope's shape is not the state's."""

    def row_field(t: Any, row: Any) -> Any:
        parts = layout.unpack(row, xp=NUMPY)
        slope = field(row.dtype.type(t), parts[0] if single else tuple(parts))
        slopes: Sequence[Any] = (slope,) if single else slope
        arrays = [np.asarray(part, row.dtype) for part in slopes]
        shapes = [array.shape for array in arrays]
        if shapes != list(layout.shapes):
            raise InputError(f"field returned slopes of shapes {shapes} for a state of shapes {list(layout.shapes)}")
        return layout.pack(arrays, xp=NUMPY)

    return row_field
