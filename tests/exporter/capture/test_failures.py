"""A model that cannot be captured is refused with the user's file and line, the finding and the remedy."""

import collections
import inspect
import re
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torchdiffeq import odeint, odeint_event

from odelet import InputError
from odelet_export import CaptureError, FormError, export
from odelet_export.capture import markers, tracers

TIMES = torch.tensor([0.0, 1.0])


def to_numpy(x):
    def field(t, y):
        return y * float(y.numpy().mean())  # HERE

    return odeint(field, x, TIMES)


def ragged(x):
    large = torch.masked_select(x, x > 0.5)
    if large.size(0) > 0:  # HERE
        x = x - large.mean()
    return odeint(lambda t, y: -y, x, TIMES)


def gradient_through_a_solve(x):
    y = x.clone().requires_grad_()
    with torch.enable_grad():
        end = odeint(lambda t, y: -y, y, TIMES)[-1]
        return torch.autograd.grad(end.sum(), y)[0]  # HERE


def event_of_a_fixed_method_without_a_step(x):
    return odeint_event(lambda t, y: -y, x, TIMES[0], event_fn=lambda t, y: y.sum(), method="rk4")  # HERE


def event_with_three_times(x):
    return odeint(lambda t, y: -y, x, torch.arange(3.0), event_fn=lambda t, y: y.sum())[1]  # HERE


def unknown_method(x):
    return odeint(lambda t, y: -y, x, TIMES, method="rk5")  # HERE


def unsupported_option(x):
    return odeint(lambda t, y: -y, x, TIMES, method="rk4", options={"interp": "spline"})  # HERE


def tolerance_for_each_part(x):
    return odeint(lambda t, s: (-s[0], -s[1]), (x, x), TIMES, rtol=[1e-3, 1e-4, 1e-5])  # HERE


def kept_by_size(x):
    kept = {}
    if x.shape[0] not in kept:  # HERE
        kept[x.shape[0]] = torch.tensor([i * i for i in range(x.shape[0])])
    squares = kept[x.shape[0]]
    return odeint(lambda t, y: -y * squares[:, None], x, TIMES)


def array_of_a_size(x):
    order = torch.LongTensor(np.arange(x.shape[0] - 1, -1, -1))  # HERE
    return odeint(lambda t, y: -y, x[order], TIMES)


def times_of_two_axes(x):
    return odeint(lambda t, y: -y, x, TIMES[None])  # HERE


def whole_number_state(x):
    return odeint(lambda t, y: -y, x.long(), TIMES)  # HERE


def complex_state(x):
    return odeint(lambda t, y: -1j * y, torch.complex(x, x), TIMES).abs()  # HERE


def rows_of_a_packed_sequence(x):
    lengths = (x[:, 0] > 0).long() + 1
    rows = nn.utils.rnn.pack_padded_sequence(x[:, None].expand(-1, 3, -1), lengths, True, enforce_sorted=False)
    return odeint(lambda t, y: -y, x * rows.data.mean(), TIMES)  # HERE


REFUSED = {
    rows_of_a_packed_sequence: "compute with the padded batch",
    gradient_through_a_solve: "solve for it beside the state",
    kept_by_size: "the size of a dynamic axis as a key of a dict",
    array_of_a_size: "a numpy array made of the size of a dynamic axis",
    ragged: "keep all elements and weigh them with the mask",
    to_numpy: "keep it a tensor, in operators of torch",
    event_of_a_fixed_method_without_a_step: "give options={'step_size': ...}",
    event_with_three_times: "takes two times",
    unknown_method: "override it with --method",
    unsupported_option: "must be one of 'linear', 'cubic'",
    tolerance_for_each_part: "give one number",
    times_of_two_axes: "t must be a 1-D float32 or float64 tensor",
    complex_state: "solve for torch.view_as_real(y)",
    whole_number_state: "float32 and float64 can be exported",
}


def line_marked_here(function):
    lines, first = inspect.getsourcelines(function)
    return first + next(i for i, line in enumerate(lines) if "# HERE" in line)


@pytest.mark.parametrize("model", REFUSED, ids=lambda model: model.__name__)
def test_a_refusal_names_file_line_and_remedy(model, tmp_path):
    instance = model() if inspect.isclass(model) else model
    with pytest.raises(CaptureError) as refused:
        export(instance, (torch.rand(3, 2),), tmp_path / "out", dynamic={"x": {0: "batch"}})
    message = str(refused.value)
    assert f'File "{__file__}", line {line_marked_here(model)}' in message
    assert REFUSED[model] in message
    assert list(tmp_path.iterdir()) == [], "something was left behind"


class Remembering(nn.Module):
    """A model whose field mixes its earlier slopes into each new one."""

    def __init__(self):
        super().__init__()
        self.slope = None

    def field(self, t, y):
        self.slope = -y if self.slope is None else 0.5 * self.slope - y
        return self.slope

    def forward(self, x):
        self.slope = None
        return odeint(self.field, x, TIMES)


