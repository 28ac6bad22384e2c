"""The ways to trace a model: by torch.export, below autograd, and below autograd at several sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import nn
from torch._export.non_strict_utils import _override_builtin_ops
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel

from odelet_export.capture.frames import Retraced
from odelet_export.capture.operators.decompositions import gradient_decompositions
from odelet_export.capture.operators.equal_nodes import merge_in_trace
from odelet_export.capture.sizes.symbolic_inputs import symbolic_inputs
from odelet_export.capture.sizes.watch import SizeWatch
from odelet_export.capture.surroundings import frozen_weights, recurrent_loops
from odelet_export.model.axes import Dynamic
from odelet_export.model.callee import Callee

# The dynamic axes of each input, as torch.export takes them; None for an input whose shape is fixed.
Shapes = list[dict[int, torch.export.Dim] | None]


def dynamic_shapes(names: Sequence[str], dynamic: Dynamic, smallest_sizes: Mapping[str, int]) -> Shapes:
    """The axes that may change, for torch.export; axes of one label have one size."""
    return [
        {axis: torch.export.Dim(label, min=smallest_sizes.get(label)) for axis, label in dynamic.get(name, {}).items()}
        or None
        for name in names
    ]


# A function that traces a model on its example.
Trace = Callable[[Callee, tuple[torch.Tensor, ...], Shapes], torch.export.ExportedProgram]


@dataclass(frozen=True)
class Tracer:
    """A way to trace. name: as in the report. prepare: returns its function. loops: the context around both."""

    name: str
    prepare: Callable[[], Trace]
    loops: Callable[[], AbstractContextManager[None]]


def tracers(callee: Callee, sizes: SizeWatch, at_sizes: Callable[[], Trace] | None) -> list[Tracer]:
    """The ways to trace, in the order in which to try them.

    at_sizes: prepares the trace at several sizes; None for a model without dynamic axes. A recurrent layer becomes a
    loop only where the trace without loops fails.
    """
    ways: list[tuple[str, Callable[[], Trace]]] = [
        ("torch.export", lambda: exported),
        ("make_fx", lambda: partial(_traced_below_autograd, sizes=sizes)),
    ]
    ways += [("make_fx at sizes", at_sizes)] if at_sizes is not None else []
    recurrent = any(isinstance(module, nn.RNNBase) for module in callee.modules())
    loop_choices: list[Callable[[], AbstractContextManager[None]]] = [nullcontext]
    loop_choices += [recurrent_loops] if recurrent else []
    return [Tracer(name, prepare, loops) for name, prepare in ways for loops in loop_choices]


def exported(module: nn.Module, example: tuple[torch.Tensor, ...], shapes: Shapes) -> torch.export.ExportedProgram:
    """The program that torch.export traces without its compiler, which would not see the interception."""
    with torch.no_grad(), frozen_weights(module):
        # A model may have no inputs at all.
        dynamic_shapes = (tuple(shapes),) if shapes else None
        return torch.export.export(module, example, dynamic_shapes=dynamic_shapes, strict=False)


def _traced_below_autograd(
    callee: Callee, example: tuple[torch.Tensor, ...], shapes: Shapes, *, sizes: SizeWatch
) -> torch.export.ExportedProgram:
    """The program that make_fx traces below autograd, traced once more by torch.export, which torch.onnx needs."""
    with symbolic_inputs(example, [axes or {} for axes in shapes]):
        traced = below_autograd(callee, example, sizes="symbolic")
    merge_in_trace(traced)
    return exported(Retraced(traced, sizes, callee.names), example, shapes)


def below_autograd(
    callee: Callee, example: tuple[torch.Tensor, ...], *, sizes: Literal["symbolic", "fake"]
) -> GraphModule:
    """The trace of make_fx, in which gradients are plain operators. sizes: "fake" for sizes that are plain numbers."""

    def detached_outputs(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(output.detach() for output in callee(*tensors))

    # ONNX has no operator for the gradient of fused attention; the plain formula's gradient consists of ONNX operators.
    with sdpa_kernel(SDPBackend.MATH), torch.set_grad_enabled(callee.grad_mode), _override_builtin_ops():
        traced = make_fx(
            detached_outputs,
            decomposition_table=gradient_decompositions(),
            tracing_mode=sizes,
            _allow_non_fake_inputs=True,
            record_stack_traces=True,
        )(*example)
    traced.graph.eliminate_dead_code()
    traced.recompile()
    return traced
