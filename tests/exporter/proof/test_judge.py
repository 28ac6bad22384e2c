"""An answer may differ from torch's as far as rounding moves torch's own answer."""

import numpy as np
import torch
import torchdiffeq

from odelet_export.model.callee import Callee
from odelet_export.model.overrides import Overrides
from odelet_export.proof.judge import Judge
from odelet_export.proof.rounding import OWN_ERRORS, ROUNDING_RUNS

X = torch.tensor([[0.3, 0.7], [0.1, 0.9]])


class Cancelling(torch.nn.Module):
    """A model whose float32 result has two correct digits, though small changes of x change it by little."""

    def __init__(self):
        super().__init__()
        self.offset = torch.nn.Parameter(torch.tensor(2.0**17))

    def forward(self, x):
        y = torchdiffeq.odeint(lambda t, y: -y, x, torch.tensor([0.0, 0.5]).to(x), method="rk4")[-1]
        return (y + self.offset) - self.offset


def judged(model, outputs, *, runs=None):
    """The verdict on some outputs. runs: a list that gets an element at each solve of torch for the verdict."""
    judge = Judge(Callee(model, (X,), {}), [], Overrides(), ["float32"])
    sample = judge.sample(0, [X])
    if runs is not None:
        model.register_forward_hook(lambda *_: runs.append(1))
    return judge.judge(sample, ["output"], [outputs])


def test_an_answer_may_differ_by_the_rounding_error_of_torch_only():
    model = Cancelling()
    exact = model.double()(X.double()).detach().numpy()
    model.float()
    error = np.abs(model(X).detach().numpy() - exact).max()
    assert error > 1e-3, "the float32 error of torch is too small for this test"
    assert judged(model, exact.astype(np.float32)).passed
    assert not judged(model, (exact + 2 * OWN_ERRORS * error).astype(np.float32)).passed


def test_a_model_that_fails_in_float64_is_judged_without_its_rounding_error():
    class Float32(Cancelling):
        def forward(self, x):
            return super().forward(x) + torch.ones(2) @ x  # fails in float64, where x has another dtype

    assert not judged(Float32(), Float32()(X).detach().numpy() + 1e-2).passed


def exact_and_error(model):
    """The model's float64 answer as float32, and the error of its float32 answer."""
    exact = model.double()(X.double()).detach().numpy()
    model.float()
    return exact.astype(np.float32), np.abs(model(X).detach().numpy() - exact).max()


def test_torch_runs_until_the_difference_is_covered_and_no_more():
    """Here, the one run in float64 covers the difference, so that no run with changed last places is needed."""
    model, runs = Cancelling(), []
    exact, _ = exact_and_error(model)
    assert judged(model, exact, runs=runs).passed
    assert len(runs) <= 3, "a second run, and one or two more"


def test_torch_runs_no_more_for_a_difference_that_nothing_covers():
    for wrong in (np.full((2, 2), np.nan, np.float32), np.zeros((3, 2), np.float32)):
        model, runs = Cancelling(), []
        verdict = judged(model, wrong, runs=runs)
        assert not verdict.passed
        assert verdict.steady
        assert len(runs) == 1, "torch has to run again to show that it is steady"


def test_all_runs_are_made_before_a_difference_is_a_failure():
    model, runs = Cancelling(), []
    exact, error = exact_and_error(model)
    assert not judged(model, exact + 1000 * np.float32(error), runs=runs).passed
    assert len(runs) == 2 + ROUNDING_RUNS, "a second run, one in float64, and those with changed last places"


def test_what_is_found_out_about_a_sample_is_kept_for_the_next_verdict():
    model, runs = Cancelling(), []
    judge = Judge(Callee(model, (X,), {}), [], Overrides(), ["float32"])
    sample = judge.sample(0, [X])
    exact, _ = exact_and_error(model)
    first = judge.judge(sample, ["output"], [exact])
    model.register_forward_hook(lambda *_: runs.append(1))
    again = judge.judge(sample, ["output"], [exact])
    assert (first.allowed, runs) == (again.allowed, [])
