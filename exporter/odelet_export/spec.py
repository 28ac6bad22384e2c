"""What a solve is asked to do: torchdiffeq's call as plain data, with the overrides of the export applied."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from odelet.control import Control
from odelet.grid import Grid
from odelet.tableau import TABLEAUS, Tableau
from odelet_export.errors import CaptureError, FormError
from odelet_export.intercept import Call

# torchdiffeq takes these for any method and this one ignores them, as torchdiffeq does with a warning.
_CONTROL = tuple(f.name for f in fields(Control) if f.name not in ("controller", "dtype"))
_POINTS = ("step_t", "jump_t")


Tolerance = float | tuple[float, ...] | None


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """What the export changes in every solve it applies to; None leaves the model's own choice."""

    method: str | None = None
    steps: int | None = None
    step_size: float | None = None
    rtol: float | None = None
    atol: float | None = None

    def __post_init__(self) -> None:
        if self.method is not None and self.method not in TABLEAUS:
            raise FormError(f"method={self.method!r} is not one of {', '.join(TABLEAUS)}")
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

    index: among the solves of the artifact. call: among the calls that the model makes. rtol, atol: for an
    adaptive method, a number or one for each part of the state; atol also for a search for an event. control
    or grid: its settings, as the method is adaptive or fixed-step. parts: how many tensors the state has.
    functions: those of the user besides the field, in the order of their results in the End marker; `event`, of
    (t, y), makes the solve end at its first zero. source: file and line. extras: names of options that are values
    of the model (step_t, jump_t).
    """

    index: int
    call: int
    tableau: Tableau
    rtol: Tolerance
    atol: Tolerance
    control: Control | None
    grid: Grid | None
    parts: int
    functions: tuple[str, ...] = ()
    source: str
    warnings: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()

    @property
    def method(self) -> str:
        return self.tableau.name

    @property
    def adaptive(self) -> bool:
        return self.tableau.adaptive

    @property
    def until_event(self) -> bool:
        """Whether the solve ends at an event, and not at given times."""
        return "event" in self.functions

    @property
    def options(self) -> dict[str, Any]:
        """The settings that differ from their defaults, as JSON."""
        settings = self.control if self.adaptive else self.grid
        assert settings is not None
        return {f.name: getattr(settings, f.name) for f in fields(settings) if getattr(settings, f.name) != f.default}


def spec_of(call: Call, index: int, overrides: Overrides) -> SolveSpec:
    """Read a call. Raises CaptureError, naming file and line, for what cannot be exported."""
    where = f'File "{call.file}", line {call.line}: '
    own = call.method or "dopri5"
    method = overrides.method or own
    if method not in TABLEAUS:
        raise CaptureError(
            where + f"method {method!r} cannot be exported yet; use one of {', '.join(TABLEAUS)}, "
            "or override it with --method"
        )
    tableau = TABLEAUS[method]
    parts = len(call.y0) if isinstance(call.y0, tuple) else None
    options, warnings = _options(call, where, tableau, overridden=overrides.method is not None)
    given = {name: (call.options or {}).get(name) for name in (_POINTS if tableau.adaptive else ())}
    control = grid = rtol = atol = None
    try:
        if tableau.adaptive:
            control = Control(**options)
            rtol = overrides.rtol if overrides.rtol is not None else _tolerance("rtol", call.rtol, parts, where)
            atol = overrides.atol if overrides.atol is not None else _tolerance("atol", call.atol, parts, where)
        else:
            if overrides.steps is not None or overrides.step_size is not None:
                options = {"steps": overrides.steps, "step_size": overrides.step_size}
            grid = Grid(**options)
            if call.event_fn is not None:
                _check_steps_to_event(grid, where)
                atol = overrides.atol if overrides.atol is not None else _tolerance("atol", call.atol, parts, where)
    except ValueError as error:
        raise CaptureError(where + f"options: {error}") from None
    if call.event_fn is not None and isinstance(atol, tuple):
        raise CaptureError(where + "a search for an event takes one atol, as in torchdiffeq; give a number")
    return SolveSpec(
        index=index,
        call=index,
        tableau=tableau,
        rtol=rtol,
        atol=atol,
        control=control,
        grid=grid,
        parts=parts or 1,
        functions=("event",) if call.event_fn is not None else (),
        source=call.source,
        warnings=tuple(warnings),
        extras=tuple(name for name, value in given.items() if value is not None and len(value) > 0),
    )


def check_overrides(specs: list[SolveSpec], overrides: Overrides) -> None:
    """Refuse an override that no solve of the model can take."""
    methods = ", ".join(f"solve {spec.index} ({spec.source}) uses {spec.method}" for spec in specs)
    for name in ("rtol", "atol"):
        taken = any(spec.adaptive or (spec.until_event and name == "atol") for spec in specs)
        if getattr(overrides, name) is not None and not taken:
            raise FormError(f"{name} is for adaptive methods, but {methods}; leave it out, or choose --method dopri5")
    for name in ("steps", "step_size"):
        if getattr(overrides, name) is not None and all(spec.adaptive for spec in specs):
            option = name.replace("_", "-")
            raise FormError(f"--{option} is for fixed-step methods, but {methods}; add --method rk4, say")


def _options(call: Call, where: str, tableau: Tableau, *, overridden: bool) -> tuple[dict[str, Any], list[str]]:
    """The options that the method takes. Those of another kind of method are dropped with a warning."""
    taken: dict[str, Any] = {}
    warnings = []
    own = _CONTROL if tableau.adaptive else ("step_size",)
    # torchdiffeq knows these, and they change the answer, so they are refused until they are honoured.
    unsupported = {
        "norm": tableau.adaptive,
        "grid_constructor": not tableau.adaptive,
        "perturb": not tableau.adaptive,
        "interp": not tableau.adaptive,
    }
    for name, value in (call.options or {}).items():
        if unsupported.get(name) and not overridden and not _harmless(name, value):
            raise CaptureError(where + f"option {name}={value!r} cannot be exported yet; leave it out")
        if tableau.adaptive and name in _POINTS:
            continue  # a value of the model
        if tableau.adaptive and name == "dtype":
            taken[name] = "float64" if value is None else _time_dtype(value, where)
        elif name in own:
            taken[name] = None if value is None else _number(name, value, where)
        elif not overridden and name not in unsupported:
            warnings.append(f"{call.source}: {tableau.name} ignores option {name}={value!r}, as in torchdiffeq")
    if taken.get("max_num_steps") is not None:
        taken["max_num_steps"] = int(taken["max_num_steps"])
    return taken, warnings


def _harmless(name: str, value: Any) -> bool:
    """Whether an unsupported option says only what is done anyway."""
    defaults: Mapping[str, Any] = {"perturb": False, "interp": "linear"}
    return value is None or (name in defaults and value == defaults[name])


def _check_steps_to_event(grid: Grid, where: str) -> None:
    if grid.step_size is None:
        raise CaptureError(
            where + "a fixed-step method searches for an event with steps of one length; give "
            "options={'step_size': ...}, or override it with --step-size"
        )


def _number(name: str, value: Any, where: str) -> float:
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        value = _concrete(name, value, where)
    if not isinstance(value, numbers.Real):
        raise CaptureError(where + f"option {name}={value!r} must be a number")
    return float(value)


def _time_dtype(value: Any, where: str) -> str:
    """The dtype of times: at least float32, as that of any state."""
    if value not in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        raise CaptureError(where + f"option dtype={value!r} must be a floating-point torch dtype")
    return "float64" if value is torch.float64 else "float32"


def _tolerance(name: str, value: Any, parts: int | None, where: str) -> Tolerance:
    """A tolerance: a number, or one for each part of a tuple state. parts: None for a state that is one tensor.

    A row of one number for a state of one tensor is no plain number: torchdiffeq then takes error ratios in
    float64. It rounds the numbers of a row for a tuple to float32.
    """
    row = _row(name, value, where)
    if row is None:
        if not isinstance(value, torch.Tensor) and not isinstance(value, numbers.Real):
            raise CaptureError(where + f"{name}={value!r} must be a number, or one for each part of the state")
        return float(_concrete(name, value, where) if isinstance(value, torch.Tensor) else value)
    if len(row) != (parts or 1):
        raise CaptureError(
            where + f"{name} has {len(row)} numbers for a state of {parts or 1} parts; give one number for each part, "
            f"or one for all with --{name}"
        )
    return tuple(float(x) if exact or parts is None else float(np.float32(x)) for x, exact in row)


def _row(name: str, value: Any, where: str) -> list[tuple[float, bool]] | None:
    """The numbers of a row, each with whether it is a float64 tensor; None for a plain number."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        if value.ndim == 0:
            return None
        exact = value.dtype in (torch.float64, np.float64)
        return [(_concrete(name, x, where), exact) for x in value.reshape(-1)]
    if not isinstance(value, (list, tuple)):
        return None
    numbers_ = [_concrete(name, x, where) if isinstance(x, torch.Tensor) and x.numel() == 1 else x for x in value]
    if not all(isinstance(x, numbers.Real) for x in numbers_):
        raise CaptureError(
            where + f"{name}={value!r}: a tolerance for each element of the state cannot be exported; give one number "
            "for each part"
        )
    return [(float(x), getattr(old, "dtype", None) is torch.float64) for x, old in zip(numbers_, value, strict=True)]


def _concrete(name: str, value: Any, where: str) -> Any:
    try:
        return value.item()
    except Exception:
        raise CaptureError(
            where + f"{name} is computed from the model's inputs; it must be a number when the model is exported"
        ) from None
