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
from dataclasses import replace
from functools import partial
from typing import TypeVar

import onnx_ir as ir
import onnx_ir.passes.common as passes
import torch
from torch._dynamo.exc import UserError
from torch.fx import GraphModule

from odelet_export.capture import progress
from odelet_export.capture.at_sizes import AtSizes, Unlike
from odelet_export.capture.captured import ASSUMPTION_OUTPUT, Captured
from odelet_export.capture.decisions.answers import TracingWatch
from odelet_export.capture.decisions.example_run import NeedsExample, run_on_example
from odelet_export.capture.failures import failure_text, refuse_foreign, refuse_random
from odelet_export.capture.frames import Retraced
from odelet_export.capture.markers import Marker
from odelet_export.capture.noise_inputs import inputs_for_draws
from odelet_export.capture.onnx_model import to_onnx
from odelet_export.capture.script_graphs import interpreted_scripts
from odelet_export.capture.sizes.asked import NeedsStandIns
from odelet_export.capture.sizes.watch import SizeError, SizeWatch
from odelet_export.capture.stepping import told
from odelet_export.capture.surroundings import frozen_weights, quiet_tracing
from odelet_export.capture.tracers import Shapes, Trace, below_autograd, dynamic_shapes, exported, tracers
from odelet_export.capture.transforms import plain_transforms
from odelet_export.graphs.half_precision import widen
from odelet_export.graphs.nodes import DOMAIN
from odelet_export.model.axes import Dynamic, at_sizes, traced_example
from odelet_export.model.callee import Callee
from odelet_export.model.number_inputs import stand_ins
from odelet_export.model.overrides import Overrides
from odelet_export.model.random_draws import drawing
from odelet_export.model.random_sources import TracedSource
from odelet_export.model.spec import SolveSpec
from odelet_intercept.errors import CaptureError, ExportError
from odelet_intercept.intercept import intercepted

Traced = TypeVar("Traced")


def capture(
    callee: Callee,
    dynamic: Dynamic,
    overrides: Overrides,
    *,
    opset: int,
    frozen: Sequence[str] = (),
    sizes: Mapping[str, int] | None = None,
) -> Captured:
    """Trace a model on its example, and translate the trace to ONNX.

    frozen: names of inputs that the model may read Python numbers from, which then stay as they are on the example.
    sizes: the sizes of the dynamic axes in the trace, by label; None for sizes like the example's.
    Tries torch.export first, which keeps high-level operators whole; then tracing below autograd, which turns
    gradients taken inside a field into plain operators. Raises CaptureError: with the user's file and line where
    neither works, and for solves that no output depends on.
    """
    if sizes is not None:
        example = _stand_ins(callee, dynamic, at_sizes(callee.names, callee.example, dynamic, sizes))
        captured, failures = _captured(callee, example, dynamic, overrides, opset, frozen, at_more_sizes=False)
        if captured is None:
            raise CaptureError(failure_text(failures)) from failures[-1]
        return captured
    example = _example(callee, dynamic, least=2)
    captured, failures = _captured(callee, example, dynamic, overrides, opset, frozen, at_more_sizes=bool(dynamic))
    if captured is None and any(isinstance(failure, SizeError) for failure in failures):
        # A part of a small axis, as x[1:] of two rows, has size 1, which a trace takes for a constant.
        larger = _example(callee, dynamic, least=4)
        if [x.shape for x in larger] != [x.shape for x in example]:
            captured, _ = _captured(callee, larger, dynamic, overrides, opset, frozen, at_more_sizes=False)
    if captured is None:
        raise CaptureError(failure_text(failures)) from failures[-1]
    return captured


def _example(callee: Callee, dynamic: Dynamic, *, least: int) -> list[torch.Tensor]:
    """The example to trace with. least: the least size of an axis that may change."""
    return _stand_ins(callee, dynamic, traced_example(callee.names, callee.example, dynamic, least=least))


def _stand_ins(callee: Callee, dynamic: Dynamic, example: list[torch.Tensor]) -> list[torch.Tensor]:
    return stand_ins(example, [dynamic.get(name, {}) for name in callee.names])


