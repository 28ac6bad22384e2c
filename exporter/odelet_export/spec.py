"""What a solve is asked to do: torchdiffeq's call as plain data, with the overrides of the export applied."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch

from odelet.adams import Adams
from odelet.control import Control
from odelet.grid import Grid
from odelet.method import Method
from odelet.methods import METHODS
from odelet.tableau import Tableau
from odelet_export import installed
from odelet_export.errors import CaptureError, FormError
from odelet_export.intercept import Call

# torchdiffeq takes these for any method and this one ignores them, as torchdiffeq does with a warning.
_CONTROL = tuple(f.name for f in fields(Control) if f.name != "controller")


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """What the export changes in every solve it applies to; None leaves the model's own choice."""

    method: str | None = None
    steps: int | None = None
    step_size: float | None = None
    rtol: float | None = None
    atol: float | None = None

    def __post_init__(self) -> None:
        if self.method is not None and self.method not in METHODS:
            raise FormError(f"method={self.method!r} is not one of {', '.join(METHODS)}")
        try:
            Grid(step_size=self.step_size, steps=self.steps)
        except ValueError as error:
            raise FormError(str(error)) from None
        for name in ("rtol", "atol"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise FormError(f"{name}={value!r} must be a finite number, not negative")


@dataclass(frozen=True, kw_only=True)
class SolveSpec:
    """One solve of a model.

    index: among the solves of the artifact. call: among the calls that the model makes. solver: the method, with its
    own options set. rtol, atol: where it uses them. control or grid: its settings, as the method is adaptive or
    fixed-step. parts: how many tensors the state has. source: file and line.
    """

    index: int
    call: int
    solver: Method
    rtol: float | None
    atol: float | None
    control: Control | None
    grid: Grid | None
    parts: int
    source: str
    warnings: tuple[str, ...] = field(default=())

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
    def options(self) -> dict[str, Any]:
        """The settings that differ from their defaults, as JSON."""
        own = METHODS[self.method]
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
    where = f'File "{call.file}", line {call.line}: '
    method = overrides.method or call.method or "dopri5"
    if call.event_fn is not None:
        raise CaptureError(where + "the solve has an event_fn, which cannot be exported yet; solve to fixed times")
    if overrides.method is None:
        method = installed.name_of(method)
    if method not in METHODS:
        raise CaptureError(
            where + f"method {method!r} cannot be exported; use one of {', '.join(METHODS)}, "
            "or override it with --method"
        )
    solver = METHODS[method]
    options, warnings = _options(call, where, solver, overridden=overrides.method is not None)
    control = grid = rtol = atol = None
    try:
        own = {name: options.pop(name) for name in solver.option_names() if name in options}
        solver = solver.having(**own)
        if solver.adaptive or solver.uses_tolerances:
            rtol = overrides.rtol if overrides.rtol is not None else _tolerance("rtol", call.rtol, where)
            atol = overrides.atol if overrides.atol is not None else _tolerance("atol", call.atol, where)
        if solver.adaptive:
            control = Control(**options)
        elif solver.fixed:
            if overrides.steps is not None or overrides.step_size is not None:
                placed = {"steps": overrides.steps, "step_size": overrides.step_size, "constructed": False}
                options |= placed
            grid = Grid(**options)
    except ValueError as error:
        raise CaptureError(where + f"options: {error}") from None
    if isinstance(solver, Adams) and not solver.remembers:
        warnings.append(f"{call.source}: max_order={solver.max_order} leaves {method} no steps but those of rk4")
    return SolveSpec(
        index=index,
        call=index,
        solver=solver,
        rtol=rtol,
        atol=atol,
        control=control,
        grid=grid,
        parts=len(call.y0) if isinstance(call.y0, tuple) else 1,
        source=call.source,
        warnings=tuple(warnings),
    )


def check_overrides(specs: list[SolveSpec], overrides: Overrides) -> None:
    """Refuse an override that no solve of the model can take."""
    methods = ", ".join(f"solve {spec.index} ({spec.source}) uses {spec.method}" for spec in specs)
    for name in ("rtol", "atol"):
        if getattr(overrides, name) is not None and all(getattr(spec, name) is None for spec in specs):
            raise FormError(f"{name} is for adaptive methods, but {methods}; leave it out, or choose --method dopri5")
    for name in ("steps", "step_size"):
        if getattr(overrides, name) is not None and all(spec.grid is None for spec in specs):
            option = name.replace("_", "-")
            raise FormError(f"--{option} is for fixed-step methods, but {methods}; add --method rk4, say")


# torchdiffeq drops these without a word for the methods of a kind, and they change nothing there.
_DROPPED = {"adaptive": (), "fixed": ("norm",), "scipy": ("norm", "grid_points", "eps")}


def _options(call: Call, where: str, solver: Method, *, overridden: bool) -> tuple[dict[str, Any], list[str]]:
    """The options that the method takes. Those of another kind of method are dropped with a warning."""
    kind = "adaptive" if solver.adaptive else "fixed" if solver.fixed else "scipy"
    own: tuple[str, ...] = {"adaptive": _CONTROL, "fixed": ("step_size", "interp", "perturb"), "scipy": ()}[kind]
    own = (*own, *solver.option_names())
    # torchdiffeq knows these, and they change the answer, so they are refused until they are honoured.
    unsupported = dict.fromkeys(("norm", "dtype", "step_t", "jump_t"), solver.adaptive)
    taken: dict[str, Any] = {}
    warnings = []
    for name, value in (call.options or {}).items():
        if unsupported.get(name) and not overridden and not _harmless(name, value):
            raise CaptureError(where + f"option {name}={value!r} cannot be exported yet; leave it out")
        if name in own:
            taken |= _taken(name, value, where)
        elif kind == "fixed" and name == "grid_constructor":
            taken["constructed"] = value is not None
        elif not overridden and not unsupported.get(name) and name not in _DROPPED[kind]:
            warnings.append(f"{call.source}: {solver.name} ignores option {name}={value!r}, as in torchdiffeq")
    if overridden and not solver.adaptive:
        # The settings of another method's iterations mean nothing to this one.
        taken = {name: value for name, value in taken.items() if name not in solver.option_names()}
    return taken, warnings


def _taken(name: str, value: Any, where: str) -> dict[str, Any]:
    """An option as its setting has it; nothing where the default stays."""
    if name in ("interp", "solver"):
        return {name: value}
    if name in ("perturb", "implicit"):
        return {name: bool(value)}
    if value is None and name in ("first_step", "max_num_steps", "step_size"):
        return {name: None}
    number = _number(name, value, where)
    whole = name in ("max_num_steps", "max_order", "max_iters")
    return {name: int(number) if whole else number}


def _harmless(name: str, value: Any) -> bool:
    """Whether an unsupported option says only what is done anyway."""
    defaults: Mapping[str, Any] = {"dtype": torch.float64}
    return value is None or (name in defaults and value == defaults[name])


def _number(name: str, value: Any, where: str) -> float:
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        value = _concrete(name, value, where)
    if not isinstance(value, numbers.Real):
        raise CaptureError(where + f"option {name}={value!r} must be a number")
    return float(value)


def _tolerance(name: str, value: Any, where: str) -> float:
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        value = _concrete(name, value, where)
    if not isinstance(value, numbers.Real):
        raise CaptureError(
            where + f"{name}={value!r}: a tolerance for each part of the state cannot be exported yet; "
            "give one number, or override it with --" + name
        )
    return float(value)


def _concrete(name: str, value: torch.Tensor, where: str) -> Any:
    try:
        return value.item()
    except Exception:
        raise CaptureError(
            where + f"{name} is computed from the model's inputs; it must be a number when the model is exported"
        ) from None