def test_a_field_with_a_memory_is_refused(tmp_path):
    with pytest.raises(CaptureError, match=r"test_failures\.py:\d+\n  found: a field that keeps something"):
        export(Remembering(), (torch.rand(3, 2),), tmp_path / "out")


def test_a_model_without_a_solve_is_refused(tmp_path):
    for form in ("auto", "driven"):
        with pytest.raises(CaptureError, match='made no call of torchdiffeq(?s:.*)form="plain"(?s:.*)euler'):
            export(lambda x: x + 1, (torch.rand(3, 2),), tmp_path / "out", form=form)


def test_a_solve_that_no_output_depends_on_is_refused(tmp_path):
    def model(x):
        odeint(lambda t, y: -y, x, TIMES)
        return x + 1

    with pytest.raises(CaptureError, match="no output of the model depends on its solve"):
        export(model, (torch.rand(3, 2),), tmp_path / "out")


def adaptive_model(x):
    return odeint(lambda t, y: -y, x, TIMES)


WRONG = {
    "form": ({"form": "looped"}, FormError, "form='looped' is not one of auto, unrolled, rolled, "),
    "unrolled": (
        {"form": "unrolled"},
        FormError,
        "dopri5 chooses its steps at run time; it can be adaptive or loop_free or driven",
    ),
    "rk4 adaptive": ({"form": "adaptive", "method": "rk4"}, FormError, "rk4 has no error estimate; it can be"),
    "steps": ({"steps": 4}, FormError, "--steps is for fixed-step methods, .* uses dopri5; add --method rk4"),
    "both": ({"method": "rk4", "steps": 4, "step_size": 0.1}, FormError, "exclude each other"),
    "rtol": ({"method": "rk4", "rtol": 1e-3}, FormError, "rtol is for adaptive methods"),
    "negative": ({"rtol": -1.0}, FormError, "rtol=-1.0 must be a finite number"),
    "method": ({"method": "rk5"}, FormError, "method='rk5' is not one of euler, midpoint"),
    "opset": ({"opset": 9}, ValueError, "opset=9 is not supported"),
    "name": ({"dynamic": {"z": {0: "batch"}}}, CaptureError, "dynamic names input 'z', but the model's inputs are x"),
    "axis": ({"dynamic": {"x": {5: "batch"}}}, CaptureError, "names axis 5, but that input has 2 axes"),
    "label": ({"dynamic": {"x": {0: 3}}}, CaptureError, "must be a name, such as 'batch'"),
}


@pytest.mark.parametrize(("options", "kind", "message"), WRONG.values(), ids=WRONG)
def test_a_bad_argument_of_export_is_refused_by_name(options, kind, message, tmp_path):
    with pytest.raises(kind, match=message):
        export(adaptive_model, (torch.rand(3, 2),), tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def test_torchdiffeq_is_restored_after_an_error_and_unchanged_in_other_threads(tmp_path):
    before = odeint.__code__
    seen = collections.deque()  # unlike a list, it keeps what a run of the model put into it

    def model(x):
        thread = threading.Thread(target=lambda: seen.append(odeint(lambda t, y: -y, torch.ones(1), TIMES)[-1].item()))
        thread.start()
        thread.join()
        return odeint(lambda t, y: -y, x, TIMES, method="no such method")

    with pytest.raises(CaptureError, match="method 'no such method'"):
        export(model, (torch.rand(3, 2),), tmp_path / "out")
    assert odeint.__code__ is before
    assert seen and all(abs(value - 0.36787944) < 1e-5 for value in seen)


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (InputError("rtol is bad"), r"found: rtol is bad$"),
        (FormError("found: a form that no solve can have"), r"^found: a form that no solve can have$"),
        (AssertionError("impossible"), r"found: a fault of odelet itself \(markers.py:\d+\)\n  do: please report it"),
    ],
)
def test_an_error_of_odelet_itself_is_not_blamed_on_torch(error, found, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise error

    fail.__code__ = fail.__code__.replace(co_filename=markers.__file__)

    def forward(x):
        try:
            markers.fail()
        except Exception as inner:
            raise RuntimeError("wrapped by a tracer") from inner
        return odeint(lambda t, y: -y, x, TIMES)

    monkeypatch.setattr(markers, "fail", fail, raising=False)
    monkeypatch.setattr(tracers, "exported", lambda module, example, shapes: forward(*example))
    monkeypatch.setattr(tracers, "below_autograd", lambda module, example, sizes: forward(*example))
    with pytest.raises(CaptureError) as refused:
        export(Decays(), (torch.ones(2),), tmp_path / "out")
    assert re.search(found, str(refused.value))
    assert "something torch cannot trace" not in str(refused.value)


class Decays(nn.Module):
    def forward(self, x):
        return odeint(lambda t, y: -y, x, TIMES)
