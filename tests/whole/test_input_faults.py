"""Every fault of an input is an InputError with the input's name, in every form, and never the artifact's fault.

A service answers an InputError with 400, and shows an ArtifactError to someone: neither may stand for the other.
"""

import numpy as np
import pytest
import torch
from support.paths import ROOT
from torch import nn
from torchdiffeq import odeint

import odelet
from odelet import ArtifactError, InputError
from odelet_export import export
from odelet_export.capture.cache import capturing_once

OLD = ROOT / "tests" / "whole" / "artifacts-0.1"
ARTIFACTS = sorted(path.parent.name for path in OLD.glob("*/odelet.json"))


def good_inputs(model):
    """Inputs that the model takes, with 2 along each dynamic axis, and times that grow."""
    inputs = {}
    for tensor in model.inputs:
        shape = [size if isinstance(size, int) else 2 for size in tensor.shape]
        inputs[tensor.name] = np.ones(shape, tensor.dtype)
        if tensor.name == "t":
            inputs["t"] = np.linspace(0, 1, *shape).astype(tensor.dtype)
    return inputs


def resized(array, axis, size):
    return np.resize(array, [size if place == axis else length for place, length in enumerate(array.shape)])


def another_size(tensor, array):
    fixed = [axis for axis, size in enumerate(tensor.shape) if isinstance(size, int)]
    return [resized(array, axis, tensor.shape[axis] + 1) for axis in fixed]


def empty(tensor, array):
    return [resized(array, axis, 0) for axis, size in enumerate(tensor.shape) if isinstance(size, str)]


def wrong_order(tensor, array):
    if tensor.name != "t":
        return []
    back, equal, nan = (array.copy() for _ in range(3))
    back[-1], equal[-1], nan[-1] = -1, array[0], np.nan
    return [np.concatenate([array, back[-1:]]), equal, nan]


def other_dtype(array):
    return array.astype("int32" if array.dtype.kind == "f" else "float32")


# For each kind of fault, the arrays that have it, of an input that the card states and an array that fits it.
FAULTS = {
    "dtype": lambda tensor, array: [other_dtype(array), array.astype(complex), array.astype(str), array.astype(object)],
    "rank": lambda tensor, array: [array[None], *([array[0]] if array.ndim else [])],
    "size": another_size,
    "order of times": wrong_order,
    "no array": lambda tensor, array: ["text", None, object(), {1: 2}, iter([1]), b"bytes"],
    "a list that is no array": lambda tensor, array: [[[1], [1, 2]], [["a"]], [None], [2**70]],
    "masked": lambda tensor, array: [np.ma.masked_array(array)],
}


def refused(model, capfd, *args, **named):
    """Assert that a call is refused as a fault of the input, in silence; returns the message."""
    with pytest.raises(InputError) as raised:
        model.solve(*args, **named)
    assert not isinstance(raised.value, ArtifactError)
    assert capfd.readouterr() == ("", "")
    return str(raised.value)


def check_all_faults(model, capfd):
    """Try every fault on every input; the model must be as usable afterwards as before."""
    good = good_inputs(model)
    before, tried = model.solve(**good), 0
    for tensor in model.inputs:
        for fault, arrays in FAULTS.items():
            for wrong in arrays(tensor, good[tensor.name]):
                message = refused(model, capfd, **{**good, tensor.name: wrong})
                expected = (tensor.name, tensor.name.split(".")[0], "the output times", ": t ")
                assert any(name in message for name in expected), (fault, message)
                tried += 1
        assert tensor.name in refused(model, capfd, *good.values(), **{tensor.name: good[tensor.name]})
        if tensor.name not in [noise.name for noise in model.card.noise]:
            assert tensor.name in refused(model, capfd, **{k: v for k, v in good.items() if k != tensor.name})
    axes = [(t.name, axis, size) for t in model.inputs for axis, size in enumerate(t.shape) if isinstance(size, str)]
    for name, axis, size in axes:
        if sum(size == other for _, _, other in axes) > 1:
            assert repr(size) in refused(model, capfd, **{**good, name: resized(good[name], axis, 3)})
    assert "no input 'surplus'" in refused(model, capfd, **good, surplus=1.0)
    refused(model, capfd, *good.values(), 1.0)
    for name, values in SETTINGS.items():
        for value in values:
            assert name in refused(model, capfd, **good, **{name: value})
    after = model.solve(**good)
    for name, array in before.outputs.items():
        np.testing.assert_array_equal(after.outputs[name], array)
    assert tried > 10


