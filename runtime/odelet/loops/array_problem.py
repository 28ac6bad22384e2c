"""Reads the arguments of `odeint` as the problem that a loop solves, with steps on numpy arrays.

The law here: whatever the arguments leave open is settled here, or refused; no step is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from odelet.errors import InputError
from odelet.loops.adaptive import Points, direction_of
from odelet.loops.array_steps import ArraySteppers, row_field
from odelet.loops.limits import Limits
from odelet.loops.options import control_from, method_and_grid, norm_of, points_of, tolerances
from odelet.loops.solve import LoopProblem
from odelet.methods.method import Method
from odelet.methods.roster import METHODS
from odelet.numerics.backend import NUMPY, NumpyArray
from odelet.numerics.rk import Field
from odelet.numerics.state import Layout, Tolerance


@dataclass(frozen=True, kw_only=True)
class ArrayCall:
    """The arguments of `odeint`, checked as far as all methods share them.

    parts: the parts of the state. single: whether the state is one array, or a tuple. t: the output times, which run in
    `direction`, 1 or -1.
    """

    field: Callable[..., Any]
    y0: Any
    parts: list[NumpyArray]
    single: bool
    t: NumpyArray
    direction: float
    method: Method
    rtol: Any
    atol: Any
    limits: Limits
    options: dict[str, Any]

    @classmethod
    def of(
        cls,
        field: Callable[..., Any],
        y0: Any,
        t: Any,
        method: str,
        *,
        rtol: Any,
        atol: Any,
        options: Mapping[str, Any] | None,
        limits: Limits,
    ) -> ArrayCall:
        """The call with these arguments. Raises InputError for a state, times or a method that cannot be."""
        parts = _parts(y0)
        times = np.asarray(t)
        times = times if times.dtype == np.float32 else times.astype(np.float64)
        if method not in METHODS:
            raise InputError(f"method={method!r} is not one of {', '.join(METHODS)}")
        return cls(
            field=field,
            y0=y0,
            parts=parts,
            single=not isinstance(y0, tuple),
            t=times,
            direction=direction_of(times),
            method=METHODS[method],
            rtol=rtol,
            atol=atol,
            limits=limits,
            options=dict(options or {}),
        )

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shapes of the parts."""
        return [part.shape for part in self.parts]

    @property
    def names(self) -> list[str]:
        """The names of the outputs."""
        return ["y"] if self.single else [f"y_{i}" for i in range(len(self.parts))]


def _parts(y0: Any) -> list[NumpyArray]:
    """The parts of a state. Raises InputError unless they are arrays of one floating dtype."""
    parts = [np.asarray(part) for part in (y0 if isinstance(y0, tuple) else (y0,))]
    dtypes = [str(part.dtype) for part in parts]
    if not parts or any(part.dtype not in (np.float32, np.float64) for part in parts):
        raise InputError(f"y0 must be a float32 or float64 array, or a tuple of them; got {dtypes}")
    if len(set(dtypes)) > 1:
        raise InputError(f"the parts of y0 must have one dtype; got {dtypes}")
    return parts


def array_problem(call: ArrayCall, *, per_sample: bool) -> tuple[LoopProblem, ArraySteppers]:
    """The problem of a call, and the maker of its steppers. Raises InputError for arguments that its method refuses."""
    if per_sample:
        return _sample_problem(call)
    return _adaptive_problem(call) if call.method.adaptive else _plain_problem(call)


def check_per_sample(call: ArrayCall, *, observed: bool) -> None:
    """Raise InputError unless the samples of a call can be solved each on its own. observed: whether events are looked
    for or steps kept."""
    if not call.method.adaptive:
        raise InputError(f"per_sample is for adaptive methods, which {call.method.name!r} is not; use 'dopri5'")
    if observed or call.options.get("norm") is not None:
        raise InputError("per_sample goes with neither events, nor dense, nor a norm of its own")
    if any(part.ndim == 0 for part in call.parts) or len({len(part) for part in call.parts}) > 1:
        raise InputError(f"per_sample needs parts with one first axis of samples; got {call.shapes}")


def _sample_problem(call: ArrayCall) -> tuple[LoopProblem, ArraySteppers]:
    layout = Layout.of(call.parts, per_sample=True)
    axes = (-1, *[1] * (call.parts[0].ndim - 1))
    on_rows = row_field(call.field, layout, single=call.single, time=lambda t, dtype: t.astype(dtype).reshape(axes))
    return _controlled(call, call.options, layout, on_rows, taken_out=())


def _adaptive_problem(call: ArrayCall) -> tuple[LoopProblem, ArraySteppers]:
    options = dict(call.options)
    layout = Layout.of(call.parts, user_norm=norm_of(options.pop("norm", "rms"), single=call.single))
    return _controlled(call, options, layout, row_field(call.field, layout, single=call.single), taken_out=("norm",))


def _controlled(
    call: ArrayCall, options: dict[str, Any], layout: Layout, on_rows: Field, *, taken_out: tuple[str, ...]
) -> tuple[LoopProblem, ArraySteppers]:
    """The problem of a solve with error control, and the maker of its steppers. taken_out: options that the caller has
    read already, so that messages list them as known."""
    points = {name: points_of(name, options.get(name, ())) for name in ("step_t", "jump_t")}
    rest = {name: value for name, value in options.items() if name not in points}
    control = control_from(rest, call.method.name, taken_out=(*taken_out, *points))
    dtype = np.promote_types(control.dtype, call.parts[0].dtype)
    bounds = tolerances(call.rtol, call.atol, len(call.parts), dtype.type)
    problem = _problem(call, call.method, layout, on_rows, bounds)
    return replace(problem, control=replace(control, dtype=dtype.name), points=Points(**points)), ArraySteppers(on_rows)


def _plain_problem(call: ArrayCall) -> tuple[LoopProblem, ArraySteppers]:
    """The problem of a fixed-step method or of SciPy's solver, and the maker of its steppers."""
    layout = Layout.of(call.parts)
    on_rows = row_field(call.field, layout, single=call.single)
    construct = call.options.get("grid_constructor") if call.method.fixed else None
    constructed = None if construct is None else np.asarray(construct(call.field, call.y0, call.t))
    method, grid = method_and_grid(call.method, call.options)
    bounds = tolerances(call.rtol, call.atol, 1, float)
    if any(isinstance(bound, list) for bound in bounds):
        raise InputError(f"{method.name} takes one number for rtol and for atol; got {(call.rtol, call.atol)}")
    problem = _problem(call, method, layout, on_rows, bounds)
    return replace(problem, grid=grid, constructed=constructed), ArraySteppers(on_rows)


def _problem(
    call: ArrayCall, method: Method, layout: Layout, on_rows: Field, bounds: tuple[Tolerance, Tolerance]
) -> LoopProblem:
    """The problem of a call, with the fields that all kinds of methods have. bounds: rtol and atol."""
    return LoopProblem(
        method=method,
        row=layout.pack(call.parts, xp=NUMPY),
        layout=layout,
        t=call.t,
        direction=call.direction,
        slope=on_rows,
        limits=call.limits,
        rtol=bounds[0],
        atol=bounds[1],
    )
