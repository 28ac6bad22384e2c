"""Writes into memory that the same operation reads, or that a solver goes on from, are found with their line."""

import linecache

import pytest
import torch
from torchdiffeq import odeint

from odelet_export import CaptureError, export
from odelet_export.model.overlap import overlap
from odelet_export.model.writes import watching_writes

X = torch.arange(24.0).reshape(4, 6)


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        (X[:, 1:], X[:, :-1], True),
        (X[:, :3], X[:, 3:], False),
        (X[:, ::2], X[:, 1::2], False),  # between each other, and apart
        (X[::2], X[1:3], True),
        (X, X, False),  # the same view
        (X, X.view(24), True),  # another view of the same elements
        (X, X.clone(), False),
        (X[:0], X, False),
    ],
)
def test_overlap_is_found_element_by_element(one, other, shared):
    assert overlap(one, other) is shared


def lines_of(function, *args):
    with watching_writes() as found:
        function(*args)
    return [linecache.getline(file, line).strip() for file, line in found.undefined]


def test_the_line_of_each_such_write_is_found_and_no_other():
    def differences(x):
        x[:, 1:] -= x[:, :-1]  # the first
        x[:, 1:] -= x[:, :-1].clone()
        x *= x
        x[:, 2:] = x[:, :-2]  # the second
        return x.add_(1)

    assert lines_of(differences, X.clone()) == [
        "x[:, 1:] -= x[:, :-1]  # the first",
        "x[:, 2:] = x[:, :-2]  # the second",
    ]


def test_a_model_whose_answer_torch_leaves_undefined_is_refused_with_the_line(tmp_path):
    def model(x):
        x = x.clone()
        x[:, 1:] -= x[:, :-1]
        return odeint(lambda t, y: -y, x, torch.tensor([0.0, 1.0]), method="rk4")[-1]

    with pytest.raises(CaptureError) as refused:
        export(model, (torch.rand(3, 40),), tmp_path / "out", dynamic={"x": {0: "batch"}})
    message = str(refused.value)
    assert "torch leaves undefined what" in message
    assert f"line {model.__code__.co_firstlineno + 2}\n" in message
    assert "x[:, 1:] -= x[:, :-1].clone()" in message
    assert "baked in" not in message


def test_such_a_write_that_does_not_matter_is_a_warning(tmp_path):
    def model(x):
        seen = x.clone()
        seen[:, 1:] -= seen[:, :-1]
        return odeint(lambda t, y: -y, x, torch.tensor([0.0, 1.0]), method="euler")[-1] + 0 * seen.sum()

    exported = export(model, (torch.rand(3, 4),), tmp_path / "out", samples=1)
    (warning,) = exported.warnings
    assert warning.startswith(f"test_writes.py:{model.__code__.co_firstlineno + 2} writes into memory")


def clamped(t, y):
    y.clamp_(-1.0, 1.0)
    return -2.0 * y


def first_part(t, state):
    state[0][:, 0] = 0.0
    return -state[0], -state[1]


@pytest.mark.parametrize(
    ("field", "method", "parts"),
    [
        (clamped, "euler", 1),
        (first_part, "rk4", 2),
    ],
)
def test_a_field_that_writes_into_what_the_solver_goes_on_from_is_refused_with_the_line(tmp_path, field, method, parts):
    def model(x):
        solution = odeint(field, x if parts == 1 else (x, x), torch.linspace(0.0, 1.0, 4), method=method)
        return (solution if parts == 1 else solution[0])[-1]

    with pytest.raises(CaptureError) as refused:
        export(model, (2 * torch.rand(3, 2) + 1,), tmp_path / "out", dynamic={"x": {0: "batch"}})
    message = str(refused.value)
    assert "writes into the time or the state that the solver gives it" in message
    assert f"line {field.__code__.co_firstlineno + 1}\n" in message
    assert "y = y.clamp(-1, 1)" in message


def test_a_field_may_write_into_its_own_tensors_and_change_the_axes_of_its_state(tmp_path):
    def field(t, y):
        y = y[None].squeeze_(0)
        slope = y.clone()
        slope[:, 0] *= 2.0
        return slope.neg_()

    def model(x):
        return odeint(field, x, torch.tensor([0.0, 1.0]), method="rk4")[-1]

    assert not export(model, (torch.rand(3, 2),), tmp_path / "out", samples=1).warnings


def test_a_write_into_the_state_that_does_not_matter_on_the_example_is_a_warning(tmp_path):
    def model(x):
        return odeint(lambda t, y: t.neg_() - y.clamp_(-50.0, 50.0), x, torch.tensor([0.0, 1.0]), method="euler")[-1]

    (warning,) = export(model, (torch.rand(3, 2),), tmp_path / "out", samples=1).warnings
    assert warning.startswith(f"test_writes.py:{model.__code__.co_firstlineno + 1} writes into the time or the state")
