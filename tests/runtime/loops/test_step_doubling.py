"""Step doubling: the same tries, accepted steps and states as torchsde with adaptive=True, along the same paths."""

import warnings
from dataclasses import replace
from time import perf_counter

import numpy as np
import pytest

pytest.importorskip("torchsde")

from support.sdes import Problem, torch_sdeint

from odelet import Status
from odelet.loops.brownian import BridgedPath
from odelet.loops.fixed import NO_LIMITS
from odelet.loops.limits import Limits
from odelet.loops.recorder import Recording
from odelet.loops.sde_steps import ArraySdeStepper
from odelet.loops.step_doubling import solve_by_doubling
from odelet.methods.sde_steps import SDE_METHODS
from odelet.numerics.backend import NUMPY
from odelet.numerics.control import StepDoubling
from odelet.random_numbers import keys

# Methods and kinds of noise: the number of paths, and tolerances that make some tries fail.
CASES = {
    "ito_euler-additive": (20, 0.01),
    "ito_milstein-diagonal": (20, 0.003),
    "ito_milstein_grad_free-scalar": (5, 0.003),
    "ito_srid2-diagonal": (20, 0.001),
    "ito_srid2-scalar": (5, 0.0002),
    "ito_sra1-additive": (20, 0.001),
    "stratonovich_midpoint-diagonal": (20, 0.003),
    "stratonovich_midpoint-general": (5, 0.002),
    "stratonovich_heun-general": (5, 0.002),
    "stratonovich_log_ode-general": (3, 0.002),
    "stratonovich_reversible_heun-additive": (5, 0.003),
}


class Asked:
    """A path that keeps the intervals that it is asked for."""

    def __init__(self, path):
        self._path, self.asked = path, []
        self.forget = path.forget

    def increment(self, t, t1):
        self.asked.append((float(t), float(t1)))
        return self._path.increment(t, t1)


def path_of(method, problem, batch, seed, t0):
    return Asked(BridgedPath(method, keys(seed, 0, range(batch)), t0, problem.channels, np.dtype(problem.dtype)))


def ours(method, problem, y0, t, path, *, sde=None, limits=NO_LIMITS, recording=None, **settings):
    stepper = ArraySdeStepper(method, sde or problem.sde(method), t.dtype.type)
    control = StepDoubling(**{"dt": 0.1, "rtol": 1e-3, "atol": 1e-3, **settings})
    terms = {"method": method, "control": control, "limits": limits, "recording": recording}
    return solve_by_doubling(stepper, path, y0.reshape(1, -1), t, **terms)


def torchs(name, problem, y0, t, path, *, dt=0.1, rtol=1e-3, atol=1e-3, dt_min=1e-5):
    settings = {"dt": dt, "rtol": rtol, "atol": atol, "dt_min": dt_min, "adaptive": True}
    return torch_sdeint(problem, name, y0, t, path, **settings)


