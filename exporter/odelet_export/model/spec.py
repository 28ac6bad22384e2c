"""What a solve is asked to do: torchdiffeq's call as plain data, with the overrides of the export applied."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torchdiffeq

from odelet.methods.adams import Adams
from odelet.methods.fixed_point import Iteration
from odelet.methods.method import Method
from odelet.methods.roster import METHODS, method_of
from odelet.numerics.control import Control
from odelet.numerics.grid import Grid
from odelet.numerics.tableau import Tableau
from odelet_export.errors import FormError
from odelet_export.model.overrides import Overrides
from odelet_intercept import fixed_point, installed
from odelet_intercept.call import Call
from odelet_intercept.call_options import POINTS, Tolerance, has_norm, read_options, read_tolerance
from odelet_intercept.errors import CaptureError
from odelet_intercept.mark_calls import mark_arguments_of


@dataclass(frozen=True, kw_only=True)
class SolveSpec:
    """One solve of a model.

    index: among the solves of the artifact. call: among the calls that the model makes, those inside other solves not
    counted. mark: the number of its markers in the graph. around: those of the solves whose functions make this one,
    the outermost first. solver: the method, with its own options set. rtol, atol: where it uses them, a number or one
    for each part of the state; atol also for a search for an event. control or grid: its settings, as the method is
    adaptive or fixed-step. parts: how many tensors the state has. functions: those of the user besides the field, in
    the order of their results in the End marker; `event`, of (t, y), makes the solve end at its first zero; `norm`,
    of y alone, says how large an error is. source: file and line. extras: names of options that are values of the
    model (step_t, jump_t, grid). per_sample: each sample of the batch has its own steps. max_iters: turns at most, of
    an iteration.
    """

    index: int
    call: int
    solver: Method
    rtol: Tolerance
    atol: Tolerance
    control: Control | None
    grid: Grid | None
    parts: int
    functions: tuple[str, ...] = ()
    source: str
    mark: int = 0
    around: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    per_sample: bool = False
    max_iters: int | None = None

    @property
    def method(self) -> str:
        return self.solver.name

    @property
    def tableau(self) -> Tableau:
        """Of an explicit Runge-Kutta method, as all adaptive ones are."""
        return self.solver.tableau  # type: ignore[attr-defined]

    @property
    def adaptive(self) -> bool:
        return self.solver.adaptive

    @property
    def timeless(self) -> bool:
        """Whether it is an iteration, whose function is not of time and whose answer is one state."""
        return isinstance(self.solver, Iteration)

    @property
    def own_times(self) -> bool:
        """Whether each sample has its own time."""
        return self.per_sample and not self.timeless

    @property
    def until_event(self) -> bool:
        """Whether the solve ends at an event, and not at given times."""
        return "event" in self.functions

    @property
    def corrector(self) -> dict[str, float]:
        """Where the iterations of a corrector end, for a fixed-step method that asks."""
        known = {"rtol": self.rtol, "atol": self.atol}
        return {name: x for name, x in known.items() if isinstance(x, float)} if self.solver.uses_tolerances else {}

    @property
    def options(self) -> dict[str, Any]:
        """The settings that differ from their defaults, as JSON."""
        own = method_of(self.method)
        options = {name: getattr(self.solver, name) for name in own.option_names()}
        changed = {name: value for name, value in options.items() if value != getattr(own, name)}
        settings = self.control if self.adaptive else self.grid
        if settings is None:
            return changed
        given = {f.name: getattr(settings, f.name) for f in fields(settings) if f.name != "constructed"}
        defaults = {f.name: f.default for f in fields(settings)}
        return changed | {name: value for name, value in given.items() if value != defaults[name]}


def spec_of(call: Call, index: int, overrides: Overrides) -> SolveSpec:
    """Read a call. Raises CaptureError, naming file and line, for what cannot be exported."""
    if call.entry == "mark":
        return _iteration(call, index)
    where = f'File "{call.file}", line {call.line}: '
    method = overrides.method or call.method or "dopri5"
    if overrides.method is None:
        method = installed.name_of(method)
    if method not in METHODS:
        raise CaptureError(
            where + f"method {method!r} cannot be exported; use one of {', '.join(METHODS)}, "
            "or override it with --method"
        )
    solver = METHODS[method]
    parts = len(call.y0) if isinstance(call.y0, tuple) else None
    options, warnings = read_options(call, where, solver, overridden=overrides.method is not None)
    given = {name: (call.options or {}).get(name) for name in (POINTS if solver.adaptive else ())}
    control = grid = rtol = atol = None
    try:
        own = {name: options.pop(name) for name in solver.option_names() if name in options}
        solver = solver.with_options(**own)
        if solver.adaptive or solver.uses_tolerances:
            rtol = overrides.rtol if overrides.rtol is not None else read_tolerance("rtol", call.rtol, parts, where)
            atol = overrides.atol if overrides.atol is not None else read_tolerance("atol", call.atol, parts, where)
            _check_tolerances(solver, rtol, atol, where)
        if solver.adaptive:
            control = Control(**options, controller=overrides.controller or "integral")
        elif solver.fixed:
            if overrides.steps is not None or overrides.step_size is not None:
                placed = {"steps": overrides.steps, "step_size": overrides.step_size, "constructed": False}
                options |= placed
            grid = Grid(**options)
            if call.event_fn is not None:
                _check_steps_to_event(grid, where)
                atol = overrides.atol if overrides.atol is not None else read_tolerance("atol", call.atol, parts, where)
    except ValueError as error:
        raise CaptureError(where + f"options: {error}") from None
    if call.event_fn is not None and isinstance(atol, tuple):
        raise CaptureError(where + "a search for an event takes one atol, as in torchdiffeq; give a number")
    if call.event_fn is not None and not (solver.adaptive or solver.fixed):
        raise CaptureError(where + f"{method} cannot search for an event, nor can it in torchdiffeq")
    if isinstance(solver, Adams) and not solver.remembers:
        warnings.append(f"{call.source}: max_order={solver.max_order} leaves {method} no steps but those of rk4")
    if call.copy:
        warnings.append(
            f"{call.source}: {call.copy} was taken for a copy of torchdiffeq, and its solve is exported by the rules "
            f"of torchdiffeq {torchdiffeq.__version__}"
        )
    per_sample = overrides.per_sample and solver.adaptive
    if per_sample and has_norm(call, overridden=overrides.method is not None):
        raise CaptureError(where + "a norm of the whole state cannot measure each sample; leave norm or per_sample out")
    if per_sample and call.event_fn is not None:
        raise CaptureError(where + "a solve that ends at an event cannot be solved per sample; leave per_sample out")
    return SolveSpec(
        per_sample=per_sample,
        index=index,
        call=index,
        solver=solver,
        rtol=rtol,
        atol=atol,
        control=control,
        grid=grid,
        parts=parts or 1,
        functions=(
            *(("event",) if call.event_fn is not None else ()),
            *(("norm",) if solver.adaptive and has_norm(call, overridden=overrides.method is not None) else ()),
        ),
        source=call.source,
        warnings=tuple(warnings),
        extras=(
            *(name for name, value in given.items() if value is not None and len(value) > 0),
            *(("grid",) if grid is not None and grid.constructed else ()),
        ),
    )


def _iteration(call: Call, index: int) -> SolveSpec:
    """Read a call of `mark`, which no override changes. Raises InputError for what it cannot be."""
    asked = mark_arguments_of(call)
    return SolveSpec(
        index=index,
        call=index,
        solver=asked.method,
        rtol=asked.rtol,
        atol=asked.atol,
        control=None,
        grid=None,
        parts=len(fixed_point.parts_of(call.y0, per_sample=asked.per_sample)),
        functions=("norm",) if asked.norm is not None else (),
        source=call.source,
        per_sample=asked.per_sample,
        max_iters=asked.max_iters,
    )


def _check_marked(specs: list[SolveSpec], overrides: Overrides) -> None:
    """Refuse overrides where there are only iterations, and a batch that one of them holds together."""
    given = [f.name for f in fields(overrides) if getattr(overrides, f.name) != f.default]
    if given and all(spec.timeless for spec in specs):
        raise FormError(
            f"{given[0]} is for solves of ODEs, but solve {specs[0].index} ({specs[0].source}) is a call of mark; "
            "change it there"
        )
    for spec in specs:
        if overrides.per_sample and spec.timeless and not spec.per_sample:
            raise FormError(
                f"per_sample: the call of mark at {spec.source} solves the whole batch at once; give it "
                "per_sample=True too"
            )


def check_overrides(specs: list[SolveSpec], overrides: Overrides) -> None:
    """Refuse an override that no solve of the model can take."""
    _check_marked(specs, overrides)
    specs = [spec for spec in specs if not spec.timeless]
    methods = ", ".join(f"solve {spec.index} ({spec.source}) uses {spec.method}" for spec in specs)
    for name in ("rtol", "atol"):
        if getattr(overrides, name) is not None and all(getattr(spec, name) is None for spec in specs):
            raise FormError(f"{name} is for adaptive methods, but {methods}; leave it out, or choose --method dopri5")
    for name, asked in (("controller", overrides.controller is not None), ("per_sample", overrides.per_sample)):
        if asked and not any(spec.adaptive for spec in specs):
            raise FormError(f"{name} is for adaptive methods, but {methods}; leave it out, or choose --method dopri5")
    for name in ("steps", "step_size"):
        if getattr(overrides, name) is not None and all(spec.grid is None for spec in specs):
            option = name.replace("_", "-")
            raise FormError(f"--{option} is for fixed-step methods, but {methods}; add --method rk4, say")


def _check_steps_to_event(grid: Grid, where: str) -> None:
    if grid.step_size is None:
        raise CaptureError(
            where + "a fixed-step method searches for an event with steps of one length; give "
            "options={'step_size': ...}, or override it with --step-size"
        )


def _check_tolerances(solver: Method, rtol: Tolerance, atol: Tolerance, where: str) -> None:
    if not solver.adaptive and (isinstance(rtol, tuple) or isinstance(atol, tuple)):
        raise CaptureError(
            where + f"{solver.name} cannot be exported with a tolerance for each part of the state; give one number"
        )