NUMBERS = (0, -1.0, np.nan, np.inf, "1", True, [], [1.0, np.nan], np.ones((2, 2)))
SETTINGS = {
    "rtol": (*NUMBERS, 1e-310, 5e-324),
    "atol": (*NUMBERS, 1e-310, 5e-324),
    "max_steps": (0, -1, 1.5, 2**63, "1", True, np.nan),
    "max_evals": (0, -1, 1.5, 2**63, "1", True),
    "deadline": (0, -1.0, np.nan, np.inf, "1", True),
    "seed": (-1, 1.5, 2**64, "1", True),
}


@pytest.mark.parametrize("name", ARTIFACTS)
def test_every_fault_in_every_form(name, capfd):
    check_all_faults(odelet.load(OLD / name), capfd)


@pytest.mark.parametrize("name", ARTIFACTS)
def test_an_empty_axis_gives_an_answer_or_is_a_fault_of_the_input(name, capfd):
    """A batch of no samples gives no outputs where the graphs can; where they cannot, the input is to blame."""
    model, tried = odelet.load(OLD / name), 0
    good = good_inputs(model)
    for tensor in model.inputs:
        sizes = [size for size in tensor.shape if isinstance(size, str)]
        for size in sizes:
            named = {t.name: good[t.name] for t in model.inputs}
            for other in model.inputs:
                for axis, label in enumerate(other.shape):
                    if label == size:
                        named[other.name] = resized(named[other.name], axis, 0)
            tried += 1
            try:
                solution = model.solve(**named)
            except InputError as error:
                assert not isinstance(error, ArtifactError)
                assert any(other.name in str(error) for other in model.inputs) or "times" in str(error)
                continue
            finally:
                assert capfd.readouterr() == ("", "")
            assert solution.status is odelet.Status.OK
            batched = [t for t in model.outputs if size in t.shape]
            assert all(solution.outputs[t.name].shape[t.shape.index(size)] == 0 for t in batched)
    assert tried or not any(isinstance(size, str) for tensor in model.inputs for size in tensor.shape)


class Classes(nn.Module):
    """A class of each sample, times and a divisor that are inputs, and a row that an input chooses."""

    def __init__(self):
        super().__init__()
        self.classes = nn.Embedding(10, 3)

    def forward(self, x, label, t, divisor):
        rate = torch.tanh(self.classes(label) + (label // divisor).float()[:, None])
        return odeint(lambda t, y: -rate * y, x, t, method="dopri5", rtol=1e-3, atol=1e-4)[-1]


EXAMPLE = (torch.ones(2, 3), torch.tensor([1, 2]), torch.linspace(0, 1, 2), torch.tensor(2))
DYNAMIC = {"x": {0: "batch"}, "label": {0: "batch"}, "t": {0: "times"}}
FORMS = {
    "adaptive": {"form": "adaptive"},
    "driven": {"form": "driven"},
    "rolled": {"form": "rolled", "method": "rk4"},
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder, model = tmp_path_factory.mktemp("classes"), Classes()
    with capturing_once():
        for name, settings in FORMS.items():
            export(model, EXAMPLE, folder / name, dynamic=DYNAMIC, samples=1, **settings)
    return {name: odelet.load(folder / name) for name in FORMS}


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
def test_every_fault_of_an_exported_model(exported, name, capfd):
    check_all_faults(exported[name], capfd)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
def test_values_that_the_model_cannot_take(exported, name, capfd):
    model = exported[name]
    good = good_inputs(model)
    for label in (10, -11, 2**62, -(2**63)):
        message = refused(model, capfd, **{**good, "label": np.array([1, label])})
        assert f"input 'label' holds {label}, which is looked up as an index" in message
        assert f"expected whole numbers {'up' if label > 0 else 'from 0'} to 9" in message
    message = refused(model, capfd, **{**good, "divisor": np.array(0)})
    assert "a whole number is divided by zero; look at the input 'divisor', which holds 0" in message
    assert model.solve(**{**good, "divisor": np.array(-1)}).status is odelet.Status.OK
    assert model.solve(**{**good, "x": np.full((2, 3), np.nan, np.float32)}).status is odelet.Status.NOT_FINITE
