"""Calls of torchsde: all its solves go through `BaseSDESolver.integrate`, after torchsde has read the arguments.

By then the names of functions, `logqp`, the default method and all checks of the arguments are torchsde's own business.
torchsde need not be installed.
"""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from odelet.methods.sde import SdeMethod
from odelet.methods.sde_steps import sde_method
from odelet_intercept.call import Call, Entry, Library, Reading, Substitute
from odelet_intercept.errors import CaptureError

# torchsde's names of its methods, by the names of their classes.
_METHODS = {
    "Euler": "euler",
    "MilsteinIto": "milstein",
    "MilsteinStratonovich": "milstein",
    "SRK": "srk",
    "EulerHeun": "euler_heun",
    "Heun": "heun",
    "Midpoint": "midpoint",
    "ReversibleHeun": "reversible_heun",
    "LogODEMidpoint": "log_ode",
}


@dataclass(frozen=True)
class SdeCall(Call):
    """A caught solve of an SDE. func: its drift. t: the output times. solver: torchsde's solver, with the functions of
    the SDE, the Brownian motion and the length of a step. memory: the values that the first step receives."""

    solver: Any = None
    memory: tuple[torch.Tensor, ...] = ()

    @property
    def solver_method(self) -> SdeMethod:
        """The method, with its options set."""
        solver = self.solver
        name, grad_free = _METHODS[type(solver).__name__], bool(solver.options.get("grad_free", False))
        method = sde_method(name, solver.sde.sde_type, self.noise, grad_free=grad_free)
        levy = solver.bm.levy_area_approximation
        options = {"levy": levy} if "area" in method.draws else {}
        return method.with_options(step_doubling=bool(solver.adaptive), **options)

    @property
    def noise(self) -> str:
        """The kind of noise."""
        return str(self.solver.sde.noise_type)

    @property
    def function_names(self) -> tuple[str, ...]:
        """The functions of the SDE that the method takes, besides the drift.

        Where the model computes products of g with vectors by a function of its own, and products are enough, torchsde
        calls that function.
        """
        method, base = self.solver_method, self.solver.sde._base_sde
        own_product = hasattr(base, "g_prod") or hasattr(base, "f_and_g_prod")
        has_diffusion = hasattr(base, "g") or hasattr(base, "f_and_g")
        names: list[str] = []
        if own_product and method.products:
            names.append("product")
        elif has_diffusion:
            names.append("diffusion")
        else:
            raise CaptureError(
                f"{self.where}{method.name} reads the diffusion itself, and the SDE gives its product alone; "
                "define g, or choose another method"
            )
        if method.correction and self.noise != "additive":
            names.append("correction")
        return tuple(names)

    def function(self, name: str) -> Callable[..., torch.Tensor]:
        """The drift, "field", or one of `function_names`: of (t, y), or of (t, y, v) for a product and a correction."""
        sde, base = self.solver.sde, self.solver.sde._base_sde
        functions: dict[str, Callable[..., Any]] = {
            "field": lambda t, y: sde.f(t, y) if hasattr(base, "f") else self._drift_beside(t, y),
            "diffusion": lambda t, y: sde.g(t, y) if hasattr(base, "g") else sde.f_and_g(t, y)[1],
            "product": lambda t, y, v: sde.g_prod(t, y, v) if hasattr(base, "g_prod") else sde.f_and_g_prod(t, y, v)[1],
            "correction": self._correction,
        }
        return functions[name]

    def _drift_beside(self, t: torch.Tensor, y: torch.Tensor) -> Any:
        """The drift of an SDE that gives it together with the diffusion."""
        sde = self.solver.sde
        if hasattr(sde._base_sde, "f_and_g"):
            return sde.f_and_g(t, y)[0]
        return sde.f_and_g_prod(t, y, y.new_zeros((y.shape[0], self.channels)))[0]

    def _correction(self, t: torch.Tensor, y: torch.Tensor, v: torch.Tensor) -> Any:
        if v.ndim == 3:
            return self.solver.sde.dg_ga_jvp_column_sum(t, y, v)
        return self.solver.sde.g_prod_and_gdg_prod(t, y, torch.ones_like(v), v)[1]

    @property
    def drawn(self) -> list[Drawn]:
        """What the solves on the same Brownian motion drew so far, in this run of the model."""
        bm = self.solver.bm
        drawn: list[Drawn] = getattr(bm, "_interval", bm)._entropy.drawn
        return drawn

    @property
    def channels(self) -> int:
        """The number of channels of the Brownian motion."""
        return int(self.solver.bm.shape[1])


def _entries() -> list[Entry]:
    """The functions of torchsde that are caught, where the model has imported it."""
    solvers, intervals = sys.modules.get("torchsde._core.base_solver"), sys.modules.get(_INTERVALS)
    times = sys.modules.get("torchsde._core.misc")
    if solvers is None or intervals is None or times is None:
        return []
    functions = {
        _SOLVE: solvers.BaseSDESolver.integrate,
        _BEGIN: intervals.BrownianInterval.__init__,
        _QUERY: intervals.BrownianInterval.__call__,
        _ORDER: times.is_strictly_increasing,
    }
    return [
        Entry(name, f, "torchsde", solves=name == _SOLVE)
        for name, f in functions.items()
        if isinstance(f, types.FunctionType)
    ]


