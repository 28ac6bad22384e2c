"""Capture: a model that calls torchdiffeq, to one ONNX graph in which each solve is marked.

Each call of odeint becomes a pair of markers, `odelet::Begin` and `odelet::End`, around one inline call of
the field. What the field reads from outside needs no handling: it is another value of the same graph.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass, replace
from typing import Any

import onnx_ir as ir
import onnx_ir.passes.common as passes
import torch
from torch import nn
from torch.export._patches import register_gru_while_loop_decomposition, register_lstm_while_loop_decomposition
from torch.fx.experimental import _config as fx_config
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.onnx import ops as onnx_ops

from odelet_export.decompositions import gradient_decompositions
from odelet_export.errors import CaptureError, ExportError
from odelet_export.explain import explain, refuse_random
from odelet_export.intercept import Call, intercepted
from odelet_export.signature import Callee, Dynamic, traced_example
from odelet_export.spec import Overrides, SolveSpec, spec_of
from odelet_export.translations import exact_float64

DOMAIN = "odelet"
# Loggers that print the failures of tracers, which are explained below or do not matter.
_LOGGERS = ("torch.onnx", "torch.export", "torch.fx", "torch._subclasses", "onnxscript")


@dataclass(frozen=True)
class Captured:
    """model: the host graph with its marked solves. specs: one for each solve, in the order of the calls.

    tracer: which way of tracing worked, "torch.export" or "make_fx". calls: how many solves the model made, those
    that nothing depends on included.
    """

    model: ir.Model
    specs: list[SolveSpec]
    tracer: str
    calls: int = 1


class _Marker:
    """The handler that marks solves; records their specs."""

    def __init__(self, overrides: Overrides) -> None:
        self.specs: list[SolveSpec] = []
        self._overrides = overrides

    def __call__(self, call: Call, _original: Callable[..., Any]) -> Any:
        spec = spec_of(call, len(self.specs), self._overrides)
        self.specs.append(spec)
        where = f'File "{call.file}", line {call.line}: '
        parts = _state(call, where)
        t = _times(call, where)
        structure = tuple if isinstance(call.y0, tuple) else _only
        # Fields keep what they make at their first call (noise, embeddings). Made here, before the region
        # begins, it is a value from outside, as it is for the real solver after its first step.
        call.func(t[0].to(parts[0].dtype), structure([part.clone() for part in parts]))
        # What a second call makes must lead nowhere; else the field depends on its own history.
        t_second, *y_second = self._mark("Again", spec, parts, t)
        call.func(t_second, structure(y_second))
        t_mark, *y_marks = self._mark("Begin", spec, parts, t)
        slope = call.func(t_mark, structure(y_marks))
        slopes = _slopes(slope, y_marks, single=not isinstance(call.y0, tuple), where=where)
        solution = onnx_ops.symbolic_multi_out(
            f"{DOMAIN}::End",
            (*slopes, *parts, *_extras(call, spec, t), t),
            {"solve": spec.call},
            version=1,
            dtypes=[part.dtype for part in parts],
            shapes=[(t.shape[0], *part.shape) for part in parts],
        )
        return structure(solution)

    @staticmethod
    def _mark(kind: str, spec: SolveSpec, parts: Sequence[torch.Tensor], t: torch.Tensor) -> Sequence[torch.Tensor]:
        """A marker that stands for a time and a state: a scalar in the state's dtype, and its parts."""
        return onnx_ops.symbolic_multi_out(
            f"{DOMAIN}::{kind}",
            (*parts, t),
            {"solve": spec.call},
            version=1,
            dtypes=[parts[0].dtype] * (1 + len(parts)),
            shapes=[(), *(tuple(part.shape) for part in parts)],
        )


def _extras(call: Call, spec: SolveSpec, t: torch.Tensor) -> list[torch.Tensor]:
    """The options of a call that are values of the model."""
    values = [(call.options or {})[name] for name in spec.extras]
    # torchdiffeq turns tensors round where time runs backwards, and leaves lists as they are.
    forward = torch.where(t[0] > t[-1], -1.0, 1.0)
    return [x if isinstance(x, torch.Tensor) else torch.tensor(x, dtype=torch.float64) * forward for x in values]


def _only(parts: Sequence[Any]) -> Any:
    return parts[0]


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


def capture(callee: Callee, dynamic: Dynamic, overrides: Overrides, *, opset: int) -> Captured:
    """Trace a model once.

    Tries torch.export, which keeps high-level operators whole; falls back to tracing below autograd, which
    turns gradients taken inside a field into plain operators. Raises CaptureError naming the user's file
    and line when neither works.
    """
    names = callee.names
    example = traced_example(names, callee.example, dynamic)
    shapes = [
        {axis: torch.export.Dim(label) for axis, label in dynamic.get(name, {}).items()} or None for name in names
    ]
    failures: list[Exception] = []
    for tracer, trace, loops in _tracers(callee):
        marker = _Marker(overrides)
        try:
            with _quiet(), loops(), _frozen(callee), intercepted(marker, refuse_nested=True), torch.random.fork_rng():
                program = trace(callee, tuple(example), shapes)
            with _quiet(), loops(), _frozen(callee):
                model = _to_onnx(program, names, callee.output_names, opset)
        except ExportError:
            raise
        except Exception as error:  # torch raises nearly anything here; explained below
            failures.append(error)
            continue
        if not marker.specs:
            raise CaptureError(
                "the model made no call of torchdiffeq.odeint or odeint_adjoint while it ran on the example; "
                "export a model that solves an ODE, or use torch.onnx.export for one that does not"
            )
        refuse_random(model)
        return Captured(model, _kept(marker.specs, model), tracer, len(marker.specs))
    raise CaptureError(explain(failures, dynamic)) from failures[-1]


