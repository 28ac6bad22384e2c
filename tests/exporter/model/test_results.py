"""A call of an artifact takes the arguments of the model's own call, and returns what the model returns."""

import time
from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn
from torchdiffeq import odeint

import odelet
from odelet.errors import InputError
from odelet_export import CaptureError, ParityError, export

Pair = namedtuple("Pair", "mean size")
TIMES = torch.tensor([0.0, 0.5, 1.0])
X = torch.linspace(-1, 1, 12).reshape(4, 3)


@dataclass
class Answer:
    path: torch.Tensor
    info: dict


class Model(nn.Module):
    """A model with numbers and texts among its arguments and results."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x, n, rate, mode="plain", *, sizes=(2, 3)):
        self.calls, begun = 0, time.perf_counter()

        def field(t, y):
            self.calls += 1
            return -rate * y

        path = odeint(field, x, torch.linspace(0, 1, n), method="euler")
        info = {
            "calls": self.calls,
            "took": time.perf_counter() - begun,
            "half": x.shape[0] / 2,
            "pair": Pair(path.mean(), x.shape[0]),
            "none": None,
            "mode": mode,
            3: [path[-1].sum().item(), (n,), sizes[0] > 1],
        }
        return Answer(path, info)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    out = tmp_path_factory.mktemp("results") / "out"
    exported = export(
        Model(), (X, 5, torch.tensor(0.5), "fast"), out, kwargs={"sizes": (2, 3)}, dynamic=({0: "batch"},), samples=2
    )
    return odelet.load(out), exported


def check_same(got, expected):
    """Assert that two nested results are the same, with arrays for tensors."""
    if isinstance(expected, torch.Tensor):
        np.testing.assert_allclose(got, expected.numpy(), rtol=1e-5)
    elif isinstance(expected, dict):
        assert list(got) == list(expected)
        for key, value in expected.items():
            if key not in ("calls", "took"):
                check_same(got[key], value)
    elif isinstance(expected, (tuple, list)):
        assert isinstance(got, list) is isinstance(expected, list)
        assert getattr(got, "_fields", None) == getattr(expected, "_fields", None)
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            check_same(one, other)
    else:
        assert type(got) is type(expected)
        assert got == (pytest.approx(expected, rel=1e-5) if isinstance(expected, float) else expected)


def test_a_call_as_in_torch_returns_the_result_of_torch(loaded):
    model, exported = loaded
    x, rate = torch.linspace(0, 2, 18).reshape(6, 3), torch.tensor(0.8)
    expected = Model()(x, 5, rate, "fast")
    results = [
        model(x.numpy(), 5, rate.numpy(), "fast", sizes=(2, 3)),
        model(x.numpy(), 5, 0.8, sizes=[2, 3]),
        model(x.numpy(), np.int64(5), rate=rate.numpy(), mode="fast"),
        model(x.numpy(), rate.numpy()),
        model(rate=0.8, x=x.numpy(), n=5, **{"sizes.1": 3}),
        model.result(model.solve(x.numpy(), rate.numpy()).outputs),
    ]
    for result in results:
        assert type(result).__name__ == "Answer"
        check_same(result.path, expected.path)
        check_same(result.info, expected.info)
        assert (result.info["calls"], result.info["took"]) == (None, None)
    assert len([warning for warning in exported.warnings if "is None in the artifact" in warning]) == 2


@pytest.mark.parametrize(
    ("args", "named", "message"),
    [
        ((6, 0.5), {}, "'n' is 6, and was 5 when the model was exported"),
        ((None, 0.5), {}, "'n' is None, and was 5"),
        (("5", 0.5), {}, "'n' is '5', and was 5"),
        ((5, 0.5, "slow"), {}, "'mode' is 'slow', and was 'fast'"),
        ((5, 0.5, 0.5), {}, "'mode' is 0.5, and was 'fast'"),
        ((5, 0.5, "fast", 1), {}, "5 positional arguments came; the inputs are x, rate"),
        ((5, 0.5), {"mode": "slow"}, "'mode' is 'slow'"),
        ((5, 0.5), {"sizes": (2, 4)}, r"'sizes.1' is 4, and was 3"),
        ((5,), {}, "missing input 'rate'"),
        ((5, 0.5), {"size": 2}, "there is no input 'size'"),
    ],
)
def test_another_value_of_an_argument_that_is_no_tensor_is_refused(loaded, args, named, message):
    with pytest.raises(InputError, match=message):
        loaded[0](X.numpy(), *args, **named)


def test_the_card_says_what_the_call_is(loaded):
    call = loaded[0].card.call
    assert call.arguments == ("x", "n", "rate", "mode", "sizes")
    assert {one.name: one.value for one in call.fixed} == {"n": 5, "mode": "fast", "sizes.0": 2, "sizes.1": 3}
    assert (call.result.kind, call.result.name, call.result.keys) == ("dataclass", "Answer", ("path", "info"))


@pytest.mark.parametrize(
    "wrap",
    [lambda y: (y,), lambda y: [y], lambda y: {"y": y, "also": y}, lambda y: y, lambda y: ({}, [y, ()])],
    ids=["tuple", "list", "dict", "tensor", "empty"],
)
def test_containers_come_back(wrap, tmp_path):
    export(lambda x: wrap(odeint(lambda t, y: -y, x, TIMES, method="rk4")[-1]), (X,), tmp_path / "out", samples=1)
    check_same(odelet.load(tmp_path / "out")(X.numpy()), wrap(odeint(lambda t, y: -y, X, TIMES, method="rk4")[-1]))


def test_a_number_alone_is_a_result(tmp_path):
    def model(x):
        return odeint(lambda t, y: -y, x, TIMES, method="rk4")[-1].sum().item()

    export(model, (X,), tmp_path / "out", samples=1)
    got = odelet.load(tmp_path / "out")(2 * X.numpy() + 1)
    assert isinstance(got, float)
    assert got == pytest.approx(model(2 * X + 1), rel=1e-5)


def test_an_object_among_the_arguments_keeps_its_place(tmp_path):
    def model(x, solver, rate):
        return solver(lambda t, y: -rate * y, x, TIMES, method="rk4")[-1]

    export(model, (X, odeint, torch.tensor(0.5)), tmp_path / "out", samples=1)
    loaded = odelet.load(tmp_path / "out")
    np.testing.assert_array_equal(loaded(X.numpy(), np.array(0.5, np.float32)), loaded(X.numpy(), rate=0.5))
    with pytest.raises(InputError, match="'solver' was a function when the model was exported.*what follows by name"):
        loaded(X.numpy(), odeint, 0.5)


def test_a_number_that_the_trace_does_not_follow_fails_the_parity(tmp_path):
    def model(x):
        y = odeint(lambda t, y: -y, x, TIMES, method="rk4")[-1]
        return y, torch.equal(x, X) if type(x) is torch.Tensor else True

    with pytest.raises(ParityError, match=r"output_1 is False here and was True on the example.*return it as a tensor"):
        export(model, (X,), tmp_path / "out", samples=4)


def test_another_structure_for_other_inputs_is_refused(tmp_path):
    def model(x):
        y = odeint(lambda t, y: -y, x, TIMES, method="rk4")[-1]
        return (y,) if type(x) is torch.Tensor and not torch.equal(x, X) else (y, y)

    with pytest.raises(CaptureError, match="the model's result has no 'output_1' for these inputs"):
        export(model, (X,), tmp_path / "out", samples=4)


def test_a_shape_among_the_results_follows_the_sizes(tmp_path):
    def model(x):
        path = odeint(lambda t, y: -y, x, TIMES, method="euler")
        return path[-1], x.shape, {"size": path.size()}

    export(model, (X,), tmp_path / "out", dynamic={"x": {0: "batch"}}, samples=2)
    end, shape, sizes = odelet.load(tmp_path / "out")(np.ones((7, 3), np.float32))
    assert end.shape == tuple(shape) == (7, 3)
    assert tuple(sizes["size"]) == (3, 7, 3)


class Plain:
    """A result of a class that no artifact can give."""

    def __init__(self, path):
        self.path = path


def test_a_result_that_is_an_object_is_refused_or_left_out_with_the_way_out(tmp_path):
    def path(x):
        return odeint(lambda t, y: -y, x, TIMES, method="euler")

    with pytest.raises(
        CaptureError, match=r"output is a Plain that keeps the tensor 'path'\); return tensors, alone or"
    ):
        export(lambda x: Plain(path(x)), (X,), tmp_path / "out")
    exported = export(lambda x: (path(x), Plain(path(x))), (X,), tmp_path / "out", samples=1)
    (warning,) = exported.warnings
    assert "output_1 (Plain that keeps the tensor 'path') is None" in warning
    assert "return its tensors in a tuple, dict or dataclass" in warning