def _captured(
    callee: Callee,
    example: list[torch.Tensor],
    dynamic: Dynamic,
    overrides: Overrides,
    opset: int,
    frozen: Sequence[str],
    *,
    at_more_sizes: bool,
) -> tuple[Captured | None, list[Exception]]:
    """The capture by the first way of tracing that works, or None, and the failures of the ways before.

    at_more_sizes: whether tracing at several sizes is tried last.
    """
    names = callee.names
    failures: list[Exception] = []
    watch = _watch(callee, example, SizeWatch(dynamic), frozen)
    more = partial(_at_sizes, callee, example, dynamic, overrides, frozen) if at_more_sizes else None
    for tracer in tracers(callee, watch.sizes, more):
        # Each run of the model makes new `shadows`; the source must reach the shadows of the present run.
        source = TracedSource(lambda *shadow: watch.shadows.hold(*shadow))
        try:
            with progress.part(f"trace by {tracer.name}"), quiet_tracing(), tracer.loops(), drawing(source):
                marker, program = _traced(tracer.prepare(), callee, watch, example, dynamic, overrides)
            with progress.part("translate to ONNX"), quiet_tracing(), tracer.loops(), frozen_weights(callee):
                outputs = [*callee.output_names, *(f"{ASSUMPTION_OUTPUT}{i}" for i in range(len(watch.assumptions)))]
                model, program = to_onnx(program, names, outputs, opset)
        except ExportError:
            raise
        except Exception as error:  # torch raises errors of many classes; `failure_text` tells them apart
            # How traces at several sizes differ is no cause: each tracer before says in its own way what fixes a size.
            failures += [] if isinstance(error, Unlike) else [watch.sizes.in_names(error)]
            continue
        captured = _finished(callee, example, dynamic, watch, marker, source, model, program, tracer.name)
        return captured, failures
    return None, failures


def _finished(
    callee: Callee,
    example: list[torch.Tensor],
    dynamic: Dynamic,
    watch: TracingWatch,
    marker: Marker,
    source: TracedSource,
    model: ir.Model,
    program: torch.export.ExportedProgram,
    tracer: str,
) -> Captured:
    """The capture that a trace and its translation make, checked and without nodes that nothing reads."""
    names = callee.names
    refuse_random(model)
    passes.RemoveUnusedNodesPass()(model)
    refuse_foreign(model)
    noise = inputs_for_draws(model, source.draws)
    widen(model)
    specs = _used_solves(marker.specs, model)
    cards = [one.card(f"{ASSUMPTION_OUTPUT}{i}", names) for i, one in enumerate(watch.assumptions)]
    captured = Captured(
        model,
        [replace(spec, index=i) for i, spec in enumerate(spec for spec in specs if not spec.around)],
        tracer,
        marker.calls,
        marker.solvers,
        marker.solve_count,
        program,
        example,
        numbers={name: dynamic[name][0] for name in callee.whole_numbers},
        assumptions=tuple(cards),
        warnings=(*watch.warnings, *map(told, {spec.source: spec for spec in marker.stepped}.values())),
        nested=[spec for spec in specs if spec.around],
        noise=noise,
        draw_count=len(source.draws),
        uses_solutions=watch.example_run is not None,
        stepped=marker.stepped,
    )
    return captured.for_sizes(watch.sizes.conditions, dynamic)


def _watch(callee: Callee, inputs: Sequence[torch.Tensor], sizes: SizeWatch, frozen: Sequence[str]) -> TracingWatch:
    named = dict(zip(callee.names, inputs, strict=True))
    return TracingWatch(callee.model, named, dict(callee.state()), sizes, frozen=frozen)


def _traced(
    trace: Callable[[Callee, tuple[torch.Tensor, ...], Shapes], Traced],
    callee: Callee,
    watch: TracingWatch,
    example: Sequence[torch.Tensor],
    dynamic: Dynamic,
    overrides: Overrides,
) -> tuple[Marker, Traced]:
    """The handler that marked the solves, with its specs, and the result of the trace.

    The model is traced again where the first trace lacked something: its solutions on the example (NeedsExample), or a
    lower bound for the size of an axis (UserError of torch.export).
    """
    smallest_sizes: dict[str, int] = {}
    while True:
        marker = Marker(overrides, watch, callee.with_memory)
        try:
            with (
                callee.restoring(),
                callee.watched(watch),
                interpreted_scripts(),
                plain_transforms(),
                watch.sizes.asked(),
                intercepted(marker, copies=callee.copies, tracing=True),
            ):
                return marker, trace(callee, tuple(example), dynamic_shapes(callee.names, dynamic, smallest_sizes))
        except NeedsStandIns as needed:
            watch.sizes.replace(needed)
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


def _at_sizes(
    callee: Callee, example: Sequence[torch.Tensor], dynamic: Dynamic, overrides: Overrides, frozen: Sequence[str]
) -> Trace:
    """The function that traces a model on the example and unites the trace with others, made here at other sizes."""
    sizes = SizeWatch(dynamic)

    def traced(tensors: Sequence[torch.Tensor]) -> GraphModule:
        watch = _watch(callee, tensors, sizes, frozen)
        with drawing(TracedSource(lambda *shadow: watch.shadows.hold(*shadow))):
            return _traced(plain, callee, watch, tensors, dynamic, overrides)[1]

    def plain(callee: Callee, example: tuple[torch.Tensor, ...], _: Shapes) -> GraphModule:
        return below_autograd(callee, example, sizes="fake")

    others = AtSizes.of(traced, example, callee.names, dynamic)

    def trace(callee: Callee, example: tuple[torch.Tensor, ...], shapes: Shapes) -> torch.export.ExportedProgram:
        united = others.united(plain(callee, example, shapes))
        return exported(Retraced(united, sizes, callee.names), example, shapes)

    return trace


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