Trace = Callable[[Callee, tuple[torch.Tensor, ...], list[Any]], torch.export.ExportedProgram]


def _tracers(callee: Callee) -> list[tuple[str, Trace, Callable[[], AbstractContextManager[None]]]]:
    """The ways to trace, in the order to try them; with loops for recurrent layers only where plain ones fail."""
    ways: list[tuple[str, Trace]] = [("torch.export", _export), ("make_fx", _make_fx_then_export)]
    recurrent = any(isinstance(module, nn.RNNBase) for module in callee.modules())
    kinds: list[Callable[[], AbstractContextManager[None]]] = [nullcontext]
    kinds += [recurrent_loops] if recurrent else []
    return [(name, trace, loops) for name, trace in ways for loops in kinds]


def _kept(calls: list[SolveSpec], model: ir.Model) -> list[SolveSpec]:
    """The solves that the model's outputs depend on; the tracer has dropped the others."""
    passes.RemoveUnusedNodesPass()(model)
    marked = {(node.op_type, node.attributes["solve"].as_int()) for node in model.graph if node.domain == DOMAIN}
    for spec in calls:
        if ("Again", spec.call) in marked:
            raise CaptureError(
                f"the solve at {spec.source}\n  found: a field that keeps something from one call to the next, "
                "so that dy/dt is not a function of t and y\n  do: make what it keeps part of the state, or compute it "
                "anew in each call"
            )
    kept = [spec for spec in calls if ("End", spec.call) in marked]
    if not kept:
        raise CaptureError(
            f"no output of the model depends on its solve at {calls[0].source}; return something computed from it"
        )
    return [replace(spec, index=index) for index, spec in enumerate(kept)]


def _export(callee: Callee, example: tuple[torch.Tensor, ...], shapes: list[Any]) -> torch.export.ExportedProgram:
    with torch.no_grad():
        return torch.export.export(callee, example, dynamic_shapes=(tuple(shapes),), strict=False)


def _make_fx_then_export(
    callee: Callee, example: tuple[torch.Tensor, ...], shapes: list[Any]
) -> torch.export.ExportedProgram:
    def call(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(output.detach() for output in callee(*tensors))

    # Fused attention has a gradient that ONNX cannot say; the plain formula has one that it can.
    with sdpa_kernel(SDPBackend.MATH):
        traced = make_fx(
            call,
            decomposition_table=gradient_decompositions(),
            tracing_mode="symbolic",
            _allow_non_fake_inputs=True,
        )(*example)
    # Two of the three calls of each field lead nowhere; what follows takes as long as the graph is large.
    traced.graph.eliminate_dead_code()
    traced.recompile()
    with torch.no_grad():
        return torch.export.export(traced, example, dynamic_shapes=tuple(shapes), strict=False)


def _to_onnx(
    program: torch.export.ExportedProgram, names: Sequence[str], output_names: Sequence[str], opset: int
) -> ir.Model:
    with exact_float64() as table:
        result = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            opset_version=opset,
            input_names=list(names),
            output_names=list(output_names),
            custom_translation_table=table,
        )
    assert result is not None
    return result.model


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """No gradients of the weights: nothing at inference takes them, and a loop that could is not exportable."""
    weights = [parameter for parameter in module.parameters() if parameter.requires_grad]
    try:
        for parameter in weights:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in weights:
            parameter.requires_grad_(True)


@contextmanager
def recurrent_loops() -> Iterator[None]:
    """Turn recurrent layers into loops, as torch.onnx's own capture does; else their length is baked in."""
    layers = torch.ops.aten.lstm.input, torch.ops.aten.gru.input
    with register_lstm_while_loop_decomposition(), register_gru_while_loop_decomposition():
        # An operator remembers the kernel it used last, from an attempt without loops or with them.
        for layer in layers:
            layer._dispatch_cache.clear()
        try:
            yield
        finally:
            for layer in layers:
                layer._dispatch_cache.clear()


@contextmanager
def _quiet() -> Iterator[None]:
    """No chatter from torch, and no two axes tied because their example sizes happen to be equal."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    duck = fx_config.use_duck_shape
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        fx_config.use_duck_shape = False
        # torch prints half a graph when a trace fails; the model's own words come again when it runs for parity.
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        fx_config.use_duck_shape = duck
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
