"""From the arguments of `odeint` to the problem that a loop solves, with steps on numpy arrays.

The law here: whatever the arguments leave open is settled here, or refused; no step is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from odelet.errors import InputError
from odelet.loops.adaptive import Limits, Points
from odelet.loops.array_steps import ArrayAdaptiveStepper, ArrayFixedStepper, ArraySampleStepper, row_field
from odelet.loops.options import measure_of, method_and_grid, points_of, settings_from, tolerances
from odelet.loops.solve import LoopProblem
from odelet.methods.explicit_rk import ExplicitRK
from odelet.methods.method import Method, Terms
from odelet.numerics.backend import NUMPY, NumpyArray
from odelet.numerics.control import Control
from odelet.numerics.rk import Field
from odelet.numerics.state import Layout
from odelet.numerics.tableau import Tableau


@dataclass(frozen=True, kw_only=True)
class ArrayCall:
    """The arguments of `odeint`, checked as far as all methods share them.

    parts: of the state. single: whether the state is one array, or a tuple. t: output times, which run in `direction`,
    1 or -1.
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
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shapes of the parts."""
        return [part.shape for part in self.parts]

    @property
    def names(self) -> list[str]:
        """The names of the outputs."""
        return ["y"] if self.single else [f"y_{i}" for i in range(len(self.parts))]


@dataclass(frozen=True)
class ArraySteppers:
    """Makes steppers on numpy arrays. field: on rows (1, n)."""

    field: Field

    def adaptive(self, problem: LoopProblem) -> ArrayAdaptiveStepper:
        assert problem.control is not None
        return ArrayAdaptiveStepper(
            self.field,
            _tableau(problem),
            problem.row,
            rtol=problem.rtol,
            atol=problem.atol,
            layout=problem.layout,
            direction=problem.direction,
            dtype=problem.control.dtype,
        )

    def per_sample(self, problem: LoopProblem) -> ArraySampleStepper:
        return ArraySampleStepper(
            self.field,
            _tableau(problem),
            problem.row,
            rtol=problem.rtol,
            atol=problem.atol,
            layout=problem.layout,
            direction=problem.direction,
        )

    def fixed(self, problem: LoopProblem) -> ArrayFixedStepper:
        assert problem.grid is not None
        rtol, atol = float(problem.rtol), float(problem.atol)
        terms = Terms(direction=problem.direction, perturb=problem.grid.perturb, rtol=rtol, atol=atol)
        return ArrayFixedStepper(self.field, problem.method, problem.row, terms)


def _tableau(problem: LoopProblem) -> Tableau:
    assert isinstance(problem.method, ExplicitRK), "only explicit Runge-Kutta methods are adaptive"
    return problem.method.tableau


def array_problem(call: ArrayCall, *, per_sample: bool) -> tuple[LoopProblem, ArraySteppers]:
    """The problem of a call, and what takes its steps. Raises InputError for arguments that its method cannot take."""
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
    return _controlled(call, call.options, layout, on_rows, named=())


def _adaptive_problem(call: ArrayCall) -> tuple[LoopProblem, ArraySteppers]:
    options = dict(call.options)
    layout = Layout.of(call.parts, measure_of(options.pop("norm", "rms"), single=call.single))
    return _controlled(call, options, layout, row_field(call.field, layout, single=call.single), named=("norm",))


def _controlled(
    call: ArrayCall, options: dict[str, Any], layout: Layout, on_rows: Field, *, named: tuple[str, ...]
) -> tuple[LoopProblem, ArraySteppers]:
    """The problem of a solve with error control. named: options that were taken out, for messages to name them."""
    given = {name: points_of(name, options.get(name, ())) for name in ("step_t", "jump_t")}
    rest = {name: value for name, value in options.items() if name not in given}
    control: Control = settings_from(Control, rest, call.method.name, more=(*named, *given))
    dtype = np.promote_types(control.dtype, call.parts[0].dtype)
    rtol, atol = tolerances(call.rtol, call.atol, len(call.parts), dtype.type)
    problem = LoopProblem(
        method=call.method,
        row=layout.pack(call.parts, xp=NUMPY),
        layout=layout,
        t=call.t,
        direction=call.direction,
        slope=on_rows,
        limits=call.limits,
        rtol=rtol,
        atol=atol,
        control=replace(control, dtype=dtype.name),
        points=Points(**given),
    )
    return problem, ArraySteppers(on_rows)


def _plain_problem(call: ArrayCall) -> tuple[LoopProblem, ArraySteppers]:
    """The problem of a fixed-step method or of SciPy's."""
    layout = Layout.of(call.parts)
    on_rows = row_field(call.field, layout, single=call.single)
    construct = call.options.get("grid_constructor") if call.method.fixed else None
    constructed = None if construct is None else np.asarray(construct(call.field, call.y0, call.t))
    method, grid = method_and_grid(call.method, call.options)
    rtol, atol = tolerances(call.rtol, call.atol, 1, float)
    if isinstance(rtol, list) or isinstance(atol, list):
        raise InputError(f"{method.name} takes one number for rtol and for atol; got {(call.rtol, call.atol)}")
    problem = LoopProblem(
        method=method,
        row=layout.pack(call.parts, xp=NUMPY),
        layout=layout,
        t=call.t,
        direction=call.direction,
        slope=on_rows,
        limits=call.limits,
        rtol=rtol,
        atol=atol,
        grid=grid,
        constructed=constructed,
    )
    return problem, ArraySteppers(on_rows)
