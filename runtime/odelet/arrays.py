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
    solution_arrays,
    solve_adaptive,
)
from odelet.errors import InputError
from odelet.grid import Grid, fits
from odelet.march import ArrayWalker, March, Walker, march
from odelet.method import Method, Terms
from odelet.methods import METHODS
from odelet.rk import Field
from odelet.scipy_solver import SciPy, Solved, solve_scipy
from odelet.solution import Solution, SolveStats, Stats
from odelet.state import Layout
from odelet.tableau import Tableau


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
    dfactor, max_num_steps), of `Grid` for a fixed-step one (step_size, interp, perturb, and grid_constructor, a
    function of field, y0 and t that returns the grid), max_order and max_iters of the methods that have them, and
    solver, min_step and max_step of `scipy_solver`. Returns a Solution whose outputs are `y` (times, *shape), or
    `y_0`, `y_1`, ... for a tuple. Raises InputError for arguments that cannot work; a solve that fails is a status,
    and a RuntimeWarning tells of steps whose iteration did not converge.
    """
    parts, names = _state(y0)
    times = np.asarray(t)
    times = times if times.dtype == np.float32 else times.astype(np.float64)
    chosen = METHODS.get(method)
    if chosen is None:
        raise InputError(f"method={method!r} is not one of {', '.join(METHODS)}")
    direction = direction_of(times)
    layout = Layout.of(parts)
    row_field = _row_field(field, layout, single=not isinstance(y0, tuple))
    row = layout.pack(parts, xp=NUMPY)
    unconverged = None
    steps: int | None
    if chosen.adaptive:
        tableau = chosen.tableau  # type: ignore[attr-defined]
        control = settings(Control, options, method)
        run = _adaptive(row_field, tableau, row, times, direction, layout, control, rtol, atol, max_steps)
        start, per_step = evaluations(tableau, options)
        done: Run | March | Solved = run
        steps, accepted, called = run.steps, run.accepted, start + per_step * run.steps
    elif chosen.fixed:
        construct = dict(options or {}).get("grid_constructor")
        given = None if construct is None else np.asarray(construct(field, y0, times))
        own, grid = configured(chosen, options)
        terms = Terms(direction=direction, perturb=grid.perturb, rtol=rtol, atol=atol)
        walker = ArrayWalker(row_field, own, row, terms)
        marched = march_along(walker, row_field, own, grid, row, times, direction, given)
        done, steps, accepted = marched, marched.steps, marched.steps
        called, unconverged = marched.evaluations, marched.unconverged
    else:
        own, _ = configured(chosen, options)
        assert isinstance(own, SciPy)
        done = solved = solve_scipy(row_field, own, row, times, direction=direction, rtol=rtol, atol=atol)
        steps, accepted, called = None, None, solved.evaluations
    outputs = dict(zip(names, solution_arrays(done.rows, layout.shapes), strict=True))
    stats = SolveStats(
        index=0,
        method=method,
        form="driven",
        steps=steps,
        accepted=accepted,
        rejected=None if steps is None or accepted is None else steps - accepted,
        evaluations=called,
        status=done.status,
        time=done.time,
        unconverged=unconverged,
    )
    stats.warn_unconverged()
    return Solution(outputs, Stats((stats,)), done.status)


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


def march_along(
    walker: Walker,
    field: Field,
    method: Method,
    grid: Grid,
    row: Array,
    t: Array,
    direction: float,
    given: Array | None,
) -> March:
    """March along the grid of a solve. given: the grid, where it is constructed; InputError when it does not fit."""
    sign = t.dtype.type(direction)
    if given is not None:
        strict = method.remembers
        good = given.ndim == 1 and given.size > 0 and given.dtype == t.dtype
        if not good or not fits(given, t, direction=sign, strict=strict, xp=NUMPY):
            order = "strictly monotone" if strict else "monotone"
            raise InputError(
                f"grid_constructor returned {given.dtype} {given}; it must be a 1-D {t.dtype} grid, {order}, that "
                f"starts at t[0]={t[0]!r} and ends at t[-1]={t[-1]!r}"
            )
    points = grid.points(t, direction=sign, xp=NUMPY, given=given)
    return march(walker, field, method, row, t, points, grid=grid, direction=direction)


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


def configured(method: Method, options: Mapping[str, Any] | None) -> tuple[Any, Grid]:
    """A method that is not adaptive with its own options set, and the grid that the others make.

    Raises InputError naming what it does not know. A grid_constructor only says that there is a grid.
    """
    given = dict(options or {})
    names = method.option_names()
    own = {name: given.pop(name) for name in names if name in given}
    if method.fixed and given.pop("grid_constructor", None) is not None:
        given["constructed"] = True
    known = {field.name for field in fields(Grid)} if method.fixed else set()
    unknown = sorted(given.keys() - known)
    if unknown:
        listed = ", ".join(sorted((known - {"constructed"}) | set(names) | ({"grid_constructor"} if known else set())))
        raise InputError(f"options {', '.join(unknown)} are not known for method {method.name!r}; known are {listed}")
    try:
        return method.having(**own), Grid(**given)
    except (ValueError, TypeError) as error:
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