_INTERVALS = "torchsde._brownian.brownian_interval"
# The names of the entries.
_SOLVE, _BEGIN, _QUERY = "sdeint", "BrownianInterval", "a Brownian motion"
_ORDER = "is_strictly_increasing"


def _read(entry: Entry, bound: inspect.BoundArguments, where: str) -> Reading:
    if entry.name == _BEGIN:
        bound.apply_defaults()
        return lambda: _begin_undrawn(**bound.arguments)
    if entry.name == _ORDER:
        (ts,) = bound.args
        # torchsde compares the times in a Python loop, whose length a trace would take for a constant.
        return Substitute(lambda: (ts[1:] > ts[:-1]).all())
    if entry.name == _QUERY:
        raise CaptureError(
            where + "the model reads its Brownian motion itself, outside of sdeint; draw the increments that it needs "
            "by torch.randn, times the root of the time between them"
        )
    solver, y0, ts, memory = bound.args
    if type(solver).__name__ not in _METHODS:
        raise CaptureError(where + f"a solver of the class {type(solver).__name__}, which is not torchsde's own")
    if _asks_for_memory():
        raise CaptureError(
            where + "extra=True asks for what the solver remembers at the end, which an artifact does not give; "
            "leave it out, and solve to all times in one call"
        )
    # In a trace also a Python number is a tensor, of another class; a tensor is found when the model runs before.
    if type(solver.dt) is torch.Tensor and torch.promote_types(solver.dt.dtype, ts.dtype) != ts.dtype:
        raise CaptureError(
            where + f"dt is a tensor of {solver.dt.dtype} and the times are {ts.dtype}, so that the times of the steps "
            "change their dtype on the way; give dt as a number"
        )
    _check_motion(solver.bm, ts, where)
    call = SdeCall(_no_function, y0, ts, solver=solver, memory=tuple(memory), rtol=solver.rtol, atol=solver.atol)
    try:
        return replace(call, func=call.function("field"), method=call.solver_method.name)
    except ValueError as error:
        raise CaptureError(f"{where}{error}") from None


def _no_function(*_: Any) -> Any:
    raise AssertionError("the drift of a call is set once its solver is known")


def _asks_for_memory() -> bool:
    """Whether the running call of torchsde was given extra=True."""
    frame = inspect.currentframe()
    while frame is not None:
        name = frame.f_code.co_name
        if name in ("sdeint", "sdeint_adjoint") and str(frame.f_globals.get("__name__", "")).startswith("torchsde."):
            return bool(frame.f_locals.get("extra", False))
        frame = frame.f_back
    return False


@dataclass(frozen=True)
class Drawn:
    """What one solve drew of a Brownian motion.

    times: the ends of its steps (steps + 1,), None where they are not known when it draws. noise: by name.
    """

    times: tuple[float, ...] | None
    noise: Mapping[str, torch.Tensor]

    def apart(self, times: tuple[float, ...] | None) -> bool:
        """Whether the solve and one of other times have no interval in common, so that their noise is independent."""
        if self.times is None or times is None:
            return False
        return self.times[-1] <= times[0] or times[-1] <= self.times[0]


@dataclass(frozen=True)
class _Undrawn:
    """What a Brownian motion without a path was made with, in the place of its entropy.

    fixed: the arguments that fix its path. end: the time at which it ends. drawn: what solves drew of it so far.
    """

    fixed: tuple[str, ...]
    end: Any
    drawn: list[Drawn] = field(default_factory=list)


def _begin_undrawn(self: Any, **given: Any) -> None:
    """Begin a BrownianInterval without a path: torchsde asks it for its shape and dtype alone."""
    intervals = sys.modules[_INTERVALS]
    tensors = {name: given[name] for name in ("size", "dtype", "device")}
    self._size, self._dtype, self._device = intervals._check_tensor_info(given["W"], given["H"], **tensors)
    self._levy_area_approximation = given["levy_area_approximation"]
    fixed = tuple(name for name in ("entropy", "W", "H") if given[name] is not None)
    self._entropy = _Undrawn(fixed, given["t1"])


def _check_motion(bm: Any, ts: torch.Tensor, where: str) -> None:
    """Raise CaptureError for a Brownian motion of the user's whose path an artifact cannot draw."""
    kind, interval = type(bm).__name__, getattr(bm, "_interval", bm)
    undrawn = getattr(interval, "_entropy", None)
    advice = (
        "; leave bm out, or pass torchsde.BrownianInterval(t0=ts[0], t1=ts[-1], size=(batch, channels), ...) in forward"
    )
    if not isinstance(undrawn, _Undrawn):
        raise CaptureError(
            where
            + f"bm is a {kind} that was not made in this call of the model, so that its path would be the same in "
            f"each call{advice}"
        )
    if undrawn.fixed:
        raise CaptureError(
            where + f"bm is a {kind} with {' and '.join(undrawn.fixed)} given, so that its path is the same in each "
            f"call, and an artifact draws paths of its own, from a seed that the caller may give{advice}"
        )
    # The times have values in plain torch, where every model runs before it is traced.
    if type(ts) is torch.Tensor and type(undrawn.end) in (int, float, torch.Tensor):
        end, last = float(undrawn.end), float(ts[-1])
        if last - end > 1e-6 * max(1.0, abs(last)):
            raise CaptureError(
                where + f"bm is a {kind} that ends at the time {end:g}, before the last time {last:g}, and torchsde "
                f"solves the rest without noise{advice}"
            )


TORCHSDE = Library("torchsde", _entries, _read)
