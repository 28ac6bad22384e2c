"""Capture: a model that calls torchdiffeq, to one ONNX graph in which each solve is marked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import onnx_ir as ir
import onnx_ir.passes.common as passes
import torch
from torch import nn
from torch._dynamo.exc import UserError
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel

from odelet_export.capture.captured import ASSUMED, Captured
from odelet_export.capture.decisions.answers import NeedsExample, TracingWatch
from odelet_export.capture.decisions.example_run import observe
from odelet_export.capture.failures import explain, refuse_random
from odelet_export.capture.frames import Retraced
from odelet_export.capture.markers import Marker
from odelet_export.capture.noise_inputs import take_out
from odelet_export.capture.operators.decompositions import gradient_decompositions
from odelet_export.capture.operators.translations import exact_float64
from odelet_export.capture.surroundings import frozen_weights, quiet, recurrent_loops
from odelet_export.graphs.half_precision import widen
from odelet_export.graphs.nodes import DOMAIN
from odelet_export.model.axes import Dynamic, traced_example
from odelet_export.model.callee import Callee
from odelet_export.model.overrides import Overrides
from odelet_export.model.random_draws import TracedSource, drawing
from odelet_export.model.spec import SolveSpec
from odelet_intercept.errors import CaptureError, ExportError
from odelet_intercept.intercept import intercepted


def capture(
    callee: Callee, dynamic: Dynamic, overrides: Overrides, *, opset: int, frozen: Sequence[str] = ()
) -> Captured:
    """Trace a model once.

    Tries torch.export, which keeps high-level operators whole; falls back to tracing below autograd, which
    turns gradients taken inside a field into plain operators. Raises CaptureError naming the user's file
    and line when neither works.
    """
    names = callee.names
    example = traced_example(names, callee.example, dynamic)
    failures: list[Exception] = []
    watch = TracingWatch(dict(zip(names, example, strict=True)), dict(callee.state()), frozen=frozen)
    for tracer, trace, loops in _tracers(callee):
        random = TracedSource(lambda *known: watch.shadows.hold(*known))
        try:
            with quiet(), loops(), frozen_weights(callee), drawing(random):
                marker, program = _traced(trace, callee, watch, example, dynamic, overrides)
            with quiet(), loops(), frozen_weights(callee):
                outputs = [*callee.output_names, *(f"{ASSUMED}{i}" for i in range(len(watch.assumptions)))]
                model, program = _to_onnx(program, names, outputs, opset)
        except ExportError:
            raise
        except Exception as error:  # torch raises nearly anything here; explained below
            failures.append(error)
            continue
        if not marker.specs:
            raise CaptureError(
                "the model made no call of torchdiffeq.odeint, odeint_adjoint or mark while it ran on the example; "
                "export a model that solves an ODE or marks a fixed point, or use torch.onnx.export"
            )
        refuse_random(model)
        passes.RemoveUnusedNodesPass()(model)
        noise = take_out(model, random.draws)
        widen(model)
        kept = _kept(marker.specs, model)
        made = [one.card(f"{ASSUMED}{i}", names) for i, one in enumerate(watch.assumptions)]
        return Captured(
            model,
            [replace(spec, index=i) for i, spec in enumerate(spec for spec in kept if not spec.around)],
            tracer,
            marker.calls,
            marker.originals,
            marker.solves,
            program,
            example,
            assumptions=tuple(made),
            warnings=tuple(watch.warnings),
            nested=[spec for spec in kept if spec.around],
            noise=noise,
            draws=len(random.draws),
            observed=watch.observed is not None,
        )
    raise CaptureError(explain(failures, dynamic)) from failures[-1]


def _traced(
    trace: Trace,
    callee: Callee,
    watch: TracingWatch,
    example: Sequence[torch.Tensor],
    dynamic: Dynamic,
    overrides: Overrides,
) -> tuple[Marker, torch.export.ExportedProgram]:
    """Trace, and again where more must be known first: what the example gives, or how small an axis may be."""
    smallest: dict[str, int] = {}
    while True:
        marker = Marker(overrides, watch)
        try:
            with callee.restoring(), callee.watched(watch), intercepted(marker, copies=callee.copies):
                return marker, trace(callee, tuple(example), _shapes(callee.names, dynamic, smallest))
        except NeedsExample:
            watch.observed = observe(callee, example, overrides)
        except UserError as error:
            # A tracer is not sure of small sizes, as in `t[1:] > t[:-1]` of two times; the comparison with torch is.
            asked = {name: int(size) for name, size in _SMALLEST.findall(str(error))}
            if not asked or asked.items() <= smallest.items() or _SUGGESTED.findall(str(error)) != [*asked]:
                raise
            smallest |= asked


_SUGGESTED = re.compile(r"^ +(\w+) = ", re.MULTILINE)
_SMALLEST = re.compile(r"Dim\('(\w+)', min=(\d+)\)$", re.MULTILINE)


def _shapes(names: Sequence[str], dynamic: Dynamic, smallest: Mapping[str, int]) -> list[Any]:
    """The axes that may change, as torch.export wants them."""
    return [
        {axis: torch.export.Dim(label, min=smallest.get(label)) for axis, label in dynamic.get(name, {}).items()}
        or None
        for name in names
    ]


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
    marked = {(node.op_type, node.attributes["solve"].as_int()) for node in model.graph if node.domain == DOMAIN}
    for spec in calls:
        if ("Again", spec.mark) in marked:
            raise CaptureError(
                f"the solve at {spec.source}\n  found: a field that keeps something from one call to the next, "
                "so that dy/dt is not a function of t and y\n  do: make what it keeps part of the state, or compute it "
                "anew in each call"
            )
    kept = [spec for spec in calls if ("End", spec.mark) in marked]
    if all(spec.around for spec in kept):
        raise CaptureError(
            f"no output of the model depends on its solve at {calls[0].source}; return something computed from it"
        )
    return kept


def _export(callee: Callee, example: tuple[torch.Tensor, ...], shapes: list[Any]) -> torch.export.ExportedProgram:
    with torch.no_grad():
        # A model may have no inputs at all.
        dynamic = (tuple(shapes),) if shapes else None
        return torch.export.export(callee, example, dynamic_shapes=dynamic, strict=False)


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
            record_stack_traces=True,
        )(*example)
    traced.graph.eliminate_dead_code()
    traced.recompile()
    with torch.no_grad():
        return torch.export.export(
            Retraced(traced), example, dynamic_shapes=(tuple(shapes),) if shapes else None, strict=False
        )


def _to_onnx(
    program: torch.export.ExportedProgram, names: Sequence[str], output_names: Sequence[str], opset: int
) -> tuple[ir.Model, torch.export.ExportedProgram]:
    """The graph, and the program in the operators that were translated one by one."""
    # Two of the three calls of each field lead nowhere; what follows takes as long as the graph is large.
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()
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
    assert result is not None and result.exported_program is not None
    _promote(result.model)
    return result.model, result.exported_program


def _promote(model: ir.Model) -> None:
    """Cast what is concatenated to one type: torch promotes it there too, and its translation forgets to.

    Event functions stack float32 numbers of the state and the float64 time.
    """
    for node in list(model.graph.all_nodes()):
        wanted = node.outputs[0].dtype if node.op_type == "Concat" else None
        if wanted is None:
            continue
        for place, value in enumerate(node.inputs):
            if value is not None and value.dtype is not None and value.dtype != wanted:
                cast = ir.Node("", "Cast", [value], [ir.AttrInt64("to", int(wanted))])
                cast.outputs[0].type, cast.outputs[0].shape = ir.TensorType(wanted), value.shape
                assert node.graph is not None
                node.graph.insert_before(node, cast)
                node.replace_input_with(place, cast.outputs[0])
