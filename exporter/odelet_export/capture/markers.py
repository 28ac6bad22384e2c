"""Marking solves in a trace: what stands in for torchdiffeq's odeint, and for `mark`, while a model is captured.

Each call becomes a pair of markers, `odelet::Begin` and `odelet::End`, around one inline call of
the field; a marker of its own begins each other function of the solve (`odelet::Event`). What these functions
read from outside needs no handling: it is another value of the same graph. Nor does a call that they make
themselves: its markers lie among theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.onnx import ops as onnx_ops

from odelet_export.capture.decisions.answers import TracingWatch
from odelet_export.graphs.nodes import DOMAIN
from odelet_export.model.call_spec import spec_of
from odelet_export.model.overrides import Overrides
from odelet_export.model.random_draws import field_call
from odelet_export.model.spec import SolveSpec
from odelet_intercept.call import Call
from odelet_intercept.errors import CaptureError

SolveFunction = Callable[[torch.Tensor, Sequence[torch.Tensor]], Any]


class Marker:
    """The handler that marks solves; records them with the odeint that each would have reached, and their specs.
    solves: how many were made outside of any other."""

    def __init__(self, overrides: Overrides, watch: TracingWatch) -> None:
        self.specs: list[SolveSpec] = []
        self.calls: list[Call] = []
        self.originals: list[Callable[..., Any]] = []
        self.solves = 0
        self._overrides = overrides
        self._watch = watch
        self._around: list[int] = []

    def __call__(self, call: Call, original: Callable[..., Any]) -> Any:
        where = call.where
        if not self._around:
            self.solves += 1
        elif self._overrides.per_sample:
            raise CaptureError(where + "a solve inside another cannot be solved per sample; leave per_sample out")
        if self._around and "mark" in (call.entry, self.calls[self._around[-1]].entry):
            raise CaptureError(
                where + "mark inside a function of a solve, or a solve inside what is marked, cannot be "
                "exported; solve one before the other"
            )
        read = spec_of(call, self.solves - 1, self._overrides)
        spec = replace(read, mark=len(self.specs), around=tuple(self._around))
        self.specs.append(spec)
        self.calls.append(call)
        self.originals.append(original)
        self._around.append(spec.mark)
        try:
            return self._marked(call, spec, where)
        finally:
            self._around.pop()

    def _marked(self, call: Call, spec: SolveSpec, where: str) -> Any:
        """What stands for the solution, after the markers and what lies between them."""
        parts = _state(call, where)
        t = _times(call, where)
        if spec.own_times and not all(part.ndim > 0 and part.shape[0] == parts[0].shape[0] for part in parts):
            came = ", ".join(str(tuple(part.shape)) for part in parts)
            raise CaptureError(where + f"per_sample needs a state whose first axis counts samples; it has {came}")
        single = not isinstance(call.y0, tuple)
        # torchdiffeq looks at the event function first, and so do we: it may make something that the field keeps.
        functions: list[tuple[str, Callable[..., Any], torch.dtype]] = [("Begin", call.func, parts[0].dtype)]
        if spec.until_event:
            if t.shape[0] != 2:
                raise CaptureError(where + f"a solve until an event takes two times; got {t.shape[0]}")
            # It is called with the solver's own time, which the field never sees.
            double = spec.control is not None and spec.control.dtype == "float64"
            time = torch.float64 if double else parts[0].dtype
            functions.insert(0, ("Event", call.event_fn, time))
        if "norm" in spec.functions:
            norm = (call.options or {})["norm"]
            functions.append(("Norm", lambda _time, state: norm(state), parts[0].dtype))
        results = {}
        for kind, function, time in functions:
            results[kind] = self._region(kind, function, time, spec, parts, t, single=single, where=where.rstrip(": "))
        slopes = _slopes(results["Begin"], parts, single=single, where=where)
        read = {"event": _event_values, "norm": _norm_value}
        values = [read[name](results[name.capitalize()], parts, where) for name in spec.functions]
        event_time = [t[0]] if spec.until_event else []
        solution = onnx_ops.symbolic_multi_out(
            f"{DOMAIN}::End",
            (*slopes, *parts, *values, *_extras(call, spec, parts, t, where), t),
            {"solve": spec.mark},
            version=1,
            dtypes=[part.dtype for part in [*parts, *event_time]],
            shapes=[*(_answer_shape(spec, part, t) for part in parts), *(() for _ in event_time)],
        )
        found: Any = solution[0] if single else tuple(solution[: len(parts)])
        found = (solution[-1], found) if spec.until_event else found
        self._watch.solved(found, spec.call, spec.source)
        return found

    def _region(
        self,
        kind: str,
        function: Callable[..., Any],
        time: torch.dtype,
        spec: SolveSpec,
        parts: Sequence[torch.Tensor],
        t: torch.Tensor,
        *,
        single: bool,
        where: str,
    ) -> Any:
        """Call a function of the user's on a marker's time, of a dtype, and state; everything else comes after."""

        def plain(time: torch.Tensor, state: Sequence[torch.Tensor]) -> Any:
            return function(time, state[0] if single else tuple(state))

        call: SolveFunction = plain
        # Functions keep what they make at their first call (noise, embeddings). Made here, before the region
        # begins, it is a value from outside, as it is for the real solver after its first step.
        watch = self._watch
        watch.warm_up(lambda: call(t[0].to(time), [part.clone() for part in parts]), where)
        # What a second call makes must lead nowhere; else the function depends on its own history.
        t_second, *y_second = self._mark("Again", spec, parts, t, time)
        with field_call("unused"):
            if spec.own_times:
                call = _of_each_sample(call, t_second, y_second, spec)
            else:
                watch.warm_up(lambda: call(t_second, y_second), where)
        t_mark, *y_marks = self._mark(kind, spec, parts, t, time)
        with field_call("refused"):
            return watch.every_path(lambda: call(t_mark, y_marks), where)

    @staticmethod
    def _mark(
        kind: str, spec: SolveSpec, parts: Sequence[torch.Tensor], t: torch.Tensor, time: torch.dtype
    ) -> Sequence[torch.Tensor]:
        """A marker that stands for a time and a state: a scalar of a dtype, and the state's parts."""
        return onnx_ops.symbolic_multi_out(
            f"{DOMAIN}::{kind}",
            (*parts, t),
            {"solve": spec.mark},
            version=1,
            dtypes=[time, *(part.dtype for part in parts)],
            shapes=[time_shape(spec, parts), *(tuple(part.shape) for part in parts)],
        )


