"""Reads a caught call as a `SolveSpec`: the settings of the call, with the overrides of the export applied."""

from __future__ import annotations

from typing import Any

import torch

from odelet.methods.adams import Adams
from odelet.methods.method import Method
from odelet.methods.roster import METHODS
from odelet.numerics.control import Control
from odelet.numerics.grid import Grid
from odelet_export.model.overrides import Overrides
from odelet_export.model.sde_spec import sde_spec
from odelet_export.model.spec import SolveSpec
from odelet_intercept import fixed_point, installed
from odelet_intercept.call import Call
from odelet_intercept.call_options import (
    LENGTHS,
    POINTS,
    Tolerance,
    has_norm,
    is_computed,
    read_options,
    read_tolerance,
)
from odelet_intercept.errors import CaptureError
from odelet_intercept.libraries.mark_calls import mark_arguments_of
from odelet_intercept.libraries.torchsde_calls import SdeCall
from odelet_intercept.solver_library import torchdiffeq

# Functions that torchdiffeq calls on the field at its steps.
_CALLBACKS = ("callback_step", "callback_accept_step", "callback_reject_step")


def spec_of(call: Call, index: int, overrides: Overrides) -> SolveSpec:
    """The solve that a call asks for, with the overrides applied. index: the solve's number in the artifact.

    Raises CaptureError, naming file and line, for a call that cannot be exported; InputError for a bad argument of
    `mark`.
    """
    if call.entry == "mark":
        return _iteration(call, index)
    if isinstance(call, SdeCall):
        return sde_spec(call, index, overrides)
    overridden = overrides.method is not None
    solver = _method(call, overrides)
    options, warnings = read_options(call, call.where, solver, overridden=overridden)
    try:
        solver = solver.with_options(**{name: options.pop(name) for name in solver.option_names() if name in options})
        control, grid = _step_settings(solver, options, overrides)
    except ValueError as error:
        raise CaptureError(call.where + f"options: {error}") from None
    if call.event_fn is not None:
        _check_event_search(call, solver, grid)
    rtol, atol = _tolerances(call, solver, overrides)
    per_sample = overrides.per_sample and solver.adaptive
    if per_sample:
        _check_per_sample(call, overridden=overridden)
    with_norm = solver.adaptive and has_norm(call, overridden=overridden)
    return SolveSpec(
        index=index,
        call=index,
        solver=solver,
        rtol=rtol,
        atol=atol,
        control=control,
        grid=grid,
        parts=_parts(call) or 1,
        functions=(*(("event",) if call.event_fn is not None else ()), *(("norm",) if with_norm else ())),
        source=call.source,
        warnings=(*warnings, *_warnings(call, solver)),
        extras=_extras(call, solver, grid),
        per_sample=per_sample,
    )


def _iteration(call: Call, index: int) -> SolveSpec:
    """The iteration that a call of `mark` asks for, which no override changes. Raises InputError for a bad argument."""
    arguments = mark_arguments_of(call)
    return SolveSpec(
        index=index,
        call=index,
        solver=arguments.method,
        rtol=arguments.rtol,
        atol=arguments.atol,
        control=None,
        grid=None,
        parts=len(fixed_point.parts_of(call.y0, per_sample=arguments.per_sample)),
        functions=("norm",) if arguments.norm is not None else (),
        source=call.source,
        per_sample=arguments.per_sample,
        max_iters=arguments.max_iters,
    )


def _method(call: Call, overrides: Overrides) -> Method:
    """The method of the override, or else the method that the installed torchdiffeq computes under the call's name."""
    name = overrides.method or installed.name_of(call.method or "dopri5")
    if name not in METHODS:
        raise CaptureError(
            call.where + f"method {name!r} cannot be exported; use one of {', '.join(METHODS)}, "
            "or override it with --method"
        )
    return METHODS[name]


def _step_settings(solver: Method, options: dict[str, Any], overrides: Overrides) -> tuple[Control | None, Grid | None]:
    """The step size control of an adaptive method, or the grid of a fixed-step method; the other is None.

    Raises ValueError for an option that a setting cannot have.
    """
    if solver.adaptive:
        options |= {} if overrides.time_dtype is None else {"dtype": overrides.time_dtype}
        return Control(**options, controller=overrides.controller or "integral"), None
    if not solver.fixed:
        return None, None
    if overrides.steps is not None or overrides.step_size is not None:
        options = options | {"steps": overrides.steps, "step_size": overrides.step_size, "constructed": False}
    return None, Grid(**options)


