"""What a field computes without the state is computed before the steps, for all of them, where that is known to pay."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torchdiffeq import odeint

import odelet
from odelet_export import export
from odelet_export.commands.floor import Floor
from odelet_export.lowering.forms import ahead

WIDTH = 24


class Modulated(nn.Module):
    """A field of rows that a network of the time, and of a context, shifts and scales."""

    def __init__(self, after=None):
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(8, WIDTH), nn.SiLU(), nn.Linear(WIDTH, 2 * WIDTH))
        self.inside, self.norm, self.outside = nn.Linear(3, WIDTH), nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3)
        self.context = nn.Linear(2, 8)
        self.after = after

    def forward(self, t, y, context):
        angles = t.expand(y.shape[0])[:, None] * torch.arange(1, 5)
        features = torch.cat([angles.cos(), angles.sin()], -1) + self.context(context)
        scale, shift = self.embed(features).chunk(2, 1)
        if self.after is not None:
            scale, shift = self.after(scale, shift, t, y)
        return self.outside(torch.tanh(self.norm(self.inside(y)) * (1 + scale) + shift)) * t.cos()


class Solved(nn.Module):
    def __init__(self, field, times, **options):
        super().__init__()
        self.field, self.times, self.options = field, times, options

    def forward(self, x, context, times=None):
        times = self.times if times is None else times
        return odeint(lambda t, y: self.field(t, y, context), x, times, **self.options)


def exported(out, field, *, times=(0.0, 0.3, 0.5, 1.2), form="unrolled", rewrite=True, **options):
    torch.manual_seed(0)
    model = Solved(field, torch.tensor(times), **options).eval()
    args = torch.randn(2, 3), torch.randn(2, 2)
    dynamic = {"x": {0: "batch"}, "context": {0: "batch"}}
    export(model, args, out, form=form, dynamic=dynamic, samples=1, rewrite=rewrite)
    return model, odelet.load(out)


def products(out):
    """How often the graph of an artifact multiplies by a weight of the embedding."""
    graph = onnx.load(out / "model.onnx").graph
    nodes = [*graph.node, *(inner for node in graph.node for one in node.attribute for inner in one.g.node)]
    return sum(any("embed" in name for name in node.input) for node in nodes if node.op_type in ("Gemm", "MatMul"))


def inside_loops(out):
    graph = onnx.load(out / "model.onnx").graph
    return {inner.op_type for node in graph.node if node.op_type == "Loop" for inner in node.attribute[0].g.node}


def check(model, artifact, *, batches=(1, 5)):
    for batch in batches:
        x, context = torch.randn(batch, 3), torch.randn(batch, 2)
        with torch.no_grad():
            truth = model.double()(x.double(), context.double()).numpy()
        model.float()
        np.testing.assert_allclose(artifact(x=x.numpy(), context=context.numpy()), truth, rtol=0, atol=2e-6)


def check_floor(out, model):
    """A chain of one evaluation reads what the first step reads: it is the slope at the first time."""
    floor = Floor(out, {0: 1})
    x, context = torch.randn(4, 3), torch.randn(4, 2)
    (path,) = floor.session.run(
        None, floor.feeds({"x": x.numpy(), "context": context.numpy()}, t=float(model.times[0]))
    )
    with torch.no_grad():
        slope = model.field(model.times[0], x, context).numpy()
    np.testing.assert_allclose(path[-1], slope, atol=1e-5)


RK4, CUBIC = {"method": "rk4"}, {"method": "rk4", "options": {"step_size": 0.5, "interp": "cubic"}}
# For each solve, how often the embedding is in the graph: a cubic calls the field at each later output time as well.
SOLVES = {
    "euler": ({"method": "euler"}, 1),
    "rk4 in a loop": ({**RK4, "form": "rolled"}, 1),
    "perturbed": ({"method": "midpoint", "options": {"perturb": True, "step_size": 0.5}}, 1),
    "cubic": (CUBIC, 4),
    "backwards": ({"method": "midpoint", "times": (1.0, 0.4, -0.3), "form": "rolled"}, 1),
}


@pytest.mark.parametrize("name", SOLVES)
def test_an_embedding_is_computed_once_for_all_steps(name, tmp_path):
    options, copies = SOLVES[name]
    model, artifact = exported(tmp_path / "out", Modulated(), **options)
    assert products(tmp_path / "out") == 2 * copies
    assert "Sigmoid" not in inside_loops(tmp_path / "out")
    check(model, artifact)
    check_floor(tmp_path / "out", model)


def test_without_rewrites_each_evaluation_computes_it(tmp_path):
    model, artifact = exported(tmp_path / "out", Modulated(), method="euler", rewrite=False)
    assert products(tmp_path / "out") == 2 * 3
    check(model, artifact)


KEPT = {
    "a method that remembers slopes": ({"method": "explicit_adams"}, {"form": "rolled"}),
    "steps by an error estimate": ({"method": "dopri5"}, {"form": "adaptive"}),
    "one evaluation": ({"method": "euler"}, {"times": (0.0, 1.0)}),
}


@pytest.mark.parametrize("name", KEPT)
def test_other_solves_stay(name, tmp_path, monkeypatch):
    found = []
    original = ahead.computed_ahead
    for form in ("unrolled", "rolled"):
        monkeypatch.setattr(
            f"odelet_export.lowering.forms.{form}.computed_ahead",
            lambda *args: found.append(original(*args)) or found[-1],
        )
    method, more = KEPT[name]
    exported(tmp_path / "out", Modulated(), **method, **more)
    assert all(one is None for one in found)


def test_a_network_of_the_state_stays(tmp_path):
    """What reads the state is computed in each step, and the rest before."""
    field = Modulated(after=lambda scale, shift, t, y: (scale * y.sum(1, keepdim=True), shift * t))
    model, artifact = exported(tmp_path / "out", field, method="midpoint")
    assert products(tmp_path / "out") == 2
    check(model, artifact)


def test_a_field_without_the_state(tmp_path):
    class Forced(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Linear(2, 3)

        def forward(self, t, y, context):
            return self.embed(context * t)

    model, artifact = exported(tmp_path / "out", Forced(), method="rk4")
    assert products(tmp_path / "out") == 1
    check(model, artifact)


def test_much_memory_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(ahead, "ALWAYS", 0)
    model, artifact = exported(tmp_path / "out", Modulated(), method="euler", options={"step_size": 0.2})
    assert products(tmp_path / "out") == 2 * 6
    check(model, artifact)