def _of_each_sample(
    call: SolveFunction, t: torch.Tensor, parts: Sequence[torch.Tensor], spec: SolveSpec
) -> SolveFunction:
    """A function of the user's on a time for each sample, (samples, 1, ...): as it is, where it takes that; else called
    on each sample alone, which needs that it reads nothing from outside that has a row for each sample."""
    shapes = [part.shape for part in parts]

    def mapped(t: torch.Tensor, parts: Sequence[torch.Tensor]) -> Any:
        def alone(time: torch.Tensor, *state: torch.Tensor) -> Any:
            made = call(time, [part[None] for part in state])
            return made[0] if isinstance(made, torch.Tensor) else tuple(part[0] for part in made)

        return torch.func.vmap(alone)(t.reshape(-1), *parts)

    causes = []
    for function in (call, mapped):
        try:
            made = function(t, parts)
        except Exception as error:  # the user's code may raise anything on a shape it was not written for
            causes.append(f"{type(error).__name__}: {error}")
            continue
        found = [part.shape for part in ([made] if isinstance(made, torch.Tensor) else made)]
        if found == shapes:
            return function
        causes.append(f"it returned {', '.join(str(tuple(shape)) for shape in found)}")
    raise CaptureError(
        f"the solve at {spec.source}\n  found: a field that takes neither a time for each sample, of the shape "
        f"(samples, 1, ...) ({causes[0]}), nor each sample alone ({causes[1]})\n  do: write what it does with t so "
        "that it broadcasts over the samples, as in torch.ones_like(y[:, :1]) * t, or leave per_sample out"
    )


def time_shape(spec: SolveSpec, parts: Sequence[torch.Tensor]) -> tuple[Any, ...]:
    """A scalar; where each sample has its own time, (samples, 1, ...), of as many axes as the state's first part."""
    return (parts[0].shape[0], *[1] * (parts[0].ndim - 1)) if spec.own_times else ()


def _answer_shape(spec: SolveSpec, part: torch.Tensor, t: torch.Tensor) -> tuple[Any, ...]:
    """A state for each time; of an iteration, one state."""
    return tuple(part.shape) if spec.timeless else (t.shape[0], *part.shape)


