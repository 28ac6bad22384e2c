"""The loops: the attempts that they ask of a stepper, when they stop, what they return, and how solves fail."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from support.problems import torch_solve
from support.rosters import ADAPTIVE, FIXED

import odelet
from odelet.errors import InputError
from odelet.loops.adaptive import AdaptiveSolve, Points, direction_of, solve_adaptive
from odelet.loops.fixed import solve_on_grid
from odelet.loops.limits import Limits
from odelet.loops.run import solution_arrays
from odelet.loops.trajectory import StepEnds
from odelet.methods.roster import METHODS
from odelet.numerics.control import Control
from odelet.numerics.grid import Grid
from odelet.status import Status


class Scripted:
    """An adaptive stepper with prescribed error ratios; its state at the end of a step is slope * time."""

    def __init__(self, ratios=(), *, slope=1.0, first=1.0):
        self.ratios = iter(ratios)
        self.slope, self.first = slope, first
        self.attempts, self.accepted, self.jumps, self.begun_at = [], [], [], []
        self.state = self.before = self.attempted = None

    def begin(self, t):
        self.begun_at.append(t)

    def first_length(self, t):
        assert self.begun_at == [t]
        return self.first

    def attempt(self, t, t1, h):
        self.attempts.append((t, h))
        self.attempted = t, t1
        return next(self.ratios, 1.0)

    def accept(self, jump):
        self.jumps += [] if jump is None else [jump]
        self.accepted.append(self.attempted)
        self.before, self.state = self.attempted

    def ends(self):
        middle = (self.before + self.state) / 2
        rows = [np.array([[self.slope * x]]) for x in (self.before, self.state, middle)]
        k = np.array([[self.slope]])
        return StepEnds(rows[0], rows[1], rows[2], k, k)


class Squares:
    """A stepper of fixed steps whose state is the square of time; one iteration fails in the step from `fail_at`."""

    def __init__(self, fail_at=None):
        self.fail_at, self.steps = fail_at, []

    def step(self, t, t1):
        self.steps.append((t, t1))
        return 4, t == self.fail_at

    def ends(self):
        t, t1 = self.steps[-1]
        return StepEnds(np.array([[t * t]]), np.array([[t1 * t1]]), k0=np.array([[2 * t]]))


def run_loop(stepper, t, *, max_steps=1000, max_evals=None, deadline=None, y0=0.0, step_t=(), jump_t=(), **settings):
    t = np.array(t, float)
    return solve_adaptive(
        lambda: AdaptiveSolve(
            stepper,
            t[0],
            direction=direction_of(t),
            order=5,
            calls=6,
            control=Control(**settings),
            limits=Limits(max_steps=max_steps, max_evals=max_evals, deadline=deadline),
            points=Points(step_t=step_t, jump_t=jump_t),
        ),
        np.array([[y0]]),
        t,
    )


def test_steps_do_not_end_at_output_times():
    stepper = Scripted()
    run = run_loop(stepper, [0, 0.5, 2.5, 2.6], safety=1.0)
    assert stepper.attempts == [(0, 1), (1, 1), (2, 1)]
    assert run.rows[:, 0] == pytest.approx([0, 0.5, 2.5, 2.6], rel=1e-15)
    assert (run.status, run.time, run.steps, run.accepted) == (Status.OK, 3, 3, 3)


def test_steps_are_negative_when_time_runs_backwards():
    stepper = Scripted()
    run = run_loop(stepper, [0, -0.5, -1.5], safety=1.0)
    assert stepper.attempts == [(0, -1), (-1, -1)]
    assert run.rows[:, 0] == pytest.approx([0, -0.5, -1.5], rel=1e-15)
    assert run.time == -2


def test_a_rejected_step_is_tried_again_shorter_from_the_same_time():
    stepper = Scripted([32.0, 1.0, 1.0], slope=3.0)
    run = run_loop(stepper, [0, 0.9], safety=1.0)
    assert stepper.attempts == [(0, 1), (0, 0.5), (0.5, 0.5)]
    assert stepper.accepted == [(0, 0.5), (0.5, 1.0)]
    assert (run.steps, run.accepted) == (3, 2)
    assert run.rows[1, 0] == pytest.approx(2.7, rel=1e-15)


def test_one_time_takes_no_step():
    stepper = Scripted()
    run = run_loop(stepper, [4.0], y0=7.0)
    assert not stepper.attempts
    assert (run.rows.tolist(), run.status, run.time) == ([[7.0]], Status.OK, 4.0)


def test_the_first_step_is_kept_within_its_bounds():
    stepper = Scripted(first=5.0)
    run_loop(stepper, [0, 1], max_step=0.25)
    assert stepper.attempts[0] == (0, 0.25)


def test_the_step_limit_counts_all_attempts():
    run = run_loop(Scripted(), [0, 1, 2, 9], safety=1.0, max_steps=4)
    assert (run.status, run.time, run.steps) == (Status.STEP_LIMIT, 4, 4)
    assert run.rows[:3, 0] == pytest.approx([0, 1, 2])
    assert np.isnan(run.rows[3, 0])


def test_max_num_steps_counts_between_output_times():
    ok = run_loop(Scripted(), [0, 3, 6, 9], safety=1.0, max_num_steps=3)
    assert (ok.status, ok.steps) == (Status.OK, 9)
    run = run_loop(Scripted(), [0, 3, 7, 9], safety=1.0, max_num_steps=3)
    assert (run.status, run.steps, run.time) == (Status.STEP_LIMIT, 6, 6)


def test_a_step_that_does_not_move_time_stops_the_solve():
    stepper = Scripted([1e40] * 100)
    run = run_loop(stepper, [1, 2], dfactor=1e-3)
    assert (run.status, run.time, run.accepted) == (Status.STEP_UNDERFLOW, 1, 0)
    assert len(stepper.attempts) == run.steps == 6
    assert np.isnan(run.rows[1, 0])


@pytest.mark.parametrize("h", [math.inf, 0.0])
def test_a_first_step_of_length_zero_or_infinity_stops_the_solve(h):
    run = run_loop(Scripted(first=h), [0, 1])
    assert (run.status, run.steps) == (Status.STEP_UNDERFLOW, 0)


def test_a_ratio_that_is_not_a_number_stops_the_solve():
    run = run_loop(Scripted([1.0, math.nan]), [0, 0.5, 5], safety=1.0)
    assert (run.status, run.time, run.steps, run.accepted) == (Status.NOT_FINITE, 1, 2, 1)
    assert np.isnan(run.rows[2, 0])
    assert run.rows[1, 0] == 0.5


@pytest.mark.parametrize("y0", [math.nan, math.inf])
def test_a_start_that_is_not_finite_takes_no_step(y0):
    stepper = Scripted()
    run = run_loop(stepper, [0, 1], y0=y0)
    assert (run.status, run.time, run.steps, stepper.attempts) == (Status.NOT_FINITE, 0, 0, [])


def test_steps_end_at_the_points_of_step_t_and_jump_t():
    stepper = Scripted()
    run = run_loop(stepper, [0, 2], safety=1.0, step_t=[7, 0.5], jump_t=[0.75])
    ends = [0, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2]
    assert stepper.accepted == list(pairwise(ends)), (
        "after a step that was cut, the next one has the length that it was cut to"
    )
    assert stepper.jumps == [0.75]
    assert (run.status, run.evaluations) == (Status.OK, 2 + 7 * 6 + 1)
    backwards = Scripted()
    run_loop(backwards, [0, -2], safety=1.0, step_t=[-7, -0.5], jump_t=[-0.75])
    assert backwards.accepted == [(-a, -b) for a, b in stepper.accepted]
    assert backwards.jumps == [-0.75]


def test_a_step_that_ends_at_a_point_by_chance_hides_later_points():
    """As in torchdiffeq, whose index of the next point moves only when a step was cut at the point."""
    stepper = Scripted()
    run_loop(stepper, [0, 3], safety=1.0, step_t=[1.0, 2.5])
    assert stepper.accepted == [(0, 1), (1, 2), (2, 3)]


@pytest.mark.parametrize("points", [{"step_t": [1, 1]}, {"step_t": [1], "jump_t": [2, 1]}])
def test_a_point_named_twice_is_refused(points):
    with pytest.raises(InputError, match="step_t and jump_t must have no time twice"):
        run_loop(Scripted(), [0, 3], **points)
    assert run_loop(Scripted(), [2.5, 3], **points).status is Status.OK, "points before the start do not matter"


def test_later_outputs_are_the_reached_state_when_evaluations_run_out():
    run = run_loop(Scripted(slope=2.0), [0, 1.5, 4, 5], safety=1.0, max_evals=22)
    assert (run.status, run.time, run.evaluations) == (Status.EVALUATION_LIMIT, 3, 20)
    assert run.rows[:, 0].tolist() == [0, 3, 6, 6]


def test_a_deadline_stops_the_solve():
    run = run_loop(Scripted(), [0, 5], y0=7.0, deadline=0.0)
    assert (run.status, run.time, run.steps) == (Status.DEADLINE, 0, 0)
    assert run.rows[:, 0].tolist() == [7, 7]


def test_times_in_float32_are_added_in_float32():
    stepper = Scripted(first=0.1)
    run_loop(stepper, [0, 0.4], safety=1.0, dtype="float32")
    assert {type(x) for times in stepper.attempts for x in times} == {np.float32}
    assert stepper.accepted[-1][1] == np.float32(0.1) + np.float32(0.1) + np.float32(0.1) + np.float32(0.1)


def test_outputs_within_fixed_steps_lie_on_straight_lines():
    stepper = Squares()
    t, points = np.array([0, 1.5, 2, 3]), np.array([0.0, 1, 2, 3])
    run = solve_on_grid(stepper, None, METHODS["rk4"], np.zeros((1, 1)), t, points, grid=Grid(), direction=1.0)
    assert stepper.steps == [(0, 1), (1, 2), (2, 3)]
    assert run.rows[:, 0].tolist() == [0, 2.5, 4, 9]
    assert (run.status, run.time, run.steps, run.evaluations, run.unconverged) == (Status.OK, 3, 3, 12, None)


def test_outputs_within_fixed_steps_lie_on_cubics_and_failures_are_counted():
    stepper = Squares(fail_at=1)
    t, points, grid = np.array([0, 1.5, 2, 3]), np.array([0.0, 1, 2, 3]), Grid(step_size=1.0, interp="cubic")
    run = solve_on_grid(
        stepper, lambda t, y: 2 * t * y**0, METHODS["gl4"], np.zeros((1, 1)), t, points, grid=grid, direction=1.0
    )
    assert run.rows[:, 0].tolist() == [0, 2.25, 4, 9]
    assert (run.evaluations, run.unconverged) == (12 + 3, 1)


@pytest.mark.parametrize(
    ("t", "message"),
    [
        ([], r"t must be a 1-D array of at least one time; got shape \(0,\)"),
        ([[0.0, 1.0]], r"got shape \(1, 2\)"),
        (0.5, r"got shape \(\)"),
        ([0.0, math.nan], "t holds times that are not finite"),
        ([0.0, math.inf], "t holds times that are not finite"),
        ([0.0, 0.0], "strictly increasing or strictly decreasing"),
        ([0.0, 1.0, 0.5], "strictly increasing or strictly decreasing"),
    ],
)
def test_times_that_are_not_monotone_are_refused(t, message):
    with pytest.raises(InputError, match=message):
        direction_of(np.array(t))


def test_rows_become_arrays_in_the_shapes_of_the_state():
    rows = np.arange(14.0).reshape(2, 7)
    matrix, number, vector = solution_arrays(rows, [(2, 2), (), (2,)])
    assert matrix.tolist() == [[[0, 1], [2, 3]], [[7, 8], [9, 10]]]
    assert number.tolist() == [4, 11]
    assert vector.tolist() == [[5, 6], [12, 13]]


# Failures of solves by odelet.odeint, compared with torchdiffeq.


@pytest.mark.parametrize("method", ADAPTIVE)
def test_a_field_that_becomes_nan_fails_where_torchdiffeq_does(method):
    def field(xp):
        return lambda t, y: xp.log(2 - y)

    y0, t = np.array([0.0]), [0.0, 1.0, 3.0]
    with pytest.raises(AssertionError, match="underflow in dt 0"):
        torch_solve(field(torch), y0, t, method=method, options={"first_step": 10.0})
    solution = odelet.odeint(field(np), y0, t, method=method, options={"first_step": 10.0})
    assert solution.status is Status.NOT_FINITE
    assert solution.stats.solves[0].time == 0
    assert np.isnan(solution.outputs["y"][1:]).all()
    with pytest.raises(odelet.SolveError, match=f"solve 0 \\({method}\\) stopped at time 0: .*infinite or NaN"):
        solution.raise_if_failed()


@pytest.mark.parametrize("method", ["dopri5", "tsit5", "dopri8"])
def test_a_solution_that_blows_up_fails_where_torchdiffeq_does(method):
    with pytest.raises(AssertionError, match="underflow in dt"):
        torch_solve(lambda t, y: y * y, np.array([1.0]), [0.0, 0.5, 2.0], method=method)
    solution = odelet.odeint(lambda t, y: y * y, np.array([1.0]), [0.0, 0.5, 2.0], method=method)
    assert solution.status is Status.STEP_UNDERFLOW
    assert solution.stats.solves[0].time == pytest.approx(1, abs=1e-6)
    assert solution.outputs["y"][1] == pytest.approx(2, rel=1e-4)
    assert np.isnan(solution.outputs["y"][2])


@pytest.mark.parametrize("method", ADAPTIVE)
def test_max_num_steps_fails_where_torchdiffeq_does(method):
    settings = {"method": method, "rtol": 1e-6, "atol": 1e-6, "options": {"max_num_steps": 8}}
    y0 = np.array([1.0, 0.0])
    with pytest.raises(AssertionError, match=r"max_num_steps exceeded \(8>=8\)"):
        torch_solve(lambda t, y: torch.stack([y[1], -y[0]]), y0, [0.0, 1e-3, 10.0], **settings)
    solution = odelet.odeint(lambda t, y: np.stack([y[1], -y[0]]), y0, [0.0, 1e-3, 10.0], **settings)
    assert solution.status is Status.STEP_LIMIT
    assert 8 < solution.stats.steps <= 16
    assert 1e-3 < solution.stats.solves[0].time < 10


@pytest.mark.parametrize("method", ADAPTIVE)
@pytest.mark.parametrize("y0", [math.nan, math.inf, -math.inf])
def test_a_start_that_is_not_finite_is_a_status(method, y0):
    solution = odelet.odeint(lambda t, y: -y, np.array([1.0, y0]), [3.0, 2.0], method=method)
    assert (solution.status, solution.stats.steps) == (Status.NOT_FINITE, 0)
    assert solution.stats.solves[0].time == 3
    assert np.isnan(solution.outputs["y"][1]).all()


@pytest.mark.parametrize("method", FIXED)
def test_a_failed_solve_of_fixed_steps_has_the_last_good_output_time(method):
    def field(t, y):
        return np.sqrt(0.75 - t) + 0 * y

    solution = odelet.odeint(field, np.array([1.0]), [0, 0.5, 2, 3], method=method, options={"step_size": 0.25})
    assert solution.status is Status.NOT_FINITE
    assert solution.stats.solves[0].time == 0.5
    assert np.isfinite(solution.outputs["y"][:2]).all()
    assert np.isnan(solution.outputs["y"][2:]).all()


def test_the_step_limit_of_a_call_stops_the_solve():
    solution = odelet.odeint(lambda t, y: -y, np.array([1.0]), [0, 5], max_steps=3)
    assert (solution.status, solution.stats.steps) == (Status.STEP_LIMIT, 3)
    with pytest.raises(odelet.SolveError, match="step limit was reached before the end time; raise max_steps"):
        solution.raise_if_failed()
