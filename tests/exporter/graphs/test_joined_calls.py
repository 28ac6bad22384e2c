"""Calls of one network on few rows become one call, where no call depends on another; the numbers stay."""

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchdiffeq import odeint

import odelet
from odelet_export import export
from odelet_export.graphs.rewrite import alike, joined_calls, roster
from odelet_export.graphs.scope import Scope

WIDTH = 64
NAME = joined_calls.JOINED_CALLS.name


def layers(*widths, normalized=False):
    """An MLP with one product for each width after the first."""
    parts = []
    for before, after in zip(widths, widths[1:], strict=False):
        parts += [nn.Linear(before, after), *([nn.LayerNorm(after)] if normalized else []), nn.SiLU()]
    return nn.Sequential(*parts[:-1])


class Calls(nn.Module):
    """A function of a state (rows, WIDTH), a time and networks."""

    def __init__(self, function, *networks):
        super().__init__()
        self.function, self.networks = function, nn.ModuleList(networks)

    def forward(self, x, t):
        return self.function(x, t, *self.networks)


def guided(x, t, net):
    with_label, without = net(torch.cat([x, torch.ones(len(x), 8)], 1)), net(torch.cat([x, torch.zeros(len(x), 8)], 1))
    return without + 2.0 * (with_label - without) * t


def guided_by_labels(x, t, net, table):
    with_label, without = (net(x + table(torch.full((len(x),), i))) for i in (1, 0))
    return torch.lerp(without, with_label, 2.5) + t


def of_three_terms(x, t, net):
    first, second, third = (net(torch.cat([x, y], 1)) for y in (x[:, :8], x[:, :8] * 0, x[:, 8:16].cos()))
    return first + 0.5 * second - 2 * third * t


def summed_one_after_the_other(x, t, net):
    total = torch.zeros_like(x)
    for scale in (1.0, 0.3, -2.0):
        total = total + net(x * scale * t)
    return total


def of_a_layer_used_twice(x, t, net, last):
    """Each call applies a layer twice; only the calls are independent."""
    first, second = (last(net(net(y).tanh()).tanh()) for y in (x, x.cos()))
    return first - second * t


def of_a_call_of_a_call(x, t, net):
    """The first and the third call are independent."""
    return net(net(x)) + net(x.cos() * t)


def in_other_orders(x, t, first, second):
    """A pair of calls of each network is independent, but not both pairs."""
    return second(first(x).sin()) + first(second(x).cos()) * t


def read_in_the_middle(x, t, net, last):
    hidden, other = net(x), net(x.sin())
    return last(hidden.tanh()) - last(other.tanh()) + hidden.mean(-1, keepdim=True) * t


def with_residuals(x, t, net, norm):
    first, second = (y + norm(net(y + net(y))) for y in (x, x.flip(1)))
    return first * second.sigmoid() * t


def crosswise(x, t, net):
    """What follows the calls reads both, once in the one order and once in the other."""
    first, second = net(x), net(x.cos())
    return (first - second).tanh() + (second - first).exp() * t


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, tokens):
        parts = self.parts(tokens).reshape(1, -1, 3, 4, WIDTH // 4).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(*parts.unbind(0)).transpose(1, 2).reshape(tokens.shape))


def of_tokens(x, t, net):
    first, second = net(x[None]), net((x * t)[None])
    return (second + 3.0 * (first - second))[0]


# A function, its networks, and how many products are joined.
JOINED = {
    "guidance": (guided, (layers(WIDTH + 8, 96, 96, WIDTH),), 3),
    "guidance with normalization": (guided, (layers(WIDTH + 8, 96, WIDTH, normalized=True),), 2),
    "guidance by labels": (guided_by_labels, (layers(WIDTH, 96, WIDTH), nn.Embedding(2, WIDTH)), 2),
    "three terms": (of_three_terms, (layers(WIDTH + 8, 96, WIDTH),), 2),
    "a sum": (summed_one_after_the_other, (layers(WIDTH, 96, WIDTH),), 2),
    "a layer used twice": (of_a_layer_used_twice, (nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)), 3),
    "a call of a call": (of_a_call_of_a_call, (layers(WIDTH, 96, WIDTH),), 2),
    "other orders": (in_other_orders, (layers(WIDTH, 96, WIDTH), layers(WIDTH, 96, WIDTH)), 2),
    "values in the middle": (read_in_the_middle, (nn.Linear(WIDTH, 96), nn.Linear(96, WIDTH, bias=False)), 2),
    "residuals": (with_residuals, (nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH)), 2),
    "both orders": (crosswise, (layers(WIDTH, 96, WIDTH),), 2),
    "attention": (of_tokens, (Attention(),), 2),
}
LARGE = nn.Linear(WIDTH, WIDTH)
KEPT = {
    "a call of a call": (lambda x, t, net: net(net(x) * t), (LARGE,)),
    "layers in a row": (lambda x, t, net: net(net(net(x).relu()).relu()) + t, (LARGE,)),
    "other weights": (lambda x, t, first, second: first(x) - second(x * t), (LARGE, nn.Linear(WIDTH, WIDTH))),
    "equal calls": (lambda x, t, net: net(x) + net(x) * t, (LARGE,)),
    "equal values": (lambda x, t, net, table: net(x * table.weight) * t, (LARGE, nn.Embedding(3, WIDTH))),
    "small weights": (lambda x, t, net: net(x[:, :4]).repeat(1, 16) - net(x[:, 4:8] * t).sum(), (nn.Linear(4, 4),)),
}


