"""The specification of a solve, as plain data, and a check that the overrides of an export apply to some solve.

`odelet_export.model.call_spec` reads a `SolveSpec` from a caught call.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from odelet.methods.fixed_point import Iteration
from odelet.methods.method import Method
from odelet.methods.roster import method_of
from odelet.numerics.control import Control
from odelet.numerics.grid import Grid
from odelet.numerics.tableau import Tableau
from odelet_export.errors import FormError
from odelet_export.model.overrides import Overrides
from odelet_intercept.call_options import Tolerance


@dataclass(frozen=True, kw_only=True)
class SdeSpec:
    """What is true of a solve of an SDE alone.

    noise: the kind of noise, one of `odelet.methods.sde.NOISES`. channels: how many channels its Brownian motion has.
    step_size: the length of a step, of the first one where steps follow an error estimate; then least_step is the
    length at which a step is accepted whatever its error.
    """

    noise: str
    channels: int
    step_size: float
    least_step: float | None = None


@dataclass(frozen=True, kw_only=True)
class SolveSpec:
    """One solve of a model.

    index: the number of the solve in the artifact. call: the number of its call among the calls that the model makes;
    calls inside other solves do not count. mark: the number of its markers in the captured graph. around: the marks of
    the solves whose functions make this one, the outermost first. solver: the method, with its own options set. rtol,
    atol: one number, or one for each part of the state, where the method uses tolerances; atol also where the solve
    searches for an event. control, grid: the settings of an adaptive or of a fixed-step method; the other is None.
    parts: the number of tensors in the state. functions: the user's functions besides the field, in the order of their
    results in the End marker: `event`, a function of (t, y), ends the solve at its first zero; `norm`, a function of y,
    measures an error; those of an SDE are named in `odelet_intercept.libraries.torchsde_calls`. source: the file and
    line of the call. warnings: sentences for the user. extras: the options whose values the model computes (step_t,
    jump_t, grid), and for an SDE its noise and what its first step remembers. per_sample: whether each batch row has
    its own steps. max_iters: the most turns of an iteration. sde: for an SDE.
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
    sde: SdeSpec | None = None

    @property
    def method(self) -> str:
        """The name of the method."""
        return self.solver.name

    @property
    def tableau(self) -> Tableau:
        """The Butcher tableau of an explicit Runge-Kutta method, as every adaptive method is."""
        return self.solver.tableau  # type: ignore[attr-defined]  # callers know the kind of the method

    @property
    def adaptive(self) -> bool:
        """Whether the steps follow an error estimate."""
        return self.solver.adaptive

    @property
    def chooses_steps(self) -> bool:
        """Whether the lengths of steps are chosen in each call, by an error estimate."""
        return self.adaptive or (self.sde is not None and self.sde.least_step is not None)

    @property
    def timeless(self) -> bool:
        """Whether the solve is an iteration: its function does not read a time, and its answer is one state."""
        return isinstance(self.solver, Iteration)

    @property
    def own_times(self) -> bool:
        """Whether each batch row has its own time."""
        return self.per_sample and not self.timeless

    @property
    def until_event(self) -> bool:
        """Whether the solve ends at an event, and not at given times."""
        return "event" in self.functions

    @property
    def corrector(self) -> dict[str, float]:
        """The tolerances that end the iterations of a corrector, by name; empty for a method that has none."""
        tolerances = {"rtol": self.rtol, "atol": self.atol} if self.solver.uses_tolerances else {}
        return {name: value for name, value in tolerances.items() if isinstance(value, float)}

    @property
    def options(self) -> dict[str, Any]:
        """The settings that differ from their defaults, by name, as JSON has them."""
        default = method_of(self.method)
        options = {name: getattr(self.solver, name) for name in default.option_names()}
        changed = {name: value for name, value in options.items() if value != getattr(default, name)}
        settings = self.control if self.adaptive else self.grid
        if settings is None:
            return changed
        values = {f.name: getattr(settings, f.name) for f in fields(settings) if f.name != "constructed"}
        defaults = {f.name: f.default for f in fields(settings)}
        return changed | {name: value for name, value in values.items() if value != defaults[name]}


def _check_marked(specs: list[SolveSpec], overrides: Overrides) -> None:
    """Raise FormError for overrides of a model that has only iterations, and for per_sample where an iteration solves a
    whole batch."""
    changed = [f.name for f in fields(overrides) if getattr(overrides, f.name) != f.default]
    if changed and not specs:
        raise FormError(f"{changed[0]} is for solves of ODEs, and this model makes no solve; leave it out")
    if changed and all(spec.timeless for spec in specs):
        raise FormError(
            f"{changed[0]} is for solves of ODEs, but solve {specs[0].index} ({specs[0].source}) is a call of mark; "
            "change it there"
        )
    for spec in specs:
        if overrides.per_sample and spec.timeless and not spec.per_sample:
            raise FormError(
                f"per_sample: the call of mark at {spec.source} solves the whole batch at once; give it "
                "per_sample=True too"
            )


def check_overrides(specs: list[SolveSpec], overrides: Overrides) -> None:
    """Raise FormError, naming override and solves, for an override that no solve of the model can take."""
    _check_marked(specs, overrides)
    specs = [spec for spec in specs if not spec.timeless]
    solves = [spec for spec in specs if spec.sde is None]
    _check_for_odes(specs, solves, overrides)
    methods = ", ".join(f"solve {spec.index} ({spec.source}) uses {spec.method}" for spec in solves)
    for name in ("rtol", "atol"):
        if getattr(overrides, name) is not None and all(getattr(spec, name) is None for spec in solves):
            raise FormError(f"{name} is for adaptive methods, but {methods}; leave it out, or choose --method dopri5")
    for name in ("controller", "time_dtype", "per_sample"):
        if getattr(overrides, name) not in (None, False) and not any(spec.adaptive for spec in solves):
            raise FormError(f"{name} is for adaptive methods, but {methods}; leave it out, or choose --method dopri5")
    for name in ("steps", "step_size"):
        if getattr(overrides, name) is not None and all(spec.grid is None for spec in specs):
            option = name.replace("_", "-")
            if not solves:
                raise FormError(
                    f"--{option} is for fixed steps, but solve {specs[0].index} ({specs[0].source}) has adaptive=True; "
                    "leave one of them out"
                )
            raise FormError(f"--{option} is for fixed-step methods, but {methods}; add --method rk4, for example")


def _check_for_odes(specs: list[SolveSpec], solves: list[SolveSpec], overrides: Overrides) -> None:
    """Raise FormError for an override that solves of ODEs alone take, where a model solves only SDEs. specs: all solves
    of the model. solves: those of ODEs."""
    if solves or not specs:
        return
    for name in ("method", "rtol", "atol", "controller", "time_dtype", "per_sample"):
        if getattr(overrides, name) not in (None, False):
            raise FormError(
                f"{name} is for solves of ODEs, but solve {specs[0].index} ({specs[0].source}) is of an SDE; change it "
                "in the call of torchsde, or leave it out (steps and step_size apply to SDEs too)"
            )
