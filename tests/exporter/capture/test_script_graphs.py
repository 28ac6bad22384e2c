"""Models in other shapes than plain Python: TorchScript, torch.compile, quantised layers, callbacks, vmap."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torchdiffeq import odeint

import odelet
from odelet.errors import InputError
from odelet_export import CaptureError, export
from odelet_export.capture.script_graphs import interpreted_scripts
from odelet_export.model.callee import uncompiled

TIMES = torch.tensor([0.0, 1.0])
X = torch.linspace(-1, 1, 6).reshape(3, 2)


def quietly(make, *args):
    """What a deprecated function of torch makes; models of the last years have such parts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make(*args)


def script(function):
    return quietly(torch.jit.script, function)


class Net(nn.Module):
    """A field's network with sizes, a loop, decisions and lists in its code."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(2, 4), nn.Linear(4, 2)

    def forward(self, y: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        if y.dim() != 2:
            raise ValueError("two axes")
        ones = torch.ones(y.shape[0], 2)
        parts = [y]
        for i in range(2):
            parts.append(torch.tanh(self.second(torch.tanh(self.first(parts[-1])))) * scale / (i + 1))
        middle = torch.cat(parts, dim=1)[:, 2:4]
        return (middle - 0.1 * ones * y).view(y.size(0), -1)


class Model(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return odeint(lambda t, y: self.net(y), x, TIMES, method="rk4", options={"step_size": 0.5})[-1]


def net():
    torch.manual_seed(0)
    return Net().eval()


def check_exported(model, out, expected, **options):
    exported = export(model, (X,), out, dynamic={"x": {0: "batch"}}, samples=2, **options)
    x = torch.linspace(-2, 2, 14).reshape(7, 2)
    with torch.no_grad():
        np.testing.assert_allclose(odelet.load(out)(x.numpy()), expected(x).numpy(), rtol=1e-4, atol=1e-6)
    return exported


WAYS = {
    "scripted": script,
    "frozen": lambda module: quietly(torch.jit.freeze, script(module)),
    "traced": lambda module: quietly(torch.jit.trace, nn.Sequential(module.first, nn.Tanh(), module.second), X),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_torchscript_field_is_exported_with_a_free_batch(way, tmp_path):
    model = Model(WAYS[way](net()))
    check_exported(model, tmp_path / "out", model)


@script
def fused(y, factor: float = 0.5):
    return -factor * y * torch.sigmoid(y) + torch.zeros(y.shape[0], 1)


def test_a_torchscript_function_is_exported_with_a_free_batch(tmp_path):
    model = Model(lambda y: fused(y, factor=0.7))
    check_exported(model, tmp_path / "out", model)


@script
def numbers(x: torch.Tensor, flag: bool, table: dict[str, int]):
    total = 0
    for i in range(1, x.size(0), 2):
        total += i // 1 + table["a"] % 3
    values = [total, len(table)]
    values.append(max(total, 2))
    mean = x.sum() / float(values[0] + 1) + torch.tensor([0.5, 1.0], dtype=torch.float32)[1]
    mean = mean.to(torch.float64).to(x.dtype)
    if flag and mean > 0:
        mean = -mean
    name = "b" if "b" in table else "c"
    return mean, values, name, x.dtype == torch.float32


@script
def unpacking(x: torch.Tensor):
    low, high = torch.chunk(x, 2, dim=1)
    value, index = torch.max(high, dim=0)
    rows, columns = x.shape
    return low * rows + columns, (value, index)


@pytest.mark.parametrize(
    ("function", "args"),
    [
        (numbers, (X + 2, True, {"a": 4})),
        (numbers, (X - 5, True, {"b": 1, "a": 2})),
        (unpacking, (X,)),
        (fused, (X,)),
        (script(Net()), (X, 2.0)),
    ],
)
def test_a_graph_run_in_python_gives_the_answer_of_torchscript(function, args):
    expected = function(*args)
    with interpreted_scripts():
        got = function(*args)
    leaves, structure = torch.utils._pytree.tree_flatten(expected)
    others, other = torch.utils._pytree.tree_flatten(got)
    assert structure == other
    for one, two in zip(leaves, others, strict=True):
        assert type(one) is type(two)
        one, two = (x.detach() if isinstance(x, torch.Tensor) else x for x in (one, two))
        np.testing.assert_array_equal(np.asarray(one), np.asarray(two))


def test_an_error_that_a_graph_raises_is_raised():
    with interpreted_scripts(), pytest.raises(RuntimeError, match="two axes"):
        script(Net())(X[0])


@script
def unusual(x: torch.Tensor):
    return x + torch.tensor([float("1.5"), 2.0])


def test_a_graph_with_an_unknown_node_runs_as_torchscript():
    with interpreted_scripts():
        assert unusual(X).shape == (3, 2)
        with pytest.raises(RuntimeError, match="missing value for argument 'x'"):
            unusual()
    assert torch._C.ScriptFunction.__call__ is not None
    assert unusual(X).shape == (3, 2)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler imports what torch has deprecated
def test_a_compiled_model_is_exported_as_it_is_written(tmp_path):
    whole = torch.compile(Model(torch.compile(net())))
    exported = check_exported(whole, tmp_path / "out", Model(net()))
    assert exported.card.name == "Model"
    plain = Model(net())
    assert uncompiled(torch.compile(plain)) is plain
    assert uncompiled(torch.compile(check_exported)) is check_exported


class CallsBack(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = 0

    def forward(self, t, y):
        return -y

    def callback_step(self, t, y, dt):
        self.seen += 1


def test_callbacks_at_steps_are_left_out_with_a_warning(tmp_path):
    field = CallsBack()
    exported = check_exported(
        lambda x: odeint(field, x, TIMES, method="rk4")[-1],
        tmp_path / "out",
        lambda x: odeint(field, x, TIMES, method="rk4")[-1],
    )
    assert exported.warnings == (exported.warnings[0],)
    assert "the artifact does not call the field's callback_step" in exported.warnings[0]


def test_a_quantised_layer_is_refused_with_the_way_out(tmp_path):
    layers = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2))
    quantised = quietly(torch.ao.quantization.quantize_dynamic, layers, {nn.Linear})
    with pytest.raises(CaptureError, match=r"torch has quantised.*\n.*onnxruntime.quantization"):
        export(Model(quantised), (X,), tmp_path / "out")


def test_a_solve_under_vmap_is_torchs_own_error_with_the_way_out(tmp_path):
    def model(x):
        return torch.vmap(lambda row: odeint(lambda t, y: -y * t, row, TIMES)[-1])(x)

    with pytest.raises(
        InputError, match=r"test_script_graphs.py, line \d+: .*; torchdiffeq does not run under torch.vmap"
    ):
        export(model, (X,), tmp_path / "out")


def test_a_gradient_of_a_solve_by_weights_is_refused_with_the_way_out(tmp_path):
    weight = nn.Parameter(torch.ones(2))

    def model(x):
        end = odeint(lambda t, y: -weight * y, x, TIMES, method="rk4")[-1]
        return torch.autograd.grad(end.sum(), weight)[0]

    with pytest.raises(
        CaptureError, match=r"(?s)a gradient taken through a solve.*leave it out where it is for training"
    ):
        export(model, (X,), tmp_path / "out")
