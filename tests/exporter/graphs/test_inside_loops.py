"""The weights of convolutions lie in the bodies of the loops that hold the convolutions."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torchdiffeq import odeint

import odelet
from odelet_export import export
from odelet_export.graphs import inside_loops

BATCH = {"x": {0: "batch"}}


class Images(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.inner = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        times = torch.linspace(0, 1, 5)
        path = odeint(lambda t, y: torch.tanh(self.inner(y)) - y, self.stem(x), times, rtol=1e-4, atol=1e-5)
        return path[-1]


def stored(folder):
    """The names of the weights of the model's own graph, and those of the bodies of its loops."""
    graph = onnx.load(folder / "model.onnx").graph
    bodies = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    inside = {tensor.name: tensor.dims for body in bodies for tensor in body.initializer}
    return {tensor.name: tensor.dims for tensor in graph.initializer}, inside


@pytest.mark.parametrize(("form", "method", "begins"), [("rolled", "rk4", False), ("adaptive", None, True)])
def test_weights_of_convolutions_are_in_the_body(form, method, begins, tmp_path):
    """An adaptive solve evaluates its field before the loop, too, and so its graph keeps the weights."""
    out, model = tmp_path / "out", Images()
    export(model, (torch.randn(2, 1, 6, 5),), out, form=form, method=method, dynamic=BATCH, samples=1)
    around, inside = stored(out)
    assert sorted(inside) == ["model.inner.bias.inside", "model.inner.weight.inside"]
    assert ("model.inner.weight" in around) is begins
    assert "model.stem.weight" in around
    x = torch.randn(5, 1, 6, 5)
    if form == "adaptive":
        np.testing.assert_allclose(odelet.load(out)(x.numpy()), model(x).detach(), atol=1e-4)


def test_large_weights_stay_where_they_can_be_outside(tmp_path, monkeypatch):
    monkeypatch.setattr(inside_loops, "MOST_BYTES", 100)
    export(Images(), (torch.randn(2, 1, 6, 5),), tmp_path / "out", form="adaptive", dynamic=BATCH, samples=1)
    assert list(stored(tmp_path / "out")[1]) == ["model.inner.bias.inside"]
