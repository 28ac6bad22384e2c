"""SDEs that are captured once for each method and kind of noise, and lowered to each form without another trace."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
import torchsde
from torch import nn

import odelet
from odelet.methods.sde_steps import SDE_METHODS
from odelet_export.capture.capture import capture
from odelet_export.capture.captured import Captured
from odelet_export.lowering.lift import lift
from odelet_export.lowering.lower import lower
from odelet_export.lowering.sample_axis import axis_of_samples
from odelet_export.model.callee import Callee
from odelet_export.model.overrides import Overrides
from odelet_export.targets.folder import write_card
from odelet_export.targets.onnx_files import card_of, tensor_of, write_graphs
from support.sdes import Problem, torchsde_name

# The forms that a solve of fixed steps can have.
SDE_FORMS = ("unrolled", "rolled", "driven")


class SdeNet(nn.Module):
    """A model that solves a problem of `support.sdes` by torchsde. settings: keywords of the call."""

    def __init__(self, problem: Problem, method: str, times: tuple[float, ...], **settings) -> None:
        super().__init__()
        key, options = torchsde_name(method)
        self.sde = problem.module
        self.times = torch.tensor(times, dtype=getattr(torch, problem.dtype))
        self.settings = {"method": key, "options": options, **settings}

    def forward(self, x):
        return torchsde.sdeint(self.sde, x, self.times, **self.settings)


@cache
def traced_sde(method: str, noise: str, dtype: str, times: tuple[float, ...], settings: tuple) -> Captured:
    """The capture of an `SdeNet`. settings: pairs of the keywords of its call."""
    problem = Problem(noise, SDE_METHODS[method].calculus, dtype)
    model = SdeNet(problem, method, times, **dict(settings))
    callee = Callee(model, (torch.from_numpy(problem.start(2)),), {})
    return capture(callee, {"x": {0: "batch"}}, Overrides(), opset=20)


def load_sde(
    method: str, noise: str, dtype: str, form: str, folder: Path, *, times: tuple[float, ...], **settings
) -> odelet.Model:
    """Lower the capture of an `SdeNet` to a form, write it and load it. settings: keywords of its call."""
    captured = traced_sde(method, noise, dtype, times, tuple(sorted(settings.items())))
    captured = replace(captured, model=captured.model.clone())
    graph = captured.model.graph
    inputs, outputs = ([tensor_of(value) for value in values] for values in (graph.inputs, graph.outputs))
    holes = list(lift(captured))
    samples = axis_of_samples(holes, inputs[:1])
    lowered = lower(captured, holes, form, max_steps=10_000, keep_debug_info=False)
    folder.mkdir(parents=True, exist_ok=True)
    card = card_of(lowered, "SdeNet", inputs, outputs, (), 20, captured.noise, samples=samples)
    write_card(write_graphs(lowered, card, folder), folder)
    return odelet.load(folder)
