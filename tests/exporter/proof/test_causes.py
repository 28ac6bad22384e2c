"""Where torch agrees with itself only roughly, the reason is found: jumps, loose tolerances, or amplified rounding."""

import pytest
import torch
from torchdiffeq import odeint

from odelet_export.capture.cache import capture
from odelet_export.model.callee import Callee
from odelet_export.model.overrides import Overrides
from odelet_export.proof.causes import causes
from odelet_export.proof.judge import Judge
from odelet_export.proof.jumps import Evaluation, find_jumps


def along(field, times, states):
    """The evaluations of a field at some times and states."""
    pairs = [(torch.tensor(t), torch.tensor([y])) for t, y in zip(times, states, strict=True)]
    return [Evaluation.of(t, y, field(t, y)) for t, y in pairs]


@pytest.mark.parametrize(
    ("field", "jumps", "in_state"),
    [
        (lambda t, y: torch.sin(20 * t) - y, 0, False),
        (lambda t, y: torch.tanh(50 * (t - 0.33)) - y, 0, False),
        (lambda t, y: (t - 0.33).relu() - y, 0, False),  # a kink is no jump
        (lambda t, y: torch.where(t < 0.33, 1.0, -1.0) - y, 1, False),
        (lambda t, y: torch.floor(3 * t) - y, 2, False),
        (lambda t, y: torch.where(y > 0.33, 1.0, -1.0) * torch.ones_like(y), 0, True),
    ],
    ids=["smooth", "steep", "kink", "jump", "steps", "border"],
)
def test_jumps_are_told_from_steep_and_kinked_fields(field, jumps, in_state):
    times = [0.02 + 0.097 * i for i in range(11)]
    found = find_jumps(field, along(field, times, times))
    assert (len(found.times), found.in_state) == (jumps, in_state)
    assert all(min(abs(t - place) for place in (0.33, 1 / 3, 2 / 3)) < 1e-3 for t in found.times)


def found(model, *args):
    callee = Callee(model, args, {})
    captured = capture(callee, {}, Overrides(), opset=20)
    judge = Judge(callee, captured.specs, Overrides(), ["float32"])
    sample = judge.sample(0, list(args))
    expected = (sample.expected, sample.counts)
    for _ in sample.moves.more(expected, lambda numbers: judge._shaken(sample, numbers), lambda: judge._wide(sample)):
        if sample.moves.runs >= 4:
            break
    return causes(judge, sample)


def jumping(t, y):
    return torch.where(t < 0.37, 1.0, -1.0) * y


def test_a_jump_in_time_is_named_with_its_time_and_jump_t():
    def model(x):
        return odeint(jumping, x, torch.tensor([0.0, 1.0]), rtol=1e-3, atol=1e-3)[-1]

    (cause,) = found(model, torch.rand(3, 2) + 1)
    assert "jumps at time 0.37" in cause.why
    assert "jump_t" in cause.advice


def test_jumps_that_are_given_already_are_not_named():
    def model(x):
        options = {"jump_t": torch.tensor([0.37])}
        return odeint(jumping, x, torch.tensor([0.0, 1.0]), rtol=1e-3, atol=1e-3, options=options)[-1]

    (cause,) = found(model, torch.rand(3, 2) + 1)
    assert "jump_t" not in cause.advice


def test_a_model_that_amplifies_rounding_is_told_so():
    def model(x):
        return odeint(lambda t, y: 12 * y, x - 1.0, torch.tensor([0.0, 1.0]), method="rk4")[-1]

    (cause,) = found(model, torch.tensor([[1.0 + 1e-5]]))
    assert "amplifies rounding" in cause.why
    assert "float64" in cause.advice
