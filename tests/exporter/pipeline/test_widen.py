"""Conditions on sizes: what no answer depends on is left out, and a decision that matters keeps its side."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchdiffeq import odeint

import odelet
from odelet.artifact.formulas import Formula
from odelet_export import export
from odelet_export.capture.sizes.conditions import SizeCondition
from odelet_export.model.callee import Callee
from odelet_export.pipeline.prepare import prepare
from odelet_export.pipeline.settings import ExportSettings
from odelet_export.proof.replay import Replay


class Model(nn.Module):
    def __init__(self, field):
        super().__init__()
        self.call = field

    def forward(self, x):
        return odeint(lambda t, y: self.call(y), x, torch.tensor([0.0, 1.0]), method="euler")[-1]


def windows(y):
    n = y.shape[1]
    if n % 4:
        y = F.pad(y, (0, 4 - n % 4))
    return torch.softmax(y.view(y.shape[0], -1, 4), -1).flatten(1)[:, :n]


def cropped(y):
    coarse = F.avg_pool1d(y[:, None], 2, ceil_mode=True)
    fine = F.interpolate(coarse, scale_factor=2)[:, 0]
    if fine.shape != y.shape:
        fine = fine[:, : y.shape[1]]
    return fine


def other_above_five(y):
    return -y if y.shape[1] > 5 else y


def other_where_odd_and_large(y):
    if y.shape[1] % 2 == 0:
        return -y
    return y if y.shape[1] > 20 else -y


def formulas(field, size):
    """The conditions on n of a capture with an example of a size, which must answer as the model wherever they hold."""
    model = Model(field)
    ready = prepare(
        Callee(model, (torch.randn(2, size),), {}),
        {"x": {0: "batch", 1: "n"}},
        ExportSettings.of(samples=1),
        tell=lambda stage: None,
    )
    conditions = [Formula(one.sizes) for one in ready.captured.assumptions]
    replay = Replay(ready.captured, ready.settings.solves)
    for n in (2, 3, 4, 5, 6, 8, 11, 20, 21, 23):
        if all(one.value({"n": n}) for one in conditions):
            x = torch.randn(3, n)
            torch.testing.assert_close(replay.run([x])[0], model(x))
    return [one.text for one in conditions]


@pytest.mark.parametrize(("field", "size"), [(windows, 6), (cropped, 8)])
def test_a_decision_that_one_graph_serves_on_both_sides_is_no_condition(field, size):
    assert formulas(field, size) == []


def test_a_decision_that_matters_keeps_the_side_of_the_example():
    assert formulas(other_above_five, 8) == ["n >= 6"]


def test_a_decision_on_the_other_side_is_found_there():
    (condition,) = formulas(other_where_odd_and_large, 8)
    says = SizeCondition(("model.py", 1), condition, by_user=True)
    assert [n for n in range(2, 30) if not says.holds([n])] == [21, 23, 25, 27, 29]


def test_a_number_beside_a_decision_by_a_size_is_an_input(tmp_path):
    def model(x, k=4):
        n = x.shape[-1]
        if n % 4:
            x = torch.nn.functional.pad(x, (0, 4 - n % 4))
        return odeint(lambda t, y: -y, x, torch.linspace(0, 1, k + 1), method="euler")[-1][:, :n]

    dynamic = {"x": {0: "b", 1: "W"}, "k": "k"}
    export(model, (torch.randn(2, 8), 4), tmp_path / "out", dynamic=dynamic, samples=1)
    loaded = odelet.load(tmp_path / "out")
    for size, steps in ((8, 4), (6, 7), (5, 3)):
        x = torch.randn(3, size)
        np.testing.assert_allclose(loaded(x.numpy(), steps), model(x, steps), atol=1e-6)
