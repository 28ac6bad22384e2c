"""Rewrites of a captured graph: which operators are replaced, and that the numbers stay."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import odelet
from odelet_export import export
from odelet_export.graphs.rewrite import roster
from odelet_export.graphs.rewrite.joined_calls import JOINED_CALLS


class Applied(nn.Module):
    """A function of a state and a time, with the weights of a layer. No solve is needed for a rewrite."""

    def __init__(self, function, layer=None):
        super().__init__()
        self.function, self.layer = function, layer

    def forward(self, x, t):
        return self.function(x, t) if self.layer is None else self.function(x, t, self.layer)


def conv_of_time(x, t, layer):
    return layer(torch.cat([torch.ones_like(x[:, :1]) * t, x], 1))


def conv_of_time_last(x, t, layer):
    return layer(torch.cat([x, t.expand(x.shape[0], 1, *x.shape[2:])], 1))


def conv_of_time_in_the_middle(x, t, layer):
    return layer(torch.cat([x[:, :2], torch.full_like(x[:, :1], 1.0) * t.sin(), x[:, 2:]], 1))


def conv_of_a_time_for_each_row(x, t, layer):
    times = x[:, 0].flatten(1).sum(1)
    return layer(torch.cat([x, times[:, None, None, None].expand(-1, 1, *x.shape[2:])], 1))


def conv_of_two_numbers(x, t, layer):
    ones = torch.ones_like(x[:, :1])
    return layer(torch.cat([ones * t, x, ones * (t * t + 1)], 1))


def linear_of_time(x, t, layer):
    return layer(torch.cat([x, torch.ones_like(x[..., :1]) * t], -1))


def linear_of_time_first(x, t, layer):
    return layer(torch.cat([t.expand(*x.shape[:-1], 1), x], -1))


def linear_of_time_for_each_row(x, t, layer):
    return layer(torch.cat([x, x.sum(-1, keepdim=True).relu()], -1))


def masked_attention(x, t):
    return F.scaled_dot_product_attention(x, x * t, x, is_causal=True, scale=0.3)


def crossed_attention(x, t):
    return F.scaled_dot_product_attention(x, x[..., 1:, :] * t, x[..., 1:, :6])


def scaled_channels(x, t, layer):
    scale, shift = layer.weight[0].flatten(1).mean(1), layer.bias
    return (x * t) * scale[:, None, None, None] + shift[:, None, None, None]


def embedded(t, layers):
    """A network of times (batch,): sines and cosines, two layers, and three parts of the result."""
    angles = t[:, None] * torch.arange(1, 3)
    return layers(torch.cat([angles.cos(), angles.sin()], -1)).chunk(3, dim=1)


def modulated(x, t, layers):
    shift, scale, gate = embedded(t.expand(len(x)), layers)
    return x + gate.unsqueeze(1) * (F.layer_norm(x, (5,)) * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1))


def modulated_images(x, t, layers):
    shift, scale, _ = embedded(t * x.new_ones(len(x)), layers)
    return x * scale.view(-1, 5, 1, 1) + shift[:, :, None, None].softmax(1)


def joined_to_the_state(x, t, layers):
    """The rows of the embedding are repeated where a concatenation needs all of them."""
    return torch.cat([x, F.layer_norm(embedded(t.expand(len(x)), layers)[0], (5,))], 1)


def times_alone(x, t, layers):
    return embedded(t.reshape(1, 1).expand(len(x), 1)[:, 0], layers)[1] * t


def rows_counted(x, t, layers):
    """A sum over the rows is that of all rows."""
    scale = embedded(t.expand(len(x)), layers)[0]
    return x * scale.sum(0) + scale.cumsum(0)


def attention_of_rows(x, t, layers):
    """The rows of a batch attend to each other."""
    rows = embedded(t.expand(len(x)), layers)[0]
    return (x @ rows.T).softmax(-1) @ rows


def equal_labels(x, t, layers):
    table, layer = layers
    return x + layer(table(torch.full((len(x),), 2)))


def sequence_of_time(x, t, layer):
    return x * layer(t.expand(len(x), 3, 4))


def a_time_for_each_row(x, t, layers):
    return x + embedded(x[:, 0] * t, layers)[0]


def rows_of_a_fixed_number(x, t, layers):
    return (x[0, :1] + embedded(t.expand(5), layers)[0]).sum(0) * x


def embedding():
    return nn.Sequential(nn.Linear(4, 6), nn.SiLU(), nn.Linear(6, 15))


CONV, GEMM, PRODUCT = (
    "time channel of a convolution",
    "time column of a Gemm",
    "time column of a MatMul",
)
SOFTPLUS, OF_TORCH, SCALED = "softplus", "softplus of torch", "softplus of torch with a scale"
SCORES, LOG_SIGMOID = "scores of an attention", "logarithm of a sigmoid"
ROWS = "products of equal rows"
POWER, NORM = "power", "scale and shift of channels"
# A function, its layer, the shape of the state, and what has to be replaced how often.
REPLACED = {
    "convolution of time": (conv_of_time, nn.Conv2d(4, 5, 3, padding=1), (3, 6, 5), {CONV: 1}),
    "strides": (conv_of_time, nn.Conv2d(4, 5, 3, stride=2, padding=1, dilation=2), (3, 8, 9), {CONV: 1}),
    "borders that repeat": (conv_of_time, nn.Conv2d(4, 5, 3, padding=1, padding_mode="zeros"), (3, 6, 5), {CONV: 1}),
    "no bias": (conv_of_time, nn.Conv2d(4, 5, 3, bias=False), (3, 6, 5), {CONV: 1}),
    "one axis": (conv_of_time, nn.Conv1d(4, 5, 3), (3, 6), {CONV: 1}),
    "three axes": (conv_of_time, nn.Conv3d(4, 2, 2), (3, 3, 4, 3), {CONV: 1}),
    "time last": (conv_of_time_last, nn.Conv2d(4, 5, 3, padding=1), (3, 4, 4), {CONV: 1}),
    "time in the middle": (conv_of_time_in_the_middle, nn.Conv2d(4, 5, 1), (3, 4, 4), {CONV: 1}),
    "a time for each row": (conv_of_a_time_for_each_row, nn.Conv2d(4, 5, 3, padding=1), (3, 4, 4), {CONV: 1}),
    "two numbers": (conv_of_two_numbers, nn.Conv2d(5, 5, 3, padding=1), (3, 4, 4), {CONV: 1}),
    "linear of time": (linear_of_time, nn.Linear(4, 5), (3,), {GEMM: 1}),
    "linear of time first": (linear_of_time_first, nn.Linear(4, 5), (3,), {GEMM: 1}),
    "linear of time in a sequence": (linear_of_time, nn.Linear(4, 5), (7, 3), {PRODUCT: 1}),
    "softplus": (lambda x, t: F.softplus(x * t), None, (128,), {OF_TORCH: 1}),
    "softplus of many elements": (lambda x, t: F.softplus(x * t), None, (2048,), {OF_TORCH: 1}),
    "softplus of a scaled argument": (lambda x, t: F.softplus(x, beta=2.0), None, (8, 16), {SCALED: 1}),
    "softplus of a low threshold": (lambda x, t: F.softplus(x, threshold=1.0), None, (128,), {SOFTPLUS: 1}),
    "logarithm of a sigmoid": (lambda x, t: F.logsigmoid(x * t), None, (128,), {LOG_SIGMOID: 1}),
    "ELU": (lambda x, t: F.elu(x, 0.7), None, (64,), {"Elu": 1}),
    "CELU": (lambda x, t: F.celu(x, 0.7), None, (64,), {"Celu": 1}),
    "SELU": (lambda x, t: F.selu(x), None, (64,), {"Selu": 1}),
    "Mish": (lambda x, t: F.mish(x), None, (64,), {"Mish": 1}),
    "PReLU": (lambda x, t, layer: layer(x), nn.PReLU(), (64,), {"PRelu": 1}),
    "PReLU of channels": (lambda x, t, layer: layer(x), nn.PReLU(4), (4, 16), {"PRelu": 1}),
    "square": (lambda x, t: x**2 * t, None, (64,), {POWER: 1}),
    "cube": (lambda x, t: x**3 * t, None, (64,), {POWER: 1}),
    "fourth power": (lambda x, t: (x + t) ** 4.0, None, (64,), {POWER: 1}),
    "group normalization": (lambda x, t, layer: layer(x) * t, nn.GroupNorm(2, 4), (4, 4, 3), {NORM: 1}),
    "group normalization of large images": (lambda x, t, layer: layer(x), nn.GroupNorm(2, 4), (4, 16, 16), {NORM: 1}),
    "group normalization of signals": (lambda x, t, layer: layer(x + t), nn.GroupNorm(1, 4), (4, 7), {NORM: 1}),
    "a scale and a shift of channels": (scaled_channels, nn.Conv3d(4, 4, 1), (4, 3, 2, 3), {NORM: 1}),
    "a modulation by times": (modulated, embedding(), (7, 5), {ROWS: 2}),
    "a modulation of images": (modulated_images, embedding(), (5, 3, 2), {ROWS: 2}),
    "times joined to the state": (joined_to_the_state, embedding(), (5,), {ROWS: 2}),
    "times alone": (times_alone, embedding(), (5,), {ROWS: 2}),
    "sums over equal rows": (rows_counted, embedding(), (5,), {ROWS: 2}),
    "attention among equal rows": (attention_of_rows, embedding(), (5,), {ROWS: 2}),
    "rows of a fixed number": (rows_of_a_fixed_number, embedding(), (5,), {ROWS: 2}),
    "equal labels": (equal_labels, nn.ModuleList([nn.Embedding(4, 8), nn.Linear(8, 5)]), (5,), {ROWS: 1}),
    "a sequence of times": (sequence_of_time, nn.Linear(4, 5), (3, 5), {ROWS: 1}),
    "attention": (lambda x, t: F.scaled_dot_product_attention(x, x * t, x.sin()), None, (2, 5, 8), {SCORES: 1}),
    "attention with a scale and a mask": (masked_attention, None, (2, 5, 8), {SCORES: 1}),
    "attention of keys of another length": (crossed_attention, None, (2, 5, 8), {SCORES: 1}),
}


def transposed_otherwise(x, t):
    """The nodes of an attention, with another order of the axes."""
    keys = x.reshape(-1, 4, 12).transpose(1, 2).reshape(-1, 3, 4, 4)
    return (x * 0.5) @ (keys * 0.5) + t


KEPT = {
    "a convolution of no time": (
        lambda x, t, layer: layer(torch.cat([x, x[:, :1].cos()], 1)),
        nn.Conv2d(4, 5, 3),
        (3, 6, 5),
    ),
    "other powers": (lambda x, t: (x.abs() + 1) ** 1.7 + (x.abs() + 1) ** t, None, (64,)),
    "a power of few elements": (lambda x, t: x**3, None, (2,)),
    "groups": (conv_of_time, nn.Conv2d(4, 4, 3, groups=2), (3, 6, 5)),
    "a linear layer of a column that varies": (linear_of_time_for_each_row, nn.Linear(4, 5), (2, 3)),
    "a softplus of few elements": (lambda x, t: F.softplus(x), None, (8,)),
    "a transpose of other axes": (transposed_otherwise, None, (3, 4, 4)),
    "a scale and a shift of rows": (lambda x, t, layer: layer(x), nn.LayerNorm(8), (3, 8)),
    "a normalization of single pixels": (lambda x, t, layer: layer(x), nn.GroupNorm(2, 4), (4, 1, 1)),
    "times that differ": (a_time_for_each_row, embedding(), (5,)),
}


@pytest.fixture
def places(monkeypatch):
    """What the rewrites of an export replaced, by name."""
    found = {}
    original = roster.rewrite

    def watched(model, **options):
        found.update(original(model, **options))
        return found

    monkeypatch.setattr("odelet_export.pipeline.prepare.rewrite", watched)
    return found


def exported(function, layer, shape, out, **options):
    torch.manual_seed(0)
    x, t = torch.randn(2, *shape), torch.tensor(0.7)
    for parameter in () if layer is None else layer.parameters():
        nn.init.uniform_(parameter, 0.2, 0.9)
    model = Applied(function, layer).eval()
    export(model, (x, t), out, dynamic={"x": {0: "batch"}}, form="plain", samples=1, **options)
    return model, odelet.load(out)


@pytest.mark.parametrize("name", REPLACED)
def test_operators_are_replaced_by_others_of_the_same_numbers(name, places, tmp_path):
    function, layer, shape, expected = REPLACED[name]
    model, faster = exported(function, layer, shape, tmp_path / "faster")
    assert places == expected
    for batch, t in ((1, 0.0), (5, -2.5)):
        x = torch.randn(batch, *shape) * 3
        time = torch.tensor(t)
        truth = model.double()(x.double(), time.double()).detach().numpy()
        scale = np.abs(truth).max()
        np.testing.assert_allclose(faster(x=x.numpy(), t=time.numpy()), truth, atol=2e-6 * scale, rtol=0)
        model.float()


def test_without_rewrites_all_operators_stay(places, tmp_path):
    function, layer, shape, _ = REPLACED["convolution of time"]
    exported(function, layer, shape, tmp_path / "out", rewrite=False)
    assert not places


@pytest.mark.parametrize("name", KEPT)
def test_other_operators_stay(name, places, tmp_path):
    exported(*KEPT[name], tmp_path / "out")
    assert not places


def test_other_engines_get_the_rewrites_that_help_them(places, tmp_path):
    def layers(x, t, layer):
        return F.elu(conv_of_time(x, t, layer))

    torch.manual_seed(0)
    model = Applied(layers, nn.Conv2d(9, 8, 3, padding=1))
    args = torch.randn(2, 8, 8, 8), torch.tensor(0.7)
    for profile, expected in (("general", {CONV: 1, "Elu": 1}), ("c", {CONV: 1})):
        places.clear()
        export(model, args, tmp_path / profile, form="plain", samples=1, profile=profile)
        assert places == expected


@pytest.mark.parametrize(("batch", "replaced"), [(2, 0), (16, 1)])
def test_a_batch_of_fixed_size_counts_with_its_elements(batch, replaced, places, tmp_path):
    export(Applied(lambda x, t: F.elu(x)), (torch.randn(batch, 64), torch.tensor(0.1)), tmp_path / "out", form="plain")
    assert places == ({"Elu": 1} if replaced else {})


def test_every_rewrite_has_a_model():
    # The calls of one network have models with fixed sizes, in test_joined_calls.py.
    replaced = {name for *_, expected in REPLACED.values() for name in expected} | {JOINED_CALLS.name}
    assert {one.name for one in roster.REWRITES} == replaced


FAR = {
    "softplus": (F.softplus, lambda x: np.logaddexp(0.0, x), 4, 64, -103),
    "softplus of many elements": (F.softplus, lambda x: np.logaddexp(0.0, x), 5, 4096, -103),
    "logarithm of a sigmoid": (F.logsigmoid, lambda x: -np.logaddexp(0.0, -x), 4, 64, -103),
    "mish": (F.mish, lambda x: x * np.tanh(np.logaddexp(0.0, x)), 6, 4096, -86),
}


@pytest.mark.parametrize("name", FAR)
def test_activations_are_relatively_exact_far_below_zero(name, tmp_path):
    """The numbers matter relatively, as where a logarithm follows. units: in the last place. width: of a batch row.
    lowest: the smallest finite number, of which softplus is hardly above 0."""
    function, truth_of, units, width, lowest = FAR[name]
    _, artifact = exported(lambda x, t: function(x), None, (width,), tmp_path / "out")
    x = np.concatenate([np.linspace(-86, 90, 4000), [0.0, -0.0, np.inf, np.nan, 3e38], np.linspace(lowest, -86, 91)])
    x = x.astype(np.float32).reshape(-1, width)
    with np.errstate(invalid="ignore"):
        truth = truth_of(x.astype(np.float64))
    answer = artifact(x=x, t=np.float32(0))
    finite = np.isfinite(truth)
    assert (
        np.abs(answer[finite] - truth[finite]) <= units * np.spacing(np.abs(truth[finite]).astype(np.float32))
    ).all()
    np.testing.assert_array_equal(answer[~finite], truth[~finite].astype(np.float32))


def steep_softplus(x):
    return F.softplus(x, beta=50.0)


SATURATED = (F.elu, F.celu, F.selu, F.mish, F.softplus, steep_softplus, F.logsigmoid)


@pytest.mark.parametrize(
    ("function", "width"),
    [*((function, 64) for function in SATURATED), (F.softplus, 2048), (F.logsigmoid, 2048)],
    ids=lambda x: getattr(x, "__name__", x),
)
def test_infinities_and_nan_stay(function, width, tmp_path):
    _, artifact = exported(lambda x, t: function(x), None, (width,), tmp_path / "out")
    x = np.zeros((1, width), np.float32)
    x[0, :7] = np.inf, np.nan, 1e30, -1e30, -np.inf, 3e38, -3e38
    expected = function(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(artifact(x=x, t=np.float32(0)), expected, rtol=1e-6, atol=1e-7)


def test_a_weight_is_stored_once(tmp_path):
    """What is computed from the weights of layers that are used twice is stored once, and the weights go."""

    def twice(x, t, layers):
        conv, norm = layers
        for _ in range(2):
            x = norm(conv_of_time(x, t, conv))
        return x

    layers = nn.ModuleList([nn.Conv2d(5, 4, 3, padding=1), nn.GroupNorm(2, 4)])
    model, artifact = exported(twice, layers, (4, 3, 3), tmp_path / "out")
    graph = onnx.load(tmp_path / "out" / "model.onnx").graph
    assert sum(np.prod(one.dims) for one in graph.initializer if "layer.0.weight" in one.name) == 5 * 4 * 9
    first, second = (node.input[1:] for node in graph.node if node.op_type == "BatchNormalization")
    assert first == second
    x, t = torch.randn(3, 4, 3, 3), torch.tensor(0.2)
    np.testing.assert_allclose(artifact(x=x.numpy(), t=t.numpy()), model(x, t).detach().numpy(), atol=1e-5)