def _tolerances(call: Call, solver: Method, overrides: Overrides) -> tuple[Tolerance, Tolerance]:
    """The tolerances rtol and atol, where the method uses them; atol also where a fixed-step method searches for an
    event."""
    parts = _parts(call)
    uses_both = solver.adaptive or solver.uses_tolerances
    rtol: Tolerance = None
    atol: Tolerance = None
    if uses_both:
        rtol = overrides.rtol if overrides.rtol is not None else read_tolerance("rtol", call.rtol, parts, call.where)
    if uses_both or call.event_fn is not None:
        atol = overrides.atol if overrides.atol is not None else read_tolerance("atol", call.atol, parts, call.where)
    if uses_both and not solver.adaptive and (isinstance(rtol, tuple) or isinstance(atol, tuple)):
        raise CaptureError(
            call.where
            + f"{solver.name} cannot be exported with a tolerance for each part of the state; give one number"
        )
    if call.event_fn is not None and isinstance(atol, tuple):
        raise CaptureError(call.where + "a search for an event takes one atol, as in torchdiffeq; give a number")
    return rtol, atol


def _check_event_search(call: Call, solver: Method, grid: Grid | None) -> None:
    """Raise CaptureError for a method that cannot search for an event, or whose steps have no set length."""
    computed = grid is not None and grid.constructed and is_computed((call.options or {}).get("step_size"))
    if grid is not None and grid.step_size is None and not computed:
        raise CaptureError(
            call.where + "a fixed-step method searches for an event with steps of one length; give "
            "options={'step_size': ...}, or override it with --step-size"
        )
    if not (solver.adaptive or solver.fixed):
        raise CaptureError(call.where + f"{solver.name} cannot search for an event, nor can it in torchdiffeq")


def _check_per_sample(call: Call, *, overridden: bool) -> None:
    """Raise CaptureError for a call whose batch rows cannot be solved each on its own."""
    if has_norm(call, overridden=overridden):
        raise CaptureError(
            call.where + "a norm of the whole state cannot measure each sample; leave norm or per_sample out"
        )
    if call.event_fn is not None:
        raise CaptureError(
            call.where + "a solve that ends at an event cannot be solved per sample; leave per_sample out"
        )


def _warnings(call: Call, solver: Method) -> list[str]:
    """The warnings about a solve, besides those about its options, a sentence each."""
    warnings = []
    callbacks = [name for name in _CALLBACKS if hasattr(call.func, name)]
    if callbacks:
        warnings.append(f"{call.source}: the artifact does not call the field's {', '.join(callbacks)}")
    if isinstance(solver, Adams) and not solver.remembers:
        warnings.append(f"{call.source}: max_order={solver.max_order} leaves {solver.name} no steps but those of rk4")
    if call.copy:
        warnings.append(
            f"{call.source}: {call.copy} was taken for a copy of torchdiffeq, and its solve is exported by the rules "
            f"of torchdiffeq {torchdiffeq.__version__}"
        )
    return warnings


def _extras(call: Call, solver: Method, grid: Grid | None) -> tuple[str, ...]:
    """The names of the options whose values the model computes."""
    points = {name: (call.options or {}).get(name) for name in (POINTS if solver.adaptive else ())}
    # A tensor is not asked for its length, which may be the size of a dynamic axis, and 0 in some calls only.
    names = [name for name, value in points.items() if isinstance(value, torch.Tensor) or value]
    lengths = [name for name in LENGTHS if is_computed((call.options or {}).get(name))]
    if solver.adaptive:
        return (*names, *(name for name in lengths if name == "first_step"))
    if grid is not None and grid.constructed:
        return (*names, "step_size" if "step_size" in lengths else "grid")
    return tuple(names)


def _parts(call: Call) -> int | None:
    """The number of tensors in a tuple state; None for a state that is one tensor."""
    return len(call.y0) if isinstance(call.y0, tuple) else None
