"""Samples tell nothing where torch has no finite answer, no answer, or no time; others are drawn in their place."""

import math

import pytest
import torch
from torchdiffeq import odeint

from odelet_export.model.callee import Callee
from odelet_export.model.overrides import Overrides
from odelet_export.model.time_limit import OutOfTime
from odelet_export.proof.fresh_samples import FreshSamples
from odelet_export.proof.judge import Judge
from odelet_export.proof.sample_inputs import Drawing
from odelet_export.proof.torch_clock import TorchClock

TIMES = torch.tensor([0.0, 1.0])
BATCH = {"x": {0: "batch"}}


def fresh(model, x, *, count=4, limit=math.inf, tell=None):
    callee = Callee(model, (x,), {})
    judge = Judge(callee, [], Overrides(), ["float32"], clock=TorchClock(limit, tell))
    drawing = Drawing(callee.names, callee.example, BATCH)
    return FreshSamples(judge, drawing, traced={"batch": 3}, count=count)


def test_a_sample_without_a_finite_answer_is_drawn_again():
    def model(x):
        """NaN below 0.7 of the smallest element of the example."""
        return odeint(lambda t, y: -y, torch.sqrt(x - 0.7), TIMES, method="euler")[-1]

    samples = fresh(model, torch.tensor([[1.0, 2.0], [3.0, 1.5]]), count=8)
    known = [sample for sample, _ in zip(samples, range(9), strict=False)]
    assert len(known) == 9
    assert all(math.isfinite(float(sample.expected[0].sum())) for sample in known)
    assert "because torch's own answer is not finite" in samples.left_out[0] if samples.left_out else True


def test_an_example_without_a_finite_answer_is_compared_as_it_is():
    def model(x):
        return odeint(lambda t, y: -y, torch.log(x - 1), TIMES, method="euler")[-1]

    samples = fresh(model, torch.tensor([[1.0], [0.5]]))
    assert len([sample for sample, _ in zip(samples, range(3), strict=False)]) == 3


def test_sizes_that_torch_does_not_take_are_passed_over_and_counted():
    def model(x):
        if x.shape[0] % 3:
            raise ValueError("rows come in threes")
        return odeint(lambda t, y: -y, x, TIMES, method="euler")[-1]

    samples = fresh(model, torch.randn(3, 2))
    sizes = [sample.tensors[0].shape[0] for sample, _ in zip(samples, range(5), strict=False)]
    assert sizes[0] == 3
    assert set(sizes) == {3, 6}
    assert samples.left_out[0].endswith("because torch raises ValueError")


def test_a_sample_may_be_left_out_for_a_reason_that_others_find():
    samples = fresh(lambda x: odeint(lambda t, y: -y, x, TIMES, method="euler")[-1], torch.randn(3, 2))
    drawn = iter(samples)
    next(drawn)
    sample = next(drawn)
    samples.leave_out(sample, "an assumption does not hold there")
    next(drawn)
    samples.leave_out(sample, "an assumption does not hold there")
    assert samples.left_out == ["1 because an assumption does not hold there"]


class TestTime:
    def test_fresh_samples_end_when_torch_has_had_its_time(self):
        calls = []

        def slow(t, y):
            calls.append(t)
            return -y

        samples = fresh(lambda x: odeint(slow, x, TIMES, method="euler")[-1], torch.randn(3, 2), limit=1e-9)
        assert len(list(samples)) == 1  # the example has any time
        assert samples.left_out[0].endswith("because torch had its 1e-09 s")

    def test_a_run_ends_within_a_solve(self):
        judge = fresh(lambda x: odeint(lambda t, y: -y, x, TIMES, method="euler")[-1], torch.randn(3, 2))._judge
        judge.clock.limit = 0.0
        with pytest.raises(OutOfTime, match="torch had its 0 s"):
            judge.sample(1, [torch.randn(3, 2)])
        judge.sample(0, [torch.randn(3, 2)])

    def test_the_progress_is_told_while_torch_runs(self, monkeypatch):
        monkeypatch.setattr("odelet_export.proof.torch_clock._TELL_EVERY", 0.0)
        lines = []
        samples = fresh(
            lambda x: odeint(lambda t, y: -y, x, TIMES, method="rk4")[-1],
            torch.randn(3, 2),
            limit=60,
            tell=lines.append,
        )
        drawn = iter(samples)
        next(drawn)
        next(drawn)
        assert lines[0].startswith("torch: the example, 1 field calls;")
        assert "torch: sample 1, 4 field calls;" in lines[-1]
        assert lines[-1].endswith("limit 60 s")
