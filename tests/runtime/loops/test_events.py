"""Events of odelet.odeint are where closed forms say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import odelet
from odelet import Event, InputError, Status
from odelet.numerics.backend import NUMPY
from odelet.numerics.events import bisect

G = 9.81


def fall(t, y):
    return np.array([y[1], -G])


def decay(t, y):
    return -y


@pytest.mark.parametrize("method", ["dopri5", "dopri8"])
def test_a_ball_bounces_twenty_times_in_one_call(method):
    restitution = 0.85
    ball = Event(lambda t, y: y[0], direction=-1, reset=lambda t, y: np.array([0.0, -restitution * y[1]]))
    peak = Event(lambda t, y: y[1], direction=-1)
    first = np.sqrt(20 / G)
    flights = 2 * first * restitution ** np.arange(1, 21)
    bounces = np.concatenate([[first], first + np.cumsum(flights)[:-1]])
    end = bounces[-1] + flights[-1] / 2 * 1.2
    times = np.linspace(0, end, 50)
    solution = odelet.odeint(
        fall, np.array([10.0, 0.0]), times, method=method, rtol=1e-9, atol=1e-12, events=[ball, peak]
    )
    bounced, peaked = solution.events
    assert solution.status is Status.OK
    assert bounced.times.shape == (20,)
    assert bounced.times == pytest.approx(bounces, rel=1e-10)
    assert np.abs(bounced.states[:, 0]).max() < 1e-10
    assert peaked.states[:, 0] == pytest.approx(10 * restitution ** (2 * np.arange(1, len(peaked.times) + 1)), rel=1e-8)
    last = np.searchsorted(bounces, times) - 1
    since = times - np.where(last >= 0, bounces[last], 0)
    height = np.where(
        last < 0, 10 - G * since**2 / 2, G * first * restitution ** (last + 1.0) * since - G * since**2 / 2
    )
    assert solution.outputs["y"][:, 0] == pytest.approx(height, abs=1e-8)


@pytest.mark.parametrize("tolerance", [1e-4, 1e-7, 1e-10])
def test_the_time_of_an_event_errs_no_more_than_the_solve(tolerance):
    solution = odelet.odeint(
        decay, np.ones(1), [0, 0.5, 1, 2], rtol=tolerance, atol=tolerance, events=[Event(lambda t, y: y[0] - 0.5)]
    )
    assert solution.events[0].times == pytest.approx([np.log(2)], abs=3 * tolerance)
    assert solution.events[0].states == pytest.approx(0.5, abs=1e-14)
    unwatched = odelet.odeint(decay, np.ones(1), [0, 0.5, 1, 2], rtol=tolerance, atol=tolerance)
    assert np.array_equal(solution.outputs["y"], unwatched.outputs["y"])
    assert solution.stats == unwatched.stats


def test_outputs_after_a_terminal_event_are_nan_without_a_failure():
    stop = Event(lambda t, y: y[0] - 0.5, terminal=True)
    later = Event(lambda t, y: y[0] - 0.4)
    solution = odelet.odeint(decay, np.ones(1), [0, 0.5, 1, 2], events=[stop, later]).raise_if_failed()
    assert solution.status is Status.EVENT
    assert np.isnan(solution.outputs["y"][:, 0]).tolist() == [False, False, True, True]
    assert solution.stats.solves[0].time == solution.events[0].times[0]
    assert solution.events[1].times.shape == (0,)
    assert solution.events[1].states.shape == (0, 1)


@pytest.mark.parametrize(("direction", "expected"), [(1, [2, 4]), (-1, [1, 3]), (0, [1, 2, 3, 4])])
@pytest.mark.parametrize("sense", [1, -1])
def test_directions_are_those_of_the_solve(direction, expected, sense):
    """The event function is cos(pi t); its zeros rise or fall in the direction of the solve, also backwards."""
    event = Event(lambda t, y: y[0], direction=direction)
    field = lambda t, y: np.array([y[1], -y[0]]) * np.pi  # noqa: E731
    times = sense * np.array([0.0, 4.25])
    solution = odelet.odeint(field, np.array([1.0, sense * 0.0]), times, events=[event])
    assert np.abs(solution.events[0].times) == pytest.approx(np.array(expected) - 0.5, abs=1e-6)


def test_events_in_one_step_come_in_order_and_a_zero_at_the_start_is_no_event():
    events = [Event(lambda t, y, c=c: y[0] - c) for c in (1.0, 0.2, 0.9)]
    options = {"first_step": 2.0, "min_step": 2.0}
    solution = odelet.odeint(decay, np.ones(1), [0, 2], options=options, events=events)
    assert [len(event.times) for event in solution.events] == [0, 1, 1]
    assert solution.events[2].times[0] < solution.events[1].times[0]
    assert solution.stats.accepted == 1


def test_a_tuple_state_reaches_the_event_as_a_tuple():
    event = Event(lambda t, s: s[0][0, 0] - s[1], reset=lambda t, s: (s[0] * 2, s[1]))
    solution = odelet.odeint(
        lambda t, s: (-s[0], s[1] * 0), (np.ones((2, 2)), np.array(0.5)), [0, 1, 2], events=[event]
    )
    assert solution.events[0].times == pytest.approx(np.log(2) * np.array([1, 2]), abs=1e-6)
    assert [part.shape for part in solution.events[0].states] == [(2, 2, 2), (2,)]


@settings(max_examples=25, deadline=None)
@given(levels=st.lists(st.floats(0.05, 0.95), min_size=1, max_size=4, unique=True), reverse=st.booleans())
def test_levels_are_crossed_at_the_times_of_the_closed_form(levels, reverse):
    sense = -1 if reverse else 1
    events = [Event(lambda t, y, c=c: y[0] - c) for c in levels]
    solution = odelet.odeint(lambda t, y: -sense * y, np.ones(1), [0.0, sense * 4.0], events=events)
    event_times = [occurrences.times for occurrences in solution.events]
    assert np.concatenate(event_times) == pytest.approx(-sense * np.log(levels), abs=1e-6)


def test_bad_events_are_refused():
    with pytest.raises(ValueError, match="direction=2"):
        Event(lambda t, y: 0, direction=2)
    with pytest.raises(ValueError, match="fn=3"):
        Event(3)
    with pytest.raises(InputError, match="no odelet.Event"):
        odelet.odeint(decay, np.ones(1), [0, 1], events=[lambda t, y: 0])
    with pytest.raises(InputError, match="expected a number"):
        odelet.odeint(decay, np.ones(2), [0, 1], events=[Event(lambda t, y: y)])
    with pytest.raises(InputError, match="a reset returned states of shapes"):
        event = Event(lambda t, y: y[0] - 0.5, reset=lambda t, y: np.ones(3))
        odelet.odeint(decay, np.ones(1), [0, 2], events=[event])
    with pytest.raises(InputError, match="events are for adaptive methods, which 'rk4' is not"):
        odelet.odeint(decay, np.ones(1), [0, 1], method="rk4", events=[Event(lambda t, y: y[0])])


@pytest.mark.parametrize("broken_from", [0.3, 1.0])
def test_an_event_function_that_gives_nan_has_no_time(broken_from):
    def sign(time, _row):
        return np.float64(np.nan if time >= broken_from else 1.0)

    time, row = bisect(
        lambda t: np.array([[t]]), sign, 1.0, np.float64(0.0), np.float64(1.0), atol=np.float64(1e-3), xp=NUMPY
    )
    assert np.isnan(time)
    assert np.isnan(row).all()
