"""Markers put a solve into a trace without solving it: they answer each call of odeint and `mark` during a capture.

A call leaves in the graph:

    odelet::Begin   stands for a time and a state; the nodes of one call of the field follow
    odelet::Event   the same for the event function of the call, if it has one
    odelet::Norm    the same for the user's norm of errors
    odelet::Again   a time and a state for a second call of each function, whose result nothing may use
    odelet::End     takes the functions' results, the initial state, options and times, and stands for the solution

A value from outside that a function reads is just another value of the same graph. A solve inside a field leaves its
markers among the nodes of that field. `marker_format` reads the inputs of an End marker; lowering/ replaces markers by
solvers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.onnx import ops as onnx_ops

from odelet_export.capture import progress
from odelet_export.capture.call_values import (
    call_times,
    check_call,
    event_values,
    field_slopes,
    norm_value,
    option_values,
    state_parts,
)
from odelet_export.capture.decisions.answers import TracingWatch
from odelet_export.capture.marker_format import marker_of
from odelet_export.capture.sde_markers import function_value, sde_extras, state_of
from odelet_export.capture.stepping import in_steps
from odelet_export.graphs.nodes import DOMAIN
from odelet_export.model.call_spec import spec_of
from odelet_export.model.overrides import Overrides
from odelet_export.model.random_sources import field_call
from odelet_export.model.spec import SolveSpec
from odelet_intercept.call import Call
from odelet_intercept.errors import CaptureError
from odelet_intercept.libraries.torchsde_calls import SdeCall
from odelet_intercept.user_code import Place

# A function of a solve: it takes a time and the parts of a state.
SolveFunction = Callable[[torch.Tensor, Sequence[torch.Tensor]], Any]


class Marker:
    """Answers the calls of one run of the model by markers, and records them.

    specs, calls, solvers: for each call its spec, the call itself, and the library's function that it would have
    reached. solve_count: the number of calls outside any other solve. stepped: the specs of the solves whose steps are
    in the trace themselves; these are no calls of the lists above.

    with_memory: the lines whose solves have fields that keep something from one call to the next.
    """

    def __init__(self, overrides: Overrides, watch: TracingWatch, with_memory: Collection[Place] = frozenset()) -> None:
        self.specs: list[SolveSpec] = []
        self.stepped: list[SolveSpec] = []
        self.calls: list[Call] = []
        self.solvers: list[Callable[..., Any]] = []
        self.solve_count = 0
        self._overrides = overrides
        self._watch = watch
        self._around: list[int] = []
        self._with_memory, self._stepping = with_memory, 0

    def __call__(self, call: Call, original: Callable[..., Any]) -> Any:
        """Mark one call, and return traced tensors of the form of its solution.

        Raises CaptureError for a call that odelet cannot export, with the user's file and line.
        """
        where = call.where
        if not self._around and not self._stepping:
            self.solve_count += 1
        elif self._overrides.per_sample:
            raise CaptureError(where + "a solve inside another cannot be solved per sample; leave per_sample out")
        if self._around and isinstance(self.calls[self._around[-1]], SdeCall):
            raise CaptureError(
                where + "a solve inside a function of an SDE cannot be exported; solve one before the other"
            )
        if self._around and "mark" in (call.entry, self.calls[self._around[-1]].entry):
            raise CaptureError(
                where + "mark inside a function of a solve, or a solve inside what is marked, cannot be "
                "exported; solve one before the other"
            )
        call_spec = spec_of(call, self.solve_count - 1, self._overrides)
        if self._stepping or (call.file, call.line) in self._with_memory:
            return self._in_steps(call, original, call_spec)
        spec = replace(call_spec, mark=len(self.specs), around=tuple(self._around))
        self.specs.append(spec)
        self.calls.append(call)
        self.solvers.append(original)
        self._around.append(spec.mark)
        try:
            return self._marked(call, spec, where)
        finally:
            self._around.pop()

    def _in_steps(self, call: Call, original: Callable[..., Any], spec: SolveSpec) -> Any:
        """The solution of a call, step by step in the trace, and so are the solves inside its field."""
        self._stepping += 1
        try:
            answer = in_steps(call, original, spec, self._overrides, self._watch)
        finally:
            self._stepping -= 1
        self.stepped.append(spec)
        if not self._stepping:
            self._watch.solved(answer, spec.call, spec.source)
        return answer

    def _marked(self, call: Call, spec: SolveSpec, where: str) -> Any:
        """The solution of a marked call: outputs of the End marker, after the regions of the call's functions."""
        check_call(call)
        if isinstance(call, SdeCall):
            return self._marked_sde(call, spec, where)
        parts, t = state_parts(call, where), self._watch.times_on_path(call_times(call, where))
        if spec.own_times and not all(part.ndim > 0 and part.shape[0] == parts[0].shape[0] for part in parts):
            shapes = ", ".join(str(tuple(part.shape)) for part in parts)
            raise CaptureError(where + f"per_sample needs a state whose first axis counts samples; it has {shapes}")
        single = not isinstance(call.y0, tuple)
        # torchdiffeq calls the event function first. The order matters where the event function makes a value that the
        # field keeps.
        functions: list[tuple[str, Callable[..., Any], torch.dtype]] = [("Begin", call.func, parts[0].dtype)]
        if spec.until_event:
            # The event function gets the solver's own time, which may be float64 where the field's is float32.
            double = spec.control is not None and spec.control.dtype == "float64"
            event_time_dtype = torch.float64 if double else parts[0].dtype
            functions.insert(0, ("Event", call.event_fn, event_time_dtype))
        if "norm" in spec.functions:
            norm = (call.options or {})["norm"]
            functions.append(("Norm", lambda _time, state: norm(state), parts[0].dtype))
        results = {}
        for kind, function, time_dtype in functions:
            results[kind] = self.region(
                kind, function, time_dtype, spec, parts, t, single=single, where=where.rstrip(": ")
            )
        slopes = field_slopes(results["Begin"], parts, single=single, where=where)
        readers = {"event": event_values, "norm": norm_value}
        values = [readers[name](results[name.capitalize()], parts, where) for name in spec.functions]
        event_time = [t[0]] if spec.until_event else []
        solution = onnx_ops.symbolic_multi_out(
            f"{DOMAIN}::End",
            (*slopes, *parts, *values, *option_values(call, spec, parts, t, where), t),
            {"solve": spec.mark},
            version=1,
            dtypes=[part.dtype for part in [*parts, *event_time]],
            shapes=[*(_solution_shape(spec, part, t) for part in parts), *(() for _ in event_time)],
        )
        states: Any = solution[0] if single else tuple(solution[: len(parts)])
        answer = (solution[-1], states) if spec.until_event else states
        self._watch.solved(answer, spec.call, spec.source)
        return answer

    def _marked_sde(self, call: SdeCall, spec: SolveSpec, where: str) -> Any:
        """The solution of a marked SDE, and what the first step received in the place of what the last one leaves."""
        (y,), t = state_parts(call, where), call_times(call, where)
        values = []
        for name in ("field", *spec.functions):
            state = state_of(name, call, y)
            kind, single, function = marker_of(name), len(state) == 1, call.function(name)

            def called(time: Any, state: Any, single: bool = single, function: Any = function) -> Any:
                return function(time, state) if single else function(time, *state)

            value = self.region(kind, called, t.dtype, spec, state, t, single=single, where=where.rstrip(": "))
            values.append(function_value(name, value, call, y, where))
        slope, *others = values
        (states,) = onnx_ops.symbolic_multi_out(
            f"{DOMAIN}::End",
            (slope, y, *others, *sde_extras(call, spec, y, t, self._watch), t),
            {"solve": spec.mark},
            version=1,
            dtypes=[y.dtype],
            shapes=[_solution_shape(spec, y, t)],
        )
        self._watch.solved(states, spec.call, spec.source)
        return states, call.memory

    def region(
        self,
        kind: str,
        function: Callable[..., Any],
        time_dtype: torch.dtype,
        spec: SolveSpec,
        parts: Sequence[torch.Tensor],
        t: torch.Tensor,
        *,
        single: bool,
        where: str,
    ) -> Any:
        """The result of one of the user's functions for the time and state of a marker; its nodes are the region.

        The function is called three times: on the initial state, on an Again marker, and on the marker of `kind`.
        time_dtype: the dtype of the time that the function gets. single: whether the state is one tensor, not a tuple.
        """

        def plain(time: torch.Tensor, state: Sequence[torch.Tensor]) -> Any:
            progress.field_called(f"the solve at {spec.source}")
            return function(time, state[0] if single else tuple(state))

        call: SolveFunction = plain
        # Some functions make noise or embeddings at their first call and keep them. As this call comes before the
        # region begins, these are values from outside, as they are for a real solver from its second evaluation on.
        watch = self._watch
        watch.fields.warm_up(lambda: call(t[0].to(time_dtype), [part.clone() for part in parts]), where)
        # No output may depend on values that the second call makes; else the function depends on its own history.
        t_second, *y_second = self._mark("Again", spec, parts, t, time_dtype)
        with field_call("unused"):
            if spec.own_times:
                call = _with_time_per_sample(call, t_second, y_second, spec)
            else:
                watch.fields.warm_up(lambda: call(t_second, y_second), where)
        t_mark, *y_marks = self._mark(kind, spec, parts, t, time_dtype)
        with field_call("refused"):
            return watch.fields.every_path(lambda: call(t_mark, y_marks), where)

    @staticmethod
    def _mark(
        kind: str, spec: SolveSpec, parts: Sequence[torch.Tensor], t: torch.Tensor, time_dtype: torch.dtype
    ) -> Sequence[torch.Tensor]:
        """The outputs of a new marker: a time, of the shape `time_shape`, and the parts of a state."""
        time, *state = onnx_ops.symbolic_multi_out(
            f"{DOMAIN}::{kind}",
            (*parts, t),
            {"solve": spec.mark},
            version=1,
            dtypes=[time_dtype, *(part.dtype for part in parts)],
            shapes=[time_shape(spec, parts), *(tuple(part.shape) for part in parts)],
        )
        # For torch all outputs depend on all inputs, whereas the time of a solve does not depend on its state.
        return time.detach() if time.requires_grad and not t.requires_grad else time, *state