@pytest.mark.parametrize("case", CASES)
def test_the_tries_and_states_are_torchsdes(case):
    """Some tries are rejected, and several output times lie in one step."""
    name, noise = case.rsplit("-", 1)
    method, (paths, tolerance) = SDE_METHODS[name], CASES[case]
    problem, t, rejected = Problem(noise, method.calculus), np.array([0.2, 0.21, 0.22, 0.9, 1.2]), 0
    for seed in range(paths):
        y0 = problem.start(2, seed)
        path, theirs = (path_of(method, problem, 2, seed, t[0]) for _ in range(2))
        run = ours(method, problem, y0, t, path, rtol=tolerance, atol=tolerance)
        states = torchs(name, problem, y0, t, theirs, rtol=tolerance, atol=tolerance)
        assert run.status is Status.OK and run.time == t[-1]
        np.testing.assert_allclose(path.asked, theirs.asked, rtol=1e-12)
        assert run.steps == len(path.asked) / 3
        # A try that is accepted is followed by one from its end.
        starts = [start for start, _ in theirs.asked[::3]]
        assert run.accepted == len(set(starts)) and run.error_ratio[0] <= 1
        rejected += run.steps - run.accepted
        np.testing.assert_allclose(run.rows.reshape(states.shape), states, rtol=1e-9, atol=1e-9)
    assert rejected > 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_times_and_states_may_be_float32(dtype):
    """Times are rounded in their own dtype, as torch's are."""
    method, problem = SDE_METHODS["ito_srid2"], Problem("diagonal", "ito", "float32")
    t, y0 = np.array([0, 0.7, 1.3], dtype), problem.start(3)
    path, theirs = (path_of(method, problem, 3, 8, t[0]) for _ in range(2))
    run = ours(method, problem, y0, t, path)
    states = torchs("ito_srid2", problem, y0, t, theirs)
    assert run.rows.dtype == np.float32
    np.testing.assert_allclose(path.asked, theirs.asked, rtol=1e-4)
    np.testing.assert_allclose(run.rows.reshape(states.shape), states, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dt_min", [0.02, 0.1, 0.3])
def test_steps_of_the_least_length_are_accepted_as_by_torchsde(dt_min):
    """The controller begins anew after each of them. The result tells by how much the tolerance was exceeded."""
    method, problem, t = SDE_METHODS["ito_milstein"], Problem("diagonal"), np.array([0.0, 1.0])
    settings = {"rtol": 1e-6, "atol": 1e-6, "dt_min": dt_min}
    for seed in range(3):
        y0 = problem.start(2, seed)
        path, theirs = (path_of(method, problem, 2, seed, 0.0) for _ in range(2))
        run = ours(method, problem, y0, t, path, **settings)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            states = torchs("ito_milstein", problem, y0, t, theirs, **settings)
        # torchsde asks for all three intervals of a last step that is as short as a rounding error.
        np.testing.assert_allclose(path.asked[::3], theirs.asked[::3], rtol=1e-12)
        assert run.steps == len(theirs.asked) / 3
        np.testing.assert_allclose(run.rows.reshape(states.shape), states, rtol=1e-9)
        assert run.error_ratio[0] > 10


def test_the_controller_remembers_a_first_try_that_is_rejected():
    control = StepDoubling(dt_min=0.01)
    step, before = control.next_step(1.0, 2.0, None)
    assert (step, before) == (pytest.approx(0.45 ** (1 / 1.5)), 0.45)
    step, before = control.next_step(1.0, 0.9, before)
    assert (step, before) == (pytest.approx((1 / 0.45) ** 0.13), 1.0)
    # A later try that is rejected leaves it; growth and shrinking are bounded; the least length makes it forget.
    assert control.next_step(1.0, 2.0, 1.0) == (pytest.approx(0.45 ** (1 / 1.5)), 1.0)
    assert control.next_step(1.0, 1e-7, 1.0) == (1.4, 9e6)
    assert control.next_step(1.0, 1e6, 1.0) == (0.2, 1.0)
    assert control.next_step(1.0, 0.99, 100.0) == (1.0, pytest.approx(0.9 / 0.99))
    assert control.next_step(0.02, 1e6, 1.0) == (0.01, None)
    # torchsde divides by zero here.
    assert control.next_step(1.0, np.inf, None) == (0.2, 0.0)
    assert control.next_step(1.0, 0.5, 0.0) == (1.4, 1.8)


def test_errors_are_measured_over_the_whole_batch():
    control = StepDoubling(rtol=0.1, atol=0.01)
    one, two = np.array([[1.0, -2.0]]), np.array([[1.1, -2.0]])
    assert control.error_ratio(one, two, xp=NUMPY) == pytest.approx(0.1 / (0.11 + 0.01) / np.sqrt(2))
    assert control.error_ratio(one, one, xp=NUMPY) == 1e-7
    assert StepDoubling(rtol=0.0, atol=0.0).error_ratio(one, two, xp=NUMPY) == pytest.approx(0.1 / 1e-7 / np.sqrt(2))
    assert np.isnan(control.error_ratio(one, two * np.nan, xp=NUMPY))
    assert control.error_ratio(np.zeros((1, 0)), np.zeros((1, 0)), xp=NUMPY) == 1e-7


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dt": 0.0}, "dt=0.0 must be positive and finite"),
        ({"dt": np.inf}, "dt=inf must be positive and finite"),
        ({"rtol": -1.0}, "rtol=-1.0 must be finite and not negative"),
        ({"atol": np.nan}, "atol=nan must be finite and not negative"),
        ({"dt_min": -0.1}, "dt_min=-0.1 must be finite and not negative"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        StepDoubling(**settings)


def solve_problem(*, sde=None, t=(0.0, 0.5, 1.0), y0=None, **settings):
    method, problem = SDE_METHODS["ito_srid2"], Problem("diagonal")
    y0 = problem.start(2) if y0 is None else y0
    path = path_of(method, problem, 2, 1, t[0])
    return ours(method, problem, y0, np.array(t), path, sde=sde, **settings)


def test_a_solve_gives_up_at_a_limit():
    free = solve_problem()
    assert free.steps > 4
    run = solve_problem(limits=Limits(max_steps=3))
    assert (run.status, run.steps) == (Status.STEP_LIMIT, 3) and np.isnan(run.rows[-1]).all()
    assert run.evaluations == 3 * 3 * 3
    run = solve_problem(limits=Limits(max_evals=20))
    assert (run.status, run.steps, run.evaluations) == (Status.EVALUATION_LIMIT, 2, 18)
    assert np.isfinite(run.rows).all() and 0 < run.time < 1
    run = solve_problem(limits=Limits(deadline=perf_counter() - 1))
    assert (run.status, run.steps, run.error_ratio) == (Status.DEADLINE, 0, None)
    np.testing.assert_array_equal(run.rows, np.repeat(run.rows[:1], 3, axis=0))


def test_states_that_are_not_finite_end_a_solve():
    method, problem = SDE_METHODS["ito_srid2"], Problem("diagonal")
    sde = problem.sde(method)
    run = solve_problem(sde=replace(sde, drift=lambda t, y: np.where(t > 0.9, np.nan, 0) * y))
    assert run.status is Status.NOT_FINITE and np.isfinite(run.rows[:2]).all() and np.isnan(run.rows[2]).all()
    assert 0.5 < run.time <= 0.9
    run = solve_problem(sde=replace(sde, drift=lambda t, y: np.full_like(y, np.inf)), rtol=0.0)
    assert run.status is Status.NOT_FINITE
    run = solve_problem(y0=np.full((2, 4), np.inf))
    assert (run.status, run.steps) == (Status.NOT_FINITE, 0)


def test_a_step_too_small_to_move_time_ends_a_solve():
    run = solve_problem(t=(1e6, 1e6 + 1), dt=1e-12, dt_min=0.0)
    assert (run.status, run.steps) == (Status.STEP_UNDERFLOW, 0)


def test_one_time_needs_no_step():
    run = solve_problem(t=(0.3,))
    assert (run.status, run.steps, run.accepted, run.time) == (Status.OK, 0, 0, 0.3)


def test_a_last_step_as_short_as_a_rounding_error_is_taken():
    """torchsde fails here with srk, as half of such a step has the length 0."""
    run = solve_problem(t=(0.0, 0.5), rtol=1e-9, atol=1e-9, dt_min=0.05)
    assert (run.status, run.steps, run.accepted, run.time) == (Status.OK, 10, 10, 0.5)
    assert np.isfinite(run.rows).all()


def test_tries_are_recorded():
    recording, plain = Recording(), solve_problem(rtol=1e-4, atol=1e-4)
    run = solve_problem(rtol=1e-4, atol=1e-4, recording=recording)
    np.testing.assert_array_equal(run.rows, plain.rows)
    assert len(recording.attempts) == run.steps > len(recording.steps) == run.accepted
    assert [attempt.accepted for attempt in recording.attempts] == [x.ratio <= 1 for x in recording.attempts]
    ends = [step.stop for step in recording.steps]
    assert [step.start for step in recording.steps] == [0.0, *ends[:-1]] and ends[-1] == 1.0
    np.testing.assert_array_equal(recording.steps[-1].read(1.0), run.rows[-1])
