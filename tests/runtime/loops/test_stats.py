"""The stats of a solve follow from its outcome, and limits forbid steps."""

from dataclasses import replace
from time import perf_counter

import numpy as np
import pytest

from odelet.artifact.solve_card import SolveCard
from odelet.errors import InputError
from odelet.loops.adaptive import Points
from odelet.loops.limits import Limits
from odelet.loops.stats import SampleStats, SolveOutcome, SolveStats
from odelet.status import Status

CARD = SolveCard(index=2, form="rolled", method="rk4", source="net.py:7", nested=("one inside",))


def test_stats_combine_the_card_and_the_outcome():
    outcome = SolveOutcome(status=Status.STEP_LIMIT, time=0.5, steps=7, accepted=5, evaluations=31, unconverged=1)
    stats = SolveStats.of(CARD, outcome)
    assert (stats.index, stats.form, stats.method, stats.source, stats.nested) == (
        2,
        "rolled",
        "rk4",
        "net.py:7",
        ("one inside",),
    )
    assert (stats.status, stats.time, stats.steps, stats.accepted) == (Status.STEP_LIMIT, 0.5, 7, 5)
    assert (stats.rejected, stats.evaluations, stats.unconverged) == (2, 31, 1)


@pytest.mark.parametrize("counts", [{}, {"steps": 3}, {"accepted": 3}])
def test_rejected_steps_are_unknown_if_another_count_is(counts):
    assert SolveStats.of(CARD, SolveOutcome(status=Status.OK, time=None, **counts)).rejected is None


def test_a_batch_has_the_sums_of_its_samples_and_the_status_of_the_first_that_failed():
    codes = np.array([Status.OK.value, Status.DEADLINE.value, Status.NOT_FINITE.value])
    samples = SampleStats.of(codes, np.array([1.0, 0.25, 0.5]), np.array([4, 5, 6]), np.array([4, 3, 2]))
    stats = SolveStats.of(CARD, SolveOutcome.of_samples(samples, evaluations=40))
    assert (stats.steps, stats.accepted, stats.rejected, stats.evaluations) == (15, 9, 6, 40)
    assert (stats.status, stats.time, stats.samples) == (Status.DEADLINE, 0.25, samples)
    assert stats.nested == ("one inside",)


def test_the_counts_of_two_segments_of_a_solve_are_added():
    before = SolveOutcome(status=Status.OK, time=1.0, steps=3, accepted=3, evaluations=12)
    later = SolveOutcome(status=Status.NOT_FINITE, time=1.5, steps=2, accepted=2, evaluations=8)
    whole = later.after(before)
    assert (whole.status, whole.time, whole.steps, whole.evaluations) == (Status.NOT_FINITE, 1.5, 5, 20)
    assert whole.unconverged is None


def test_limits_forbid_steps_beyond_max_evals_or_the_deadline():
    def exceeded(limits, evaluations):
        return limits.exceeded(evaluations, 6, steps=2, time=0.5)

    assert exceeded(Limits(), 10**9) is Status.OK
    assert exceeded(Limits(max_evals=8), 2) is Status.OK
    assert exceeded(Limits(max_evals=8), 3) is Status.EVALUATION_LIMIT
    past = Limits(max_evals=8, deadline=perf_counter())
    assert (exceeded(past, 2), exceeded(past, 3)) == (Status.DEADLINE, Status.EVALUATION_LIMIT)


def test_points_are_sorted_forward_and_infinity_stands_for_no_point():
    step_t, jump_t = Points(step_t=[3, 1, 2]).forward(-2.0, -1.0, np.dtype("float32"))
    assert (step_t.tolist(), step_t.dtype, jump_t.tolist()) == ([-3, -2, -1], np.float32, [np.inf])
    with pytest.raises(InputError, match="no time twice"):
        Points(step_t=[1], jump_t=[1]).forward(0.0, 1.0, np.dtype("float64"))


def test_steps_that_were_accepted_above_the_tolerance_bring_a_warning():
    """Not where another status says so, or where a bounded solve was solved again."""
    above = SolveStats.of(CARD, SolveOutcome(status=Status.OK, time=1.0, error_ratio=(3.25,)))
    with pytest.warns(RuntimeWarning, match=r"solve 2 \(rk4, net.py:7\): steps .* of up to 3.25 times the tolerance"):
        above.warn_above_tolerance()
    for stats in (
        replace(above, resolved=(0,)),
        replace(above, status=Status.OUT_OF_TOLERANCE),
        replace(above, error_ratio=(1.0,)),
        replace(above, error_ratio=None),
    ):
        stats.warn_above_tolerance()
