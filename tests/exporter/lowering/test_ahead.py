"""What a field computes without the state is computed before the steps, for all of them, where that is known to pay."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torchdiffeq import odeint, odeint_event

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


def all_products(out):
    """How often all graphs of an artifact together multiply by a weight of the embedding."""
    return sum(
        any("embed" in name for name in node.input)
        for file in out.glob("*.onnx")
        for node in all_nodes(onnx.load(file).graph)
        if node.op_type in ("Gemm", "MatMul")
    )


def all_nodes(graph):
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from all_nodes(attribute.g)


class Solves(nn.Module):
    """A solve whose output times are an input."""

    def __init__(self, field, **options):
        super().__init__()
        self.field, self.options = field, options

    def forward(self, x, context, times):
        return odeint(lambda t, y: self.field(t, y, context), x, times, **self.options)


class Until(Solves):
    """A solve that ends where the first element reaches 0.5 or, in time, 3."""

    def forward(self, x, context, times):
        def event(t, y):
            return torch.minimum(y[0, 0] - 0.5, 3 - t)[None]

        def field(t, y):
            return self.field(t, y, context)

        return odeint_event(field, x * 0 + 1, times[0], event_fn=event, **self.options)[1]


DOPRI5, MIDPOINT = {"method": "dopri5", "rtol": 1e-5, "atol": 1e-6}, {"method": "midpoint"}
HALVES = {"method": "rk4", "options": {"step_size": 0.25}}
# For each solve: the model, its method, the form, whether the number of times varies, and how often the graphs hold the
# embedding, as it is and computed ahead. The first step of an adaptive solve takes two evaluations of its own. Equal
# nodes of a graph become one, and the last two stages of dopri5 have one time.
STAGED = {
    "adaptive": (Solves, DOPRI5, "adaptive", True, 2 + 6, 2 + 1),
    "adaptive until an event": (Until, DOPRI5, "adaptive", False, 2 + 6, 2 + 1),
    "loop_free": (Solves, DOPRI5, "loop_free", False, 2 + 5, 2 + 1),
    "driven": (Solves, DOPRI5, "driven", True, 2 + 5, 2 + 1),
    "bounded": (Solves, DOPRI5, "bounded", False, None, 1),
    "driven along a grid": (Solves, MIDPOINT, "driven", True, 1 + 2, 1 + 1),
    "rolled, times given": (Solves, MIDPOINT, "rolled", False, 2, 1),
    "rolled, one evaluation a step": (Solves, {"method": "euler"}, "rolled", False, 1, 1),
    "rolled, number of times free": (Solves, MIDPOINT, "rolled", True, 2, 1),
    "rolled, number of steps free": (Solves, HALVES, "rolled", False, 4, 1),
    "rolled until an event": (Until, HALVES, "rolled", False, 4, 1),
    "unrolled, times given": (Solves, MIDPOINT, "unrolled", False, 3 * 2, 1),
    "loop_free along a grid": (Solves, MIDPOINT, "loop_free", False, 2, 1),
}


@pytest.mark.parametrize("name", STAGED)
def test_an_embedding_is_computed_once_for_all_stages(name, tmp_path):
    model, options, form, free, as_it_is, ahead_of_steps = STAGED[name]
    torch.manual_seed(0)
    model = model(Modulated(), **options).eval()
    times = torch.tensor([0.0, 0.3, 0.5, 1.2])
    args = torch.randn(2, 3), torch.randn(2, 2), times
    dynamic = {"x": {0: "batch"}, "context": {0: "batch"}, **({"times": {0: "n"}} if free else {})}
    rows = {"x": torch.randn(4, 5, 3).numpy(), "context": torch.randn(4, 5, 2).numpy()}
    found = {}
    for rewrite in (True, False):
        more = {}
        if form == "bounded":
            more = {"calibration": {**rows, "times": np.stack([times.numpy()] * 4)}}
        export(model, args, tmp_path / str(rewrite), form=form, dynamic=dynamic, samples=1, rewrite=rewrite, **more)
        found[rewrite] = all_products(tmp_path / str(rewrite))
    assert found[True] == 2 * ahead_of_steps
    assert as_it_is is None or found[False] == 2 * as_it_is
    artifacts = [odelet.load(tmp_path / str(rewrite)) for rewrite in (True, False)]
    later = torch.tensor([0.1, 0.2, 0.4, 0.5, 0.9][: 5 if free else 4])
    for x, context in ((torch.randn(1, 3), torch.randn(1, 2)), (torch.randn(5, 3), torch.randn(5, 2))):
        given = {"x": x.numpy(), "context": context.numpy(), "times": later.numpy()}
        outputs = [artifact(**given) for artifact in artifacts]
        # Rounding changes the steps of error control, and so the answer within the tolerance of some steps.
        close = 1e-4 if options is DOPRI5 else 2e-6
        np.testing.assert_allclose(*outputs, rtol=0, atol=close)
        with torch.no_grad():
            np.testing.assert_allclose(outputs[0], model(x, context, later).numpy(), rtol=0, atol=close)


def test_control_flow_in_the_field_reads_what_is_computed_ahead(tmp_path):
    """A solve inside the field, whose own field reads the embedding, has a loop and a choice in its graph."""

    def after(scale, shift, t, y):
        inner = odeint(lambda s, z: z.sin() * scale, shift * y[:, :1], torch.tensor([0.0, 0.5]), method="dopri5")
        return scale, inner[-1]

    options = {"method": "midpoint", "form": "rolled", "times": (0.0, 0.5, 1.0)}
    model, artifact = exported(tmp_path / "out", Modulated(after), **options)
    assert "If" in {node.op_type for node in all_nodes(onnx.load(tmp_path / "out" / "model.onnx").graph)}
    assert all_products(tmp_path / "out") == 2
    x, context = torch.randn(5, 3), torch.randn(5, 2)
    with torch.no_grad():
        np.testing.assert_allclose(
            artifact(x=x.numpy(), context=context.numpy()), model(x, context).numpy(), rtol=0, atol=2e-5
        )


KEPT = {
    "a method that remembers slopes": ({"method": "explicit_adams"}, {"form": "rolled"}),
    "one evaluation": ({"method": "euler"}, {"times": (0.0, 1.0)}),
}


@pytest.mark.parametrize("name", KEPT)
def test_other_solves_stay(name, tmp_path):
    method, more = KEPT[name]
    counts = set()
    for rewrite in (True, False):
        exported(tmp_path / str(rewrite), Modulated(), **method, **more, rewrite=rewrite)
        counts.add(all_products(tmp_path / str(rewrite)))
    assert len(counts) == 1


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