@pytest.fixture
def joined(monkeypatch):
    """How many products the rewrite of an export joined, in a list. No node is left without use."""
    found = []

    def watched(model, **options):
        before = {node for node in model.graph if is_unused(node)}
        places = roster_rewrite(model, **options)
        assert {node for node in model.graph if is_unused(node)} <= before
        found.append(places.get(NAME, 0))
        return places

    roster_rewrite = roster.rewrite
    monkeypatch.setattr("odelet_export.pipeline.prepare.rewrite", watched)
    return found


def is_unused(node):
    return not any(output.uses() or output.is_graph_output() for output in node.outputs)


def exported(model, rows, out, **options):
    export(model, (torch.randn(rows, WIDTH), torch.tensor(0.7)), out, form="plain", samples=1, **options)
    return odelet.load(out)


def check(model, artifact, rows):
    for t in (-1.5, 0.4):
        x, time = torch.randn(rows, WIDTH) * 2, torch.tensor(t)
        truth = model(x, time).detach().numpy()
        np.testing.assert_allclose(artifact(x=x.numpy(), t=time.numpy()), truth, atol=4e-6 * np.abs(truth).max())


@pytest.mark.parametrize("name", JOINED)
def test_independent_calls_become_one(name, joined, tmp_path):
    function, networks, products = JOINED[name]
    torch.manual_seed(0)
    model = Calls(function, *networks).eval()
    artifact = exported(model, 3, tmp_path / "out")
    assert joined == [products]
    check(model, artifact, 3)


@pytest.mark.parametrize("name", KEPT)
def test_other_calls_stay(name, joined, tmp_path):
    function, networks = KEPT[name]
    torch.manual_seed(0)
    model = Calls(function, *networks).eval()
    artifact = exported(model, 3, tmp_path / "out")
    assert joined == [0]
    check(model, artifact, 3)


@pytest.mark.parametrize(("rows", "products"), [(1, 3), (alike.ROWS, 3), (alike.ROWS + 1, 0)])
def test_calls_of_few_rows_are_joined(rows, products, joined, tmp_path):
    exported(Calls(guided, layers(WIDTH + 8, 96, 96, WIDTH)).eval(), rows, tmp_path / "out", quick=True)
    assert joined == [products]


@pytest.mark.parametrize("options", [{"dynamic": {"x": {0: "batch"}}}, {"profile": "c"}])
def test_calls_of_any_number_of_rows_and_for_other_engines_stay(options, joined, tmp_path):
    exported(Calls(guided, layers(WIDTH + 8, 96, WIDTH)).eval(), 3, tmp_path / "out", quick=True, **options)
    assert joined == [0]


def test_without_rewrites_the_calls_stay(joined, tmp_path):
    exported(Calls(guided, layers(WIDTH + 8, 96, WIDTH)).eval(), 3, tmp_path / "out", quick=True, rewrite=False)
    assert not joined


def test_calls_inside_branches_stay_and_values_that_branches_read_are_replaced():
    """A branch reads what two calls made, and calls the network itself."""
    x = ir.val("x", ir.DataType.FLOAT, [3, WIDTH])
    graph = ir.Graph([x], [], nodes=[], opset_imports={"": 20})
    scope = Scope.of(graph)
    rng = np.random.default_rng(0)
    weight = scope.constant(rng.normal(size=(WIDTH, WIDTH)).astype(np.float32) / 8)
    one, other = (scope.call("MatMul", y, weight).ir for y in (scope.call("Cos", x), scope.call("Sin", x)))
    hidden, more = (scope.call("MatMul", scope.call("Tanh", y), weight) for y in (one, other))
    chosen = scope.branch(
        scope.call("ReduceSum", x, keepdims=0) > np.float32(0),
        lambda a, b: a.scope.call("MatMul", a - b, weight),
        lambda a, b: b,
        (hidden, more),
    )
    graph.outputs.append(chosen.ir)
    model = ir.Model(graph, ir_version=10)
    apart = ir.serde.serialize_model(model).SerializeToString()
    assert joined_calls.join_calls(model) == 2
    assert not any(is_unused(node) for node in graph)
    sessions = [
        ort.InferenceSession(one, providers=["CPUExecutionProvider"])
        for one in (apart, ir.serde.serialize_model(model).SerializeToString())
    ]
    for sign in (1, -1):
        value = sign * np.abs(rng.normal(size=(3, WIDTH)).astype(np.float32))
        before, after = (session.run(None, {"x": value})[0] for session in sessions)
        np.testing.assert_allclose(after, before, atol=1e-5)


class Solves(nn.Module):
    """Two solves of fields with the same weights, the second from the same start; each calls its network twice. The
    state has two parts."""

    def __init__(self):
        super().__init__()
        self.net = layers(WIDTH + 9, 96, WIDTH)

    def field(self, t, state):
        x, length = state
        slope = guided(torch.cat([x, t.expand(len(x), 1)], 1), torch.cos(t), self.net)
        return slope, slope.square().sum(1) + length

    def forward(self, x):
        start, times = (x, x[:, 0]), torch.tensor([0.0, 1.0])
        first, second = (odeint(self.field, start, times * end, method="rk4") for end in (0.5, -0.25))
        return first[0][-1] - second[0][-1], first[1][-1] + second[1][-1]


@pytest.mark.parametrize("form", ["unrolled", "rolled"])
def test_calls_are_joined_in_the_field_of_each_solve(form, joined, tmp_path):
    torch.manual_seed(0)
    model = Solves().eval()
    export(model, (torch.randn(2, WIDTH),), tmp_path / "out", form=form, samples=2)
    assert joined == [4]
    x = torch.randn(2, WIDTH)
    for answer, truth in zip(odelet.load(tmp_path / "out")(x.numpy()), model(x), strict=True):
        np.testing.assert_allclose(answer, truth.detach().numpy(), atol=2e-5)
