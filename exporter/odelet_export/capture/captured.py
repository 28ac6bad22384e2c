"""The result of a capture: one ONNX graph with markers in it, and the specs and calls of its solves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import onnx_ir as ir
import torch

from odelet.artifact.input_cards import AssumptionCard
from odelet_export.capture.noise_inputs import NoiseInput
from odelet_export.capture.sizes.conditions import SizeCondition
from odelet_export.model.axes import Dynamic
from odelet_export.model.spec import SolveSpec
from odelet_intercept.call import Call

# The prefix, before a number, of the names of the outputs that say whether an assumption holds.
ASSUMPTION_OUTPUT = "assumed."


@dataclass(frozen=True)
class Captured:
    """One captured model.

    model: the host graph; a pair of Begin and End nodes stands for each solve. specs: the solves that outputs depend
    on, in the order of the calls, without those inside other solves. nested: the solves inside other solves. calls: all
    calls of solver libraries that the model made, also those that no output depends on; `spec.mark` is the index of a
    solve's call. solvers: for each call, the library's function that it would have reached. solve_count: how many calls
    were made outside any other solve.

    tracer: the way of tracing that succeeded, "torch.export" or "make_fx". program: the traced program that was
    translated to `model`; it holds the model's own weights. example: the inputs that the model was traced with; a
    whole number has a stand-in. numbers: the labels of whole numbers, by input name.
    assumptions: the decisions of the model's Python code that were taken on the example; an output of the graph says
    for each whether it holds. size_conditions: those of them that are conditions on sizes. noise: the base draws that
    outputs depend on; they are the graph's last inputs. draw_count: how many base draws the model made in all.
    uses_solutions: whether the trace depends on the solutions on the example, which change with the settings of the
    solves. warnings: sentences for the user. stepped: the solves whose steps are nodes of the graph themselves, with no
    markers.
    """

    model: ir.Model
    specs: list[SolveSpec]
    tracer: str
    calls: list[Call]
    solvers: list[Callable[..., Any]]
    solve_count: int
    program: torch.export.ExportedProgram
    example: list[torch.Tensor]
    numbers: Mapping[str, str] = field(default_factory=dict)
    assumptions: tuple[AssumptionCard, ...] = ()
    size_conditions: Sequence[SizeCondition] = ()
    warnings: tuple[str, ...] = ()
    nested: Sequence[SolveSpec] = ()
    noise: Sequence[NoiseInput] = ()
    draw_count: int = 0
    uses_solutions: bool = False
    stepped: Sequence[SolveSpec] = ()

    def for_sizes(self, conditions: Sequence[SizeCondition], dynamic: Dynamic) -> Captured:
        """The capture with other conditions on sizes. dynamic: the axes that may change."""
        decisions = [one for one in self.assumptions if not one.sizes]
        cards = [
            one.card([name for name, axes in dynamic.items() if {*one.labels} & {*axes.values()}]) for one in conditions
        ]
        return replace(self, size_conditions=tuple(conditions), assumptions=(*decisions, *cards))
