"""What a caller gives to an export is what is meant, or it is refused with the fix: model, arguments, axes, folder."""

import functools

import numpy as np
import pytest
import torch
from torch import nn
from torch.export import Dim
from torchdiffeq import odeint

import odelet
from odelet.errors import InputError
from odelet_export import CaptureError, explain, export
from odelet_export.model.given_axes import read_dynamic

TIMES = torch.tensor([0.0, 1.0])
X = torch.linspace(-1, 1, 8).reshape(4, 2)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(2, 2)

    def forward(self, x):
        return odeint(lambda t, y: self.net(y), x, TIMES, method="rk4")[-1]


class Summed(nn.Module):
    """A model that takes any number of tensors: the rows of a batch would fit, too."""

    def forward(self, *parts):
        return odeint(lambda t, y: -y, sum(parts), TIMES, method="rk4")[-1]


@pytest.mark.parametrize("model", [Net(), Summed()], ids=["one argument", "any number"])
def test_a_tensor_in_place_of_the_arguments_is_one_argument(model, tmp_path):
    exported = export(model, X, tmp_path / "out", samples=1)
    assert [tensor.shape for tensor in exported.card.inputs] == [(4, 2)]
    np.testing.assert_allclose(odelet.load(tmp_path / "out")(2 * X.numpy()), model(2 * X).detach(), rtol=1e-5)


class Jax:
    """A model of another framework."""

    def __call__(self, x):
        return x


Jax.__module__ = "equinox.nn"


@pytest.mark.parametrize(
    ("model", "args", "message"),
    [
        (Net, (X,), r"the model is the class Net; give an instance of it, such as Net\(\.\.\.\)"),
        ((X,), Net(), r"the model is a tuple; the order is export\(model, args, out\)"),
        (3.0, (X,), "the model is a float; give a torch.nn.Module"),
        (Jax(), (X,), "the model is a Jax, which is a model of equinox"),
        (Net(), "out", r"args is the path 'out'; the order is export\(model, args, out\)"),
        (Net(), {"x": X}, r"args is a dict; give kwargs= for arguments by name, or a tuple, \(d,\)"),
        (Net(), X.numpy(), r"args is a numpy.ndarray; give a tuple of tensors, as in \(torch.from_numpy\(x\),\)"),
        (Net(), 2.0, r"args is a float; give a tuple of the model's arguments, such as \(x,\)"),
        (Net(), (X.numpy(),), r"argument 0 is a numpy.ndarray; give torch.from_numpy\(...\) for an input"),
        (Net(), ({"x": [X.numpy()]},), "argument 0 holds a numpy.ndarray"),
    ],
)
def test_what_is_not_meant_is_refused_with_the_fix(model, args, message, tmp_path):
    with pytest.raises(InputError, match=message):
        export(model, args, tmp_path / "out")
    with pytest.raises(InputError, match=message):
        explain(model, args)
    assert list(tmp_path.iterdir()) == []


def test_arguments_by_name_and_the_folder_are_checked(tmp_path):
    with pytest.raises(InputError, match="kwargs is a tensor"):
        export(Net(), (), tmp_path / "out", kwargs=X)
    with pytest.raises(InputError, match="x is a numpy.ndarray"):
        export(Net(), (), tmp_path / "out", kwargs={"x": X.numpy()})
    with pytest.raises(InputError, match=r"out is a tuple; give the path of a folder: the order is export\(model,"):
        export(Net(), (X,), (tmp_path,))


def test_an_array_that_is_bound_to_the_model_is_a_constant(tmp_path):
    def model(x, scale):
        return odeint(lambda t, y: -torch.from_numpy(scale) * y, x, TIMES, method="rk4")[-1]

    bound = functools.partial(model, scale=np.array([1.0, 2.0], np.float32))
    export(bound, (X,), tmp_path / "out", samples=1)
    np.testing.assert_allclose(odelet.load(tmp_path / "out")(2 * X.numpy()), bound(2 * X), rtol=1e-5)


ARGUMENTS = ["x", "scale", "parts"]
INPUTS = {"x": X, "parts.0": X, "parts.h.a": X[0]}


@pytest.mark.parametrize(
    "given",
    [
        {"x": {0: "batch"}, "parts.0": {0: "batch"}},
        {0: {0: "batch"}, 2: {0: {0: "batch"}}},
        ({0: "batch"}, None, ({0: "batch"}, None)),
        ({0: Dim("batch"), 1: Dim.STATIC}, None, [["batch", None], {"a": None}]),
        {"x": ["batch"], "parts": {0: ("batch",)}},
        {-3: {0: "batch"}, "parts": {"0": {0: "batch"}}},
    ],
)
def test_axes_are_read_as_torch_takes_them(given):
    assert read_dynamic(given, ARGUMENTS, INPUTS) == {"x": {0: "batch"}, "parts.0": {0: "batch"}}


def test_hints_of_torch_get_names():
    given = {"x": {0: Dim.AUTO, 1: Dim.STATIC}, "parts": ({-1: Dim.DYNAMIC},)}
    assert read_dynamic(given, ARGUMENTS, INPUTS) == {"x": {0: "x_0"}, "parts.0": {-1: "parts_0_last1"}}
    assert read_dynamic(None, ARGUMENTS, INPUTS) is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((None, None, None, None), r"dynamic has 4 entries for 3 \(x, scale, parts\)"),
        ({3: {0: "batch"}}, "dynamic names position 3, but there are 3"),
        ({0: {0: "batch"}, "x": None}, "dynamic names 'x' twice"),
        ("batch", "dynamic='batch' cannot be read"),
        ({0: "batch"}, r"dynamic\['x'\]='batch' must map axes to names"),
        ({"parts": {5: {0: "batch"}}}, r"dynamic\['parts'\] names position 5, but there are 2 \(0, h\)"),
    ],
)
def test_axes_that_have_no_meaning_are_refused(given, message):
    with pytest.raises(CaptureError, match=message):
        read_dynamic(given, ARGUMENTS, INPUTS)


@pytest.mark.parametrize("given", [{0: {0: "batch"}}, ({0: Dim("batch")},), [["batch", None]], ({0: Dim.AUTO},)])
def test_axes_by_position_are_exported(given, tmp_path):
    exported = export(Net(), (X,), tmp_path / "out", dynamic=given, samples=1)
    assert exported.card.inputs[0].shape in {("batch", 2), ("x_0", 2)}
    assert odelet.load(tmp_path / "out")(np.ones((7, 2), np.float32)).shape == (7, 2)
