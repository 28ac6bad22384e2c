"""Capture a model: run it once under a tracer and return one ONNX graph with markers where its solves are.

A capture takes a `Callee` (the model with its example inputs), the axes that may change, and the overrides of the
export; it returns a `Captured`. In between, calls of solver libraries are intercepted and marked (`markers`),
Python decisions are answered and recorded (`decisions`), random draws become inputs (`noise_inputs`), and operators
that torch does not translate to ONNX are replaced (`operators`). A trace can succeed and be wrong: the replay in
proof/capture_check.py finds that out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial

import onnx_ir as ir
import onnx_ir.passes.common as passes
import torch
from torch import nn
from torch._dynamo.exc import UserError
from torch._export.non_strict_utils import _override_builtin_ops
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel

from odelet_export.capture.captured import ASSUMPTION_OUTPUT, Captured
from odelet_export.capture.decisions.answers import TracingWatch
from odelet_export.capture.decisions.example_run import NeedsExample, run_on_example
from odelet_export.capture.failures import failure_text, refuse_foreign, refuse_random
from odelet_export.capture.frames import Retraced
from odelet_export.capture.markers import Marker
from odelet_export.capture.noise_inputs import inputs_for_draws
from odelet_export.capture.operators.decomposing import decomposing
from odelet_export.capture.operators.decompositions import gradient_decompositions
from odelet_export.capture.operators.rewriting import quick_rules
from odelet_export.capture.operators.translations import exact_float64
from odelet_export.capture.operators.unused import remove_unused
from odelet_export.capture.sizes.len_and_int import NeedsLenAndInt
from odelet_export.capture.sizes.symbolic_inputs import symbolic_inputs
from odelet_export.capture.sizes.watch import SizeWatch
from odelet_export.capture.surroundings import frozen_weights, quiet_tracing, recurrent_loops
from odelet_export.graphs.half_precision import widen
from odelet_export.graphs.nodes import DOMAIN
from odelet_export.model.axes import Dynamic, traced_example
from odelet_export.model.callee import Callee
from odelet_export.model.number_inputs import stand_ins
from odelet_export.model.overrides import Overrides
from odelet_export.model.random_draws import drawing
from odelet_export.model.random_sources import TracedSource
from odelet_export.model.spec import SolveSpec
from odelet_intercept.errors import CaptureError, ExportError
from odelet_intercept.intercept import intercepted


def capture(
    callee: Callee, dynamic: Dynamic, overrides: Overrides, *, opset: int, frozen: Sequence[str] = ()
) -> Captured:
    """Trace a model on its example, and translate the trace to ONNX.

    frozen: names of inputs that the model may read Python numbers from, which then stay as they are on the example.
    Tries torch.export first, which keeps high-level operators whole; then tracing below autograd, which turns
    gradients taken inside a field into plain operators. Raises CaptureError: with the user's file and line where
    neither works, and for solves that no output depends on.
    """
    names = callee.names
    example = stand_ins(traced_example(names, callee.example, dynamic), [dynamic.get(name, {}) for name in names])
    failures: list[Exception] = []
    watch = TracingWatch(
        callee.model,
        dict(zip(names, example, strict=True)),
        dict(callee.state()),
        SizeWatch(dynamic),
        frozen=frozen,
    )
    for tracer, trace, loops in _tracers(callee, watch.sizes):
        # Each run of the model makes new `shadows`; the source must reach the shadows of the present run.
        source = TracedSource(lambda *shadow: watch.shadows.hold(*shadow))
        try:
            with quiet_tracing(), loops(), drawing(source):
                marker, program = _traced(trace, callee, watch, example, dynamic, overrides)
            with quiet_tracing(), loops(), frozen_weights(callee):
                outputs = [*callee.output_names, *(f"{ASSUMPTION_OUTPUT}{i}" for i in range(len(watch.assumptions)))]
                model, program = _to_onnx(program, names, outputs, opset)
        except ExportError:
            raise
        except Exception as error:  # torch raises errors of many classes; `failure_text` tells them apart
            failures.append(watch.sizes.in_names(error))
            continue
        refuse_random(model)
        passes.RemoveUnusedNodesPass()(model)
        refuse_foreign(model)
        noise = inputs_for_draws(model, source.draws)
        widen(model)
        specs = _used_solves(marker.specs, model)
        cards = [assumed.card(f"{ASSUMPTION_OUTPUT}{i}", names) for i, assumed in enumerate(watch.assumptions)]
        return Captured(
            model,
            [replace(spec, index=i) for i, spec in enumerate(spec for spec in specs if not spec.around)],
            tracer,
            marker.calls,
            marker.solvers,
            marker.solve_count,
            program,
            example,
            assumptions=(*cards, *watch.sizes.assumptions),
            warnings=tuple(watch.warnings),
            nested=[spec for spec in specs if spec.around],
            noise=noise,
            draw_count=len(source.draws),
            uses_solutions=watch.example_run is not None,
        )
    raise CaptureError(failure_text(failures)) from failures[-1]


def _traced(
    trace: Trace,
    callee: Callee,
    watch: TracingWatch,
    example: Sequence[torch.Tensor],
    dynamic: Dynamic,
    overrides: Overrides,
) -> tuple[Marker, torch.export.ExportedProgram]:
    """The handler that marked the solves, with its specs, and the traced program.

    The model is traced again where the first trace lacked something: its solutions on the example (NeedsExample), or a
    lower bound for the size of an axis (UserError of torch.export).
    """
    smallest_sizes: dict[str, int] = {}
    while True:
        marker = Marker(overrides, watch)
        try:
            with (
                callee.restoring(),
                callee.watched(watch),
                watch.sizes.asked(),
                intercepted(marker, copies=callee.copies),
            ):
                return marker, trace(callee, tuple(example), _dynamic_shapes(callee.names, dynamic, smallest_sizes))
        except NeedsLenAndInt as needed:
            watch.sizes.answer(needed)
        except NeedsExample:
            watch.example_run = run_on_example(callee, example, overrides)
        except UserError as error:
            # torch.export is not sure that a trace holds for small sizes, as one of `t[1:] > t[:-1]` for two times,
            # and demands a minimum. The demand is granted where it is the only one: a comparison with torch follows.
            demanded = {name: int(size) for name, size in _DEMANDED_MINIMUM.findall(str(error))}
            if not demanded or demanded.items() <= smallest_sizes.items():
                raise
            if _DEMANDED_AXIS.findall(str(error)) != [*demanded]:
                raise
            smallest_sizes |= demanded


# Lines of torch.export's message, such as `times = Dim('times', min=3)` among its suggested fixes.
_DEMANDED_AXIS = re.compile(r"^ +(\w+) = ", re.MULTILINE)
_DEMANDED_MINIMUM = re.compile(r"Dim\('(\w+)', min=(\d+)\)$", re.MULTILINE)

# The dynamic axes of each input, as torch.export takes them; None for an input whose shape is fixed.
Shapes = list[dict[int, torch.export.Dim] | None]


def _dynamic_shapes(names: Sequence[str], dynamic: Dynamic, smallest_sizes: Mapping[str, int]) -> Shapes:
    """The axes that may change, for torch.export; axes of one label have one size."""
    return [
        {axis: torch.export.Dim(label, min=smallest_sizes.get(label)) for axis, label in dynamic.get(name, {}).items()}
        or None
        for name in names
    ]


Trace = Callable[[Callee, tuple[torch.Tensor, ...], Shapes], torch.export.ExportedProgram]


def _tracers(callee: Callee, sizes: SizeWatch) -> list[tuple[str, Trace, Callable[[], AbstractContextManager[None]]]]:
    """The ways to trace, in the order in which to try them: each way's name, function, and context to enter around it.

    A recurrent layer becomes a loop only where the trace without loops fails.
    """
    ways: list[tuple[str, Trace]] = [("torch.export", _export), ("make_fx", partial(_make_fx_then_export, sizes=sizes))]
    recurrent = any(isinstance(module, nn.RNNBase) for module in callee.modules())
    loop_choices: list[Callable[[], AbstractContextManager[None]]] = [nullcontext]
    loop_choices += [recurrent_loops] if recurrent else []
    return [(name, trace, loops) for name, trace in ways for loops in loop_choices]


def _used_solves(specs: list[SolveSpec], model: ir.Model) -> list[SolveSpec]:
    """The specs of the solves whose End node is left in a graph without unused nodes.

    Raises CaptureError where the model has solves and none outside of others is left, and where a node of a second call
    (Again) is left: an output can depend on that call only where the field remembers it.
    """
    marked = {(node.op_type, node.attributes["solve"].as_int()) for node in model.graph if node.domain == DOMAIN}
    for spec in specs:
        if ("Again", spec.mark) in marked:
            raise CaptureError(
                f"the solve at {spec.source}\n  found: a field that keeps something from one call to the next, "
                "so that dy/dt is not a function of t and y\n  do: make what it keeps part of the state, or compute it "
                "anew in each call"
            )
    used = [spec for spec in specs if ("End", spec.mark) in marked]
    if specs and all(spec.around for spec in used):
        raise CaptureError(
            f"no output of the model depends on its solve at {specs[0].source}; return something computed from it"
        )
    return used


def _export(module: nn.Module, example: tuple[torch.Tensor, ...], shapes: Shapes) -> torch.export.ExportedProgram:
    """The program that torch.export traces without its compiler, which would not see the interception."""
    with torch.no_grad(), frozen_weights(module):
        # A model may have no inputs at all.
        dynamic_shapes = (tuple(shapes),) if shapes else None
        return torch.export.export(module, example, dynamic_shapes=dynamic_shapes, strict=False)


def _make_fx_then_export(
    callee: Callee, example: tuple[torch.Tensor, ...], shapes: Shapes, *, sizes: SizeWatch
) -> torch.export.ExportedProgram:
    """The program that make_fx traces below autograd, traced once more by torch.export, which torch.onnx needs."""

    def detached_outputs(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(output.detach() for output in callee(*tensors))

    # ONNX has no operator for the gradient of fused attention; the plain formula's gradient consists of ONNX operators.
    with (
        sdpa_kernel(SDPBackend.MATH),
        torch.set_grad_enabled(callee.grad_mode),
        _override_builtin_ops(),
        symbolic_inputs(example, [axes or {} for axes in shapes]),
    ):
        traced = make_fx(
            detached_outputs,
            decomposition_table=gradient_decompositions(),
            tracing_mode="symbolic",
            _allow_non_fake_inputs=True,
            record_stack_traces=True,
        )(*example)
    traced.graph.eliminate_dead_code()
    traced.recompile()
    return _export(Retraced(traced, sizes, callee.names), example, shapes)


def _to_onnx(
    program: torch.export.ExportedProgram, names: Sequence[str], output_names: Sequence[str], opset: int
) -> tuple[ir.Model, torch.export.ExportedProgram]:
    """The ONNX model of a program, and the program decomposed into the operators that were translated."""
    # No output depends on two of the three calls of each field; the translation is faster without their nodes.
    remove_unused(program)
    with decomposing(), quick_rules(), exact_float64() as table:
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
    _cast_concatenated(result.model)
    return result.model, result.exported_program


def _cast_concatenated(model: ir.Model) -> None:
    """Cast the inputs of each Concat to the type of its output, in place.

    torch promotes the tensors that it concatenates, as where an event function stacks float32 numbers of the state and
    the float64 time; its translation to ONNX leaves the casts out.
    """
    for node in list(model.graph.all_nodes()):
        dtype = node.outputs[0].dtype if node.op_type == "Concat" else None
        if dtype is None:
            continue
        for place, value in enumerate(node.inputs):
            if value is not None and value.dtype is not None and value.dtype != dtype:
                cast = ir.Node("", "Cast", [value], [ir.AttrInt64("to", int(dtype))])
                cast.outputs[0].type, cast.outputs[0].shape = ir.TensorType(dtype), value.shape
                assert node.graph is not None
                node.graph.insert_before(node, cast)
                node.replace_input_with(place, cast.outputs[0])
