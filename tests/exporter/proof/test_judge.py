"""An answer may differ from torch's as far as rounding moves torch's own answer."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torchdiffeq

from odelet import load
from odelet.artifact.samples import largest_element, samples_of
from odelet_export import export
from odelet_export.model.callee import Callee
from odelet_export.model.overrides import Overrides
from odelet_export.proof.judge import Judge
from odelet_export.proof.rounding import OWN_ERRORS, ROUNDING_RUNS, distance, shaken

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


class Jumping(torch.nn.Module):
    """An adaptive solve at a loose tolerance whose field jumps: rounding is enough to move the ends of its steps."""

    def __init__(self):
        super().__init__()
        numbers = torch.Generator().manual_seed(4)
        self.register_buffer("weights", torch.randn(6, 6, generator=numbers))

    def forward(self, x):
        def field(t, y):
            return 0.5 * torch.sign(y @ self.weights) - y

        return torchdiffeq.odeint(field, x, torch.linspace(0, 1, 3).to(x), rtol=1e-3, atol=1e-4)


def jumping():
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    judge = Judge(Callee(Jumping(), (x,), {}), [], Overrides(), ["float32"])
    return judge, judge.sample(0, [x])


def test_what_other_engines_are_allowed_covers_torch_with_other_last_places():
    judge, sample = jumping()
    allowed, (rtol, atol) = judge.allowed_anywhere(sample), judge.base
    # The generator of these runs has another seed than that of the runs that found the allowance.
    numbers, far = torch.Generator().manual_seed(99), []
    for _ in range(20):
        (moved,), _ = judge.reference([shaken(sample.tensors[0], numbers)], sample.noise, number=0)
        far.append(distance(moved, sample.expected[0]))
    assert max(far) <= allowed[0]
    assert max(far) > atol + rtol * largest_element(sample.expected[0]), "rounding moves nothing in this model"


def test_other_engines_are_allowed_what_a_difference_here_would_be():
    judge, sample = jumping()
    allowed = judge.allowed_anywhere(sample)
    judge, sample = jumping()
    verdict = judge.judge(sample, ["output"], [sample.expected[0] + 1e6])
    assert not verdict.passed
    assert allowed == list(verdict.allowed)


def test_the_allowance_that_the_user_gives_is_that_of_all_engines():
    judge, sample = jumping()
    judge = replace(judge, tolerance=(1e-5, 1e-7))
    assert judge.allowed_anywhere(sample) == [1e-7 + 1e-5 * largest_element(sample.expected[0])]


@pytest.mark.slow
def test_samples_of_a_profile_for_other_engines_have_that_allowance(tmp_path):
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    allowed = {}
    for profile in ("general", "c"):
        report = export(Jumping(), (x,), tmp_path / profile, profile=profile, samples=2, quick=True).parity
        assert report.passed
        samples = samples_of(load(tmp_path / profile).card, tmp_path / profile)
        allowed[profile] = np.array([sample[2]["output"] for sample in samples])
    assert (allowed["c"] >= allowed["general"]).all() and (allowed["c"] > 2 * allowed["general"]).any()