def _extras(
    call: Call, spec: SolveSpec, parts: Sequence[torch.Tensor], t: torch.Tensor, where: str
) -> list[torch.Tensor]:
    """The options of a call that are values of the model."""
    # torchdiffeq turns tensors round where time runs backwards, and leaves lists as they are.
    forward = torch.where(t[0] > t[-1], -1.0, 1.0)
    values = []
    for name in spec.extras:
        value = (call.options or {}).get(name)
        if name == "grid":
            value = _grid(call, parts, t, where)
        elif not isinstance(value, torch.Tensor):
            value = torch.tensor(value, dtype=torch.float64) * forward
        values.append(value)
    return values


def _grid(call: Call, parts: Sequence[torch.Tensor], t: torch.Tensor, where: str) -> torch.Tensor:
    """The grid that the model constructs for a fixed-step solve."""

    def func(*_: Any, **__: Any) -> Any:
        raise CaptureError(
            where + "grid_constructor calls the field, which cannot be exported; compute it from y0 and t"
        )

    y0 = torch.cat([part.reshape(-1) for part in parts]) if isinstance(call.y0, tuple) else parts[0]
    grid = (call.options or {})["grid_constructor"](func, y0, t)
    if not isinstance(grid, torch.Tensor) or grid.ndim != 1 or grid.dtype != t.dtype:
        found = f"a {grid.dtype} tensor of {grid.ndim} axes" if isinstance(grid, torch.Tensor) else type(grid).__name__
        raise CaptureError(where + f"grid_constructor must return a 1-D {t.dtype} tensor, as t is; got {found}")
    return grid


def _state(call: Call, where: str) -> list[torch.Tensor]:
    """The parts of the initial state, in one dtype as torchdiffeq makes them."""
    parts = list(call.y0) if isinstance(call.y0, tuple) else [call.y0]
    if not parts or not all(isinstance(part, torch.Tensor) for part in parts):
        raise CaptureError(where + f"y0 must be a tensor or a tuple of tensors; got {type(call.y0).__name__}")
    dtype = parts[0].dtype
    for part in parts[1:]:
        dtype = torch.promote_types(dtype, part.dtype)
    if dtype not in (torch.float32, torch.float64):
        raise CaptureError(where + f"the state is {dtype}; float32 and float64 can be exported")
    return [part.to(dtype) for part in parts]


def _times(call: Call, where: str) -> torch.Tensor:
    t = call.t
    if not isinstance(t, torch.Tensor) or t.dtype not in (torch.float32, torch.float64) or t.ndim != 1:
        found = f"a {t.dtype} tensor of {t.ndim} axes" if isinstance(t, torch.Tensor) else type(t).__name__
        raise CaptureError(where + f"t must be a 1-D float32 or float64 tensor; got {found}")
    return t


def _slopes(slope: Any, state: Sequence[torch.Tensor], *, single: bool, where: str) -> list[torch.Tensor]:
    """The field's return value, in the shapes and the dtype of the state."""
    slopes = [slope] if single else list(slope)
    if len(slopes) != len(state) or not all(isinstance(part, torch.Tensor) for part in slopes):
        raise CaptureError(
            where + f"the field returned {len(slopes)} parts for a state of {len(state)}; they must correspond"
        )
    if single:
        return [torch.broadcast_to(slopes[0], state[0].shape).to(state[0].dtype)]
    return [part.to(y.dtype).reshape(y.shape) for part, y in zip(slopes, state, strict=True)]


def _event_values(values: Any, state: Sequence[torch.Tensor], where: str) -> torch.Tensor:
    """What an event function returned, as a row of numbers (events,)."""
    if not isinstance(values, torch.Tensor) or values.is_complex():
        raise CaptureError(where + f"event_fn must return a tensor of real numbers; got {type(values).__name__}")
    real = values if values.is_floating_point() else values.to(state[0].dtype)
    return real.reshape(-1)


def _norm_value(value: Any, state: Sequence[torch.Tensor], where: str) -> torch.Tensor:
    """What a norm returned, as a scalar in the dtype of the state."""
    if not isinstance(value, torch.Tensor) or value.is_complex() or any(size != 1 for size in value.shape):
        found = f"a {value.dtype} tensor of {value.ndim} axes" if isinstance(value, torch.Tensor) else repr(value)
        raise CaptureError(where + f"option norm must return one real number, as a tensor; got {found}")
    return value.to(state[0].dtype).reshape(())
