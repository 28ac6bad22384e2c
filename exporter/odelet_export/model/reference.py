"""The torch model as the reference: solved by torchdiffeq, with the overrides of the export, and counted."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import nn

from odelet.methods.roster import METHODS
from odelet.numerics.control import CONTROLLERS, Control
from odelet_export.model.call_spec import spec_of
from odelet_export.model.callee import Callee
from odelet_export.model.field_calls import FieldCalls
from odelet_export.model.intercepted_run import run_intercepted
from odelet_export.model.overrides import Overrides
from odelet_export.model.sde_reference import sde_solution
from odelet_intercept import fixed_point
from odelet_intercept.call import Call
from odelet_intercept.call_options import POINTS
from odelet_intercept.installed import SOLVERS, StandIn, key_of, name_of
from odelet_intercept.intercept import original_of
from odelet_intercept.libraries.mark_calls import mark_arguments_of
from odelet_intercept.libraries.torchsde_calls import SdeCall
from odelet_intercept.solver_library import rk_common, torchdiffeq

_OWN = original_of(torchdiffeq.odeint)


@dataclass(frozen=True)
class SolveCount:
    """The counts of torchdiffeq's steps in one solve.

    steps: attempts of an adaptive method, or steps of a fixed-step method. accepted: accepted steps. evaluations: calls
    of the field. A count is None where another solver ran in place of torchdiffeq's, or where the solver does not tell.
    """

    steps: int | None
    accepted: int | None
    evaluations: int | None


# A solver takes a call, and the odeint that the call would have reached; it returns the solution and a count.
Solver = Callable[[Call, Callable[..., Any]], tuple[Any, SolveCount]]


class _Counted:
    """A field that counts its calls and the solver's steps; the user's own callbacks still run."""

    def __init__(self, func: Callable[..., Any]) -> None:
        self._func = func
        self.steps = self.evaluations = 0
        for name in ("callback_accept_step", "callback_reject_step"):
            if hasattr(func, name):
                setattr(self, name, getattr(func, name))

    def __call__(self, t: Any, y: Any) -> Any:
        self.evaluations += 1
        return self._func(t, y)

    def callback_step(self, t0: Any, y0: Any, dt: Any) -> None:
        self.steps += 1
        if hasattr(self._func, "callback_step"):
            self._func.callback_step(t0, y0, dt)


class _CountedAdaptive(_Counted):
    """A field that counts accepted steps too."""

    def __init__(self, func: Callable[..., Any]) -> None:
        super().__init__(func)
        self.accepted = 0
        self.__dict__.pop("callback_accept_step", None)

    def callback_accept_step(self, t0: Any, y0: Any, dt: Any) -> None:
        self.accepted += 1
        if hasattr(self._func, "callback_accept_step"):
            self._func.callback_accept_step(t0, y0, dt)


def run_reference(
    callee: Callee,
    tensors: Sequence[torch.Tensor],
    overrides: Overrides,
    instead: Mapping[int, Solver] = MappingProxyType({}),
    *,
    most_calls: int | None = None,
) -> tuple[list[np.ndarray], list[SolveCount]]:
    """Run the torch model on some inputs. Returns its outputs, and a count for each solve outside other solves.

    tensors: one for each name of `callee.names`. instead: other solvers for some of the calls, by the numbers of the
    calls among those outside other solves. most_calls: how often fields may be called in all; a run that calls them
    more often ends with TooManyCalls.
    """
    solving = Solving(overrides, instead, FieldCalls(most=most_calls))
    return as_arrays(run_intercepted(callee, tensors, solving)), solving.counts


def as_arrays(outputs: Sequence[torch.Tensor]) -> list[np.ndarray]:
    """The outputs of a run as arrays."""
    return [output.detach().cpu().numpy() for output in outputs]


class Solving:
    """The handler that solves the calls of one run by torchdiffeq, with the overrides of an export.

    instead: as in `run_reference`. calls: counts the calls of fields. counts: a count for each solve so far outside
    other solves.
    """

    def __init__(self, overrides: Overrides, instead: Mapping[int, Solver], calls: FieldCalls) -> None:
        self.counts: list[SolveCount] = []
        self.calls = calls
        self._overrides, self._instead = overrides, instead

    def __call__(self, call: Call, original: Callable[..., Any]) -> Any:
        """The solution of a call."""
        if call.entry == "mark":
            answer, count = _marked(call)
            self.counts.append(count)
            return answer
        if isinstance(call, SdeCall):
            spec = spec_of(call, len(self.counts), self._overrides)
            states, steps, accepted = sde_solution(call, original, spec)
            # torchsde repeats evaluations, so that their number says nothing.
            self.counts.append(SolveCount(steps, accepted, None))
            return states, call.memory
        changed = overridden(replace(call, func=self.calls.watching(call.func)), self._overrides)
        if call.depth > 0:
            return solved(changed, original, self._overrides)
        number = len(self.counts)
        solution, count = (
            self._instead[number](changed, original) if number in self._instead else self._counted(changed, original)
        )
        self.counts.append(count)
        return solution

    def _counted(self, call: Call, original: Callable[..., Any]) -> tuple[Any, SolveCount]:
        """The solution of an overridden call by torchdiffeq, and its count."""
        method = call.method or "dopri5"
        adaptive = issubclass(SOLVERS.get(method, object), rk_common.RKAdaptiveStepsizeODESolver)
        counted = _CountedAdaptive(call.func) if adaptive else _Counted(call.func)
        result = solved(replace(call, func=counted), original, self._overrides)
        # In a search for an event by a fixed-step method, torchdiffeq does not call back at its steps.
        searched = call.event_fn is not None and not adaptive
        per_step = METHODS[self._overrides.method or name_of(method)].evaluations
        steps = counted.evaluations // per_step if searched and per_step else counted.steps
        accepted = counted.accepted if isinstance(counted, _CountedAdaptive) else steps
        count = SolveCount(steps, accepted, counted.evaluations)
        if call.copy and counted.steps == 0:  # old copies of torchdiffeq do not call back
            count = replace(count, steps=None, accepted=None)
        return result, _known(count, method)


def solved(call: Call, original: Callable[..., Any], overrides: Overrides) -> Any:
    """The solution of an `overridden` call by the original odeint, with the controller of the export."""
    if call.entry == "mark":
        return _marked(call)[0]
    if call.copy and overrides.method is not None:
        original = _OWN  # unlike a copy, the library itself can run all methods that odelet has
    with _controlled(overrides.controller):
        return call.solve(original)


def _marked(call: Call) -> tuple[Any, SolveCount]:
    """The answer to a call of `mark`, and the count of its steps, over all samples.

    Evaluations are not counted: f is called once a step, but more often in a form of fixed length.
    """
    answer, state = fixed_point.solve(lambda z: call.func(None, z), call.y0, mark_arguments_of(call))
    turns = int(state.turns.sum())
    return answer, SolveCount(turns, turns, None)


@contextmanager
def _controlled(name: str | None) -> Iterator[None]:
    """Let torchdiffeq's own loop choose its steps by another controller. name: a name in CONTROLLERS; None changes
    nothing."""
    if name is None:
        yield
        return
    powers = CONTROLLERS[name].powers
    past = [1.0] * (len(powers) - 1)

    def optimal(last: Any, ratio: Any, safety: Any, ifactor: Any, dfactor: Any, order: int) -> torch.Tensor:
        r = max(float(ratio), sys.float_info.min)
        if r <= 1:
            factor = float(safety) * math.prod(x ** (-p / order) for x, p in zip((r, *past), powers, strict=True))
            factor = max(factor, 1.0 if r < 1 else float(dfactor))
            past[:] = [r, *past][: len(past)]
        else:
            factor = max(float(safety) * r ** (-1 / order), float(dfactor)) if r == r else r
        return last * min(factor, float(ifactor))

    original = rk_common._optimal_step_size
    rk_common._optimal_step_size = optimal
    try:
        yield
    finally:
        rk_common._optimal_step_size = original


def _known(count: SolveCount, key: str) -> SolveCount:
    """A count without the numbers that do not hold for odelet's own method. key: torchdiffeq's name of the method."""
    if issubclass(SOLVERS[key], StandIn):
        return replace(count, evaluations=None)
    return SolveCount(None, None, count.evaluations) if key == "scipy_solver" else count


def overridden(call: Call, overrides: Overrides) -> Call:
    """A call with the overrides applied, for torchdiffeq to run. Overrides do not apply to a call of `mark`."""
    if call.entry == "mark" or isinstance(call, SdeCall):
        return call
    model_method = call.method or "dopri5"
    method = METHODS[overrides.method or name_of(model_method)]
    options = dict(call.options or {})
    rtol, atol = call.rtol, call.atol
    if overrides.method is not None:
        grid_options = ("step_size", "grid_constructor", "interp", "perturb") if method.fixed else ()
        common_options = (*Control.__dataclass_fields__, *POINTS) if method.adaptive else grid_options
        options = {name: value for name, value in options.items() if name in common_options}
    if method.adaptive or method.uses_tolerances:
        rtol = overrides.rtol if overrides.rtol is not None else rtol
        atol = overrides.atol if overrides.atol is not None else atol
    if method.adaptive and overrides.time_dtype is not None:
        options["dtype"] = getattr(torch, overrides.time_dtype)
    placed = not method.fixed or overrides.steps is not None or overrides.step_size is not None
    if method.fixed and placed:
        options = {name: value for name, value in options.items() if name not in ("step_size", "grid_constructor")}
        if overrides.step_size is not None:
            options["step_size"] = overrides.step_size
        else:
            assert overrides.steps is not None
            options["grid_constructor"] = _equal_steps(overrides.steps)
    if method.fixed and not placed and options.get("step_size") is None and options.get("grid_constructor") is None:
        # All output times are ends of steps, where a cubic gives the state itself; odelet calls no field for it.
        options.pop("interp", None)
    key = model_method if overrides.method is None else key_of(method.name)
    return replace(call, method=key, options=options or None, rtol=rtol, atol=atol)


def _equal_steps(steps: int) -> Callable[..., torch.Tensor]:
    """A grid constructor of equal steps from the first output time to the last."""

    def grid(_func: Any, _y0: Any, t: torch.Tensor) -> torch.Tensor:
        h = (t[-1:] - t[:1]) / steps
        return torch.cat([torch.arange(steps, dtype=t.dtype) * h + t[:1], t[-1:]])

    return grid


@contextmanager
def evaluation_mode(model: Any) -> Iterator[None]:
    """Put a model into evaluation mode, as for inference; its training flags are put back on leaving."""
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    # A frozen ScriptModule has no flag any more.
    flags = [(module, module.training) for module in modules if hasattr(module, "training")]
    try:
        for module, _ in flags:
            module.training = False
        yield
    finally:
        for module, flag in flags:
            module.training = flag
