"""The result of a capture: one graph with markers, and what is known of its solves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
import torch

from odelet.artifact.input_cards import AssumptionCard
from odelet_export.capture.noise_inputs import NoiseInput
from odelet_export.model.spec import SolveSpec
from odelet_intercept.call import Call

ASSUMPTION_OUTPUT = "assumed."


@dataclass(frozen=True)
class Captured:
    """model: the host graph with its marked solves. specs: one for each solve, in the order of the calls, but for those
    inside other solves: nested.

    tracer: which way of tracing worked, "torch.export" or "make_fx". calls: all calls that the model made, by the marks
    of their specs, those that nothing depends on included; originals: the odeint that each would have reached. solves:
    how many of them were made outside of any other. program: what was translated to the model, with the model's own
    weights. example: the inputs that it was traced with. assumptions: what the model decided on the example, each with
    an output of the graph that says whether it holds. noise: the graph's last inputs, which stand for random numbers.
    draws: how many base draws the model made, those that nothing depends on included. observed: whether the trace took
    anything from the solutions on the example, which other settings of the solves would change.
    """

    model: ir.Model
    specs: list[SolveSpec]
    tracer: str
    calls: list[Call]
    solvers: list[Callable[..., Any]]
    solve_count: int
    program: torch.export.ExportedProgram
    example: list[torch.Tensor]
    assumptions: tuple[AssumptionCard, ...] = ()
    warnings: tuple[str, ...] = ()
    nested: Sequence[SolveSpec] = ()
    noise: Sequence[NoiseInput] = ()
    draw_count: int = 0
    uses_solutions: bool = False
