"""Solving a field given as a Python function on numpy arrays: the driver with no model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from time import perf_counter
from typing import Any

import numpy as np

from odelet.attempt import Attempt, attempt, first_length, first_slope, slope_after_jump
from odelet.backend import NUMPY
from odelet.control import Control
from odelet.drive import (
    DEFAULT_MAX_STEPS,
    AdaptiveSolve,
    Array,
    Limits,
    Points,
    Run,
    direction_of,
    integrate_adaptive,
    integrate_fixed,
    solution_arrays,
)
from odelet.errors import InputError
from odelet.events import Event
from odelet.grid import Grid
from odelet.rk import Field, erk_step
from odelet.solution import Solution, SolveStats, Stats
from odelet.state import Layout, Tolerance
from odelet.tableau import TABLEAUS, Tableau
from odelet.trajectory import Ends
from odelet.watch import Watched

NORMS: dict[str, Callable[[list[Array]], Array] | None] = {
    "rms": None,
    "max": lambda parts: max(abs(part).max(initial=0) for part in parts),
}


class AdaptiveArrays:
    """Steps of an adaptive method on numpy arrays."""

    def __init__(
        self,
        field: Field,
        tableau: Tableau,
        y0: Array,
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
        self._k: Array | None = None
        self._try: Attempt | None = None
        self._t1: Any = None
        self._ends: Ends | None = None

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
        y1, k1, mid, _ = self._try
        self._ends = Ends(self._y, y1, mid, self._k, k1)
        self._y, self._k = y1, k1
        if jump is not None:
            with np.errstate(all="ignore"):
                self._k = slope_after_jump(self._field, self._time(jump), y1, direction=self._direction, xp=NUMPY)

    def restart(self, t: float, y: Array) -> None:
        self._y = y
        self.begin(t)

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
    rtol: Any = 1e-7,
    atol: Any = 1e-9,
    options: Mapping[str, Any] | None = None,
    max_steps: int = DEFAULT_MAX_STEPS,
    max_evals: int | None = None,
    deadline: float | None = None,
    events: Sequence[Event] = (),
    dense: bool = False,
) -> Solution:
    """Solve dy/dt = field(t, y), y(t[0]) = y0, as `torchdiffeq.odeint` would, with numpy alone.

    field: called with t, a scalar in the dtype of y0, and y, shaped like y0; returns the slope, shaped alike.
    y0: a float32 or float64 array, or a tuple of them with one dtype. t: (times,), strictly monotone. rtol,
    atol: a number, or one for each part of a tuple. options: settings of `Control` for an adaptive method
    (first_step, min_step, max_step, safety, ifactor, dfactor, max_num_steps, dtype, controller), with step_t,
    jump_t (1-D times) and norm ("rms", "max", or a function of what the field takes, to a number); step_size
    for a fixed-step one. max_steps, max_evals, deadline: give up after so many attempted steps, calls of the
    field, or seconds.

    events: looked for between the accepted steps of an adaptive method; after a terminal one the outputs are NaN
    and the status is EVENT. dense: keep the steps, for `solution.at(t)`.

    Returns a Solution whose outputs are `y` (times, *shape), or `y_0`, `y_1`, ... for a tuple. Raises
    InputError for arguments that cannot work; a solve that fails is a status.
    """
    limits = limits_of(max_steps, max_evals, deadline)
    parts, names = _state(y0)
    single = not isinstance(y0, tuple)
    times = np.asarray(t)
    times = times if times.dtype == np.float32 else times.astype(np.float64)
    tableau = TABLEAUS.get(method)
    if tableau is None:
        raise InputError(f"method={method!r} is not one of {', '.join(TABLEAUS)}")
    direction = direction_of(times)
    plain = Layout.of(parts)
    watched: Watched | None = None
    if events or dense:
        watched = Watched.of(events, plain, times, plain.pack(parts, xp=NUMPY), single=single)
    if tableau.adaptive:
        run = _adaptive(
            field,
            tableau,
            parts,
            times,
            options=dict(options or {}),
            rtol=rtol,
            atol=atol,
            limits=limits,
            single=single,
            watched=watched,
        )
    else:
        if watched is not None:
            raise InputError(f"events and dense are for adaptive methods; {method!r} takes fixed steps, use 'dopri5'")
        layout = Layout.of(parts)
        row = layout.pack(parts, xp=NUMPY)
        grid = settings(Grid, options, method).points(times, direction=direction, xp=NUMPY)
        steps = FixedArrays(_row_field(field, layout, single=single), tableau, row)
        run = integrate_fixed(steps, row, times, grid, direction=direction)
    outputs = dict(zip(names, solution_arrays(run.rows, [part.shape for part in parts]), strict=True))
    start, per_step = evaluations(tableau, options)
    stats = SolveStats(
        index=0,
        method=method,
        form="driven",
        steps=run.steps,
        accepted=run.accepted,
        rejected=run.steps - run.accepted,
        evaluations=start + per_step * run.steps if run.evaluations is None else run.evaluations,
        status=run.status,
        time=run.time,
    )
    if watched is None:
        return Solution(outputs, Stats((stats,)), run.status)
    kept = {0: watched.trajectory} if dense else {}
    return Solution(outputs, Stats((stats,)), run.status, watched.watch.occurrences(), kept)


def _adaptive(
    field: Callable[..., Any],
    tableau: Tableau,
    parts: list[Array],
    t: Array,
    *,
    options: dict[str, Any],
    rtol: Any,
    atol: Any,
    limits: Limits,
    single: bool,
    watched: Watched | None,
) -> Run:
    direction = direction_of(t)
    measure = _measure(options.pop("norm", "rms"), single=single)
    points = Points(**{name: _points(name, options.pop(name, ())) for name in ("step_t", "jump_t")})
    control: Control = settings(Control, options, tableau.name, more=("norm", "step_t", "jump_t"))
    dtype = np.promote_types(control.dtype, parts[0].dtype)
    layout = Layout.of(parts, measure)
    row = layout.pack(parts, xp=NUMPY)
    stepper = AdaptiveArrays(
        _row_field(field, layout, single=single),
        tableau,
        row,
        rtol=tolerance("rtol", rtol, len(parts), dtype.type),
        atol=tolerance("atol", atol, len(parts), dtype.type),
        layout=layout,
        direction=direction,
        dtype=dtype.name,
    )
    begin: Callable[[], AdaptiveSolve] = lambda: AdaptiveSolve(  # noqa: E731
        stepper,
        float(t[0]),
        direction=direction,
        order=tableau.order,
        stages=tableau.stages,
        control=replace(control, dtype=dtype.name),
        limits=limits,
        points=points,
    )
    return integrate_adaptive(begin, row, t) if watched is None else watched.integrate(begin, row, t)


def limits_of(max_steps: int, max_evals: int | None, deadline: float | None) -> Limits:
    """The limits of a call that begins now. Raises InputError for those that are not positive."""
    for name, value in (("max_steps", max_steps), ("max_evals", max_evals), ("deadline", deadline)):
        if value is not None and not 0 < value < float("inf"):
            raise InputError(f"{name}={value!r} must be positive and finite")
    ends = None if deadline is None else perf_counter() + deadline
    return Limits(max_steps=max_steps, max_evals=max_evals, deadline=ends)


def tolerance(name: str, value: Any, parts: int, number: Any) -> Tolerance:
    """A tolerance as a scalar, or a list of one for each part of the state. Raises InputError otherwise."""
    values = np.asarray(value, np.float64)
    if values.ndim > 1 or (values.ndim == 1 and len(values) != parts):
        raise InputError(f"{name} has the shape {values.shape}; give one number, or one for each of {parts} parts")
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise InputError(f"{name}={value!r} must be finite and not negative")
    return [number(x) for x in values] if values.ndim else number(values)


def _points(name: str, times: Any) -> list[float]:
    array = np.asarray(times, np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise InputError(f"options: {name} must be a 1-D array of finite times; got {times!r}")
    return array.tolist()  # type: ignore[no-any-return]


def _measure(norm: Any, *, single: bool) -> Callable[[list[Array]], Array] | None:
    """The norm of the parts of a state, from a name or a function of what the field takes."""
    if callable(norm):
        return lambda parts: np.asarray(norm(parts[0] if single else tuple(parts)))[()]
    if norm not in NORMS:
        raise InputError(f"options: norm={norm!r} is neither a function nor one of {', '.join(NORMS)}")
    return NORMS[norm]


def evaluations(tableau: Tableau, options: Mapping[str, Any] | None) -> tuple[int, int]:
    """How often a solve calls the field: at its start, and for each attempted step."""
    if not tableau.adaptive:
        return 0, tableau.stages
    return (1 if (options or {}).get("first_step") is not None else 2), tableau.stages - 1


def settings(kind: Any, options: Mapping[str, Any] | None, method: str, *, more: Sequence[str] = ()) -> Any:
    """A Control or a Grid from an options dict. Raises InputError naming what it does not know.

    more: options that the caller has taken out, known as well.
    """
    given = dict(options or {})
    known = {field.name for field in fields(kind)}
    unknown = sorted(given.keys() - known)
    if unknown:
        listed = ", ".join(sorted({*known, *more}))
        raise InputError(f"options {', '.join(unknown)} are not known for method {method!r}; known are {listed}")
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