def _with_time_per_sample(
    call: SolveFunction, t: torch.Tensor, parts: Sequence[torch.Tensor], spec: SolveSpec
) -> SolveFunction:
    """The user's field as a field that takes a time for each sample, (samples, 1, ...).

    It is the user's field itself, if that broadcasts such a time; else a vmap over the samples, which works for a field
    that reads no value from outside with a row for each sample. t, parts: a time and a state to try both on. Raises
    CaptureError where neither returns slopes of the state's shapes.
    """
    shapes = [part.shape for part in parts]

    def mapped(t: torch.Tensor, parts: Sequence[torch.Tensor]) -> Any:
        def alone(time: torch.Tensor, *state: torch.Tensor) -> Any:
            slopes = call(time, [part[None] for part in state])
            return slopes[0] if isinstance(slopes, torch.Tensor) else tuple(part[0] for part in slopes)

        return torch.func.vmap(alone)(t.reshape(-1), *parts)

    causes = []
    for function in (call, mapped):
        try:
            slopes = function(t, parts)
        except Exception as error:  # the user's code may raise anything on a shape that it was not written for
            causes.append(f"{type(error).__name__}: {error}")
            continue
        slope_shapes = [part.shape for part in ([slopes] if isinstance(slopes, torch.Tensor) else slopes)]
        if slope_shapes == shapes:
            return function
        causes.append(f"it returned {', '.join(str(tuple(shape)) for shape in slope_shapes)}")
    raise CaptureError(
        f"the solve at {spec.source}\n  found: a field that takes neither a time for each sample, of the shape "
        f"(samples, 1, ...) ({causes[0]}), nor each sample alone ({causes[1]})\n  do: write what it does with t so "
        "that it broadcasts over the samples, as in torch.ones_like(y[:, :1]) * t, or leave per_sample out"
    )


def time_shape(spec: SolveSpec, parts: Sequence[torch.Tensor]) -> tuple[int, ...]:
    """The shape of the time that a solve's functions get.

    The shape is () for one time; (samples, 1, ...), with as many axes as the state's first part, where each sample has
    its own time.
    """
    return (parts[0].shape[0], *[1] * (parts[0].ndim - 1)) if spec.own_times else ()


def _solution_shape(spec: SolveSpec, part: torch.Tensor, t: torch.Tensor) -> tuple[int, ...]:
    """The shape of a part's solution: (times, *part); for an iteration, the shape of the part."""
    return tuple(part.shape) if spec.timeless else (t.shape[0], *part.shape)
