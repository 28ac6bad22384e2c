"""Step size control on invented error ratios, compared with the functions of torchdiffeq."""

import math
from dataclasses import fields, replace
from functools import partial

import numpy as np
import pytest
import torch
from support.rosters import RATIOS
from torchdiffeq._impl.misc import _compute_error_ratio, _optimal_step_size, _rms_norm, _select_initial_step

from odelet.numerics.backend import NUMPY
from odelet.numerics.control import CONTROLLERS, Control, clamp, error_ratio, initial_step, judge, next_length, stop_at
from odelet.numerics.scalars import SCALARS
from odelet.numerics.state import Layout

BACKENDS = {"numpy": (NUMPY, np.float64), "floats": (SCALARS, float)}
ORDERS = [2, 3, 5, 8]

backends = pytest.mark.parametrize(("xp", "number"), BACKENDS.values(), ids=BACKENDS)
controllers = pytest.mark.parametrize("controller", CONTROLLERS)


def judged(ratio, *, h=0.1, order=5, xp=SCALARS, number=float, past=None, **settings):
    control = Control(**settings)
    past = [number(x) for x in past or [1.0] * control.memory]
    with np.errstate(all="ignore"):
        return judge(number(h), number(ratio), past, order=order, control=control, xp=xp)


@controllers
@backends
@pytest.mark.parametrize("ratio", RATIOS)
def test_a_step_is_accepted_up_to_the_tolerance(controller, xp, number, ratio):
    assert bool(judged(ratio, xp=xp, number=number, controller=controller).accept) == (ratio <= 1)


@controllers
@backends
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("ratio", RATIOS[:-1])
def test_the_next_step_stays_within_the_factors(controller, xp, number, ratio, order):
    h = judged(ratio, order=order, xp=xp, number=number, controller=controller, ifactor=7.0, dfactor=0.25).h
    assert 0.1 * 0.25 * (1 - 1e-15) <= h <= 0.1 * 7.0 * (1 + 1e-15)
    if ratio == 0:
        assert h == pytest.approx(0.7)
    if ratio < 1:
        assert h >= 0.1
    if ratio == math.inf:
        assert h == 0.1 * 0.25


@controllers
@backends
def test_a_ratio_that_is_not_a_number_leaves_no_next_step(controller, xp, number):
    decision = judged(math.nan, xp=xp, number=number, controller=controller, max_step=3.0)
    assert not decision.accept
    assert math.isnan(decision.h)


@controllers
@pytest.mark.parametrize("ratio", RATIOS)
def test_controllers_agree_in_numpy_and_in_floats(controller, ratio):
    settings = {"controller": controller, "min_step": 0.03, "max_step": 0.4}
    one, other = (judged(ratio, xp=xp, number=number, **settings) for xp, number in BACKENDS.values())
    assert bool(one.accept) == other.accept
    assert one.h == pytest.approx(other.h, rel=1e-15, abs=0, nan_ok=True)


@backends
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("factors", [{}, {"safety": 0.8, "ifactor": 5.0, "dfactor": 0.5}, {"safety": 2.0}])
@pytest.mark.parametrize("ratio", RATIOS)
def test_the_integral_controller_equals_that_of_torchdiffeq(xp, number, ratio, factors, order):
    control = Control(**factors)
    numbers = [torch.tensor(x, dtype=torch.float64) for x in (control.safety, control.ifactor, control.dfactor)]
    theirs = _optimal_step_size(
        torch.tensor(0.1, dtype=torch.float64), torch.tensor(ratio, dtype=torch.float64), *numbers, order
    )
    with np.errstate(all="ignore"):
        ours = next_length(number(0.1), number(ratio), [], order=order, control=control, xp=xp)
    assert float(ours) == pytest.approx(theirs.item(), rel=1e-15, abs=0, nan_ok=True)


@backends
def test_steps_are_kept_within_their_bounds(xp, number):
    control = Control(min_step=0.01, max_step=0.5)
    assert [clamp(number(h), control=control, xp=xp) for h in (0.001, 0.2, 3.0)] == [0.01, 0.2, 0.5]
    assert [clamp(number(h), control=Control(), xp=xp) for h in (1e-300, 1e300)] == [1e-300, 1e300]
    assert math.isnan(clamp(number(math.nan), control=Control(), xp=xp))


@controllers
@backends
def test_the_next_step_is_kept_within_its_bounds(controller, xp, number):
    bounds = {"min_step": 0.08, "max_step": 0.3, "controller": controller, "xp": xp, "number": number}
    assert judged(1e-9, **bounds).h == 0.3
    assert judged(1e9, **bounds).h == 0.08


@controllers
@backends
def test_a_step_at_min_step_is_accepted_whatever_its_error(controller, xp, number):
    shared = {"min_step": 0.1, "controller": controller, "xp": xp, "number": number}
    assert judged(1e6, **shared).accept
    assert judged(1e6, h=0.05, **shared).accept
    assert not judged(1e6, h=0.11, **shared).accept
    assert not judged(1e6, xp=xp, number=number, controller=controller).accept


@controllers
@backends
def test_a_ratio_that_is_not_a_number_asks_for_min_step_once(controller, xp, number):
    shared = {"min_step": 0.1, "controller": controller, "xp": xp, "number": number}
    longer, shortest = judged(math.nan, h=0.7, **shared), judged(math.nan, h=0.1, **shared)
    assert not longer.accept
    assert longer.h == 0.1
    assert math.isnan(shortest.h)


WRONG = {
    "controller": ("pid9", "controller='pid9' is not one of"),
    "first_step": (0.0, "first_step=0.0 must be positive"),
    "max_step": (-1.0, "max_step=-1.0 must be positive"),
    "safety": (0.0, "safety=0.0 must be positive"),
    "ifactor": (math.nan, "ifactor=nan must be positive"),
    "dfactor": (-0.2, "dfactor=-0.2 must be positive"),
    "max_num_steps": (0, "max_num_steps=0 must be positive"),
    "dtype": ("float16", "dtype='float16' is not one of float64, float32"),
    "min_step": (-1e-3, "min_step=-0.001 must be between 0 and max_step=inf"),
}


@pytest.mark.parametrize("name", [field.name for field in fields(Control)])
def test_settings_that_cannot_work_are_refused(name):
    value, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        Control(**{name: value})


def test_a_min_step_above_max_step_is_refused():
    with pytest.raises(ValueError, match=r"min_step=0\.5 must be between 0 and max_step=0\.1"):
        replace(Control(max_step=0.1), min_step=0.5)


def test_settings_have_the_defaults_of_torchdiffeq():
    expected = {"first_step": None, "min_step": 0, "max_step": math.inf, "safety": 0.9, "ifactor": 10, "dfactor": 0.2}
    control = Control()
    assert {name: getattr(control, name) for name in expected} == expected
    assert control.max_num_steps == 2**31 - 1


@controllers
def test_a_controller_is_at_rest_at_the_tolerance(controller):
    """There is a ratio at which the length stays, by `safety`; the powers of a controller sum to a positive gain."""
    powers = CONTROLLERS[controller].powers
    assert 0 < sum(powers) <= 1
    rest = 0.9 ** (5 / sum(powers))
    decision = judged(rest, past=[rest] * (len(powers) - 1), controller=controller, safety=0.9)
    assert decision.h == pytest.approx(0.1)


@backends
def test_pi_and_pid_follow_their_formulas(xp, number):
    settings = {"xp": xp, "number": number, "safety": 2.0, "ifactor": 1e9, "dfactor": 1e-9}
    r, r1, r2, k = 0.75, 0.5, 0.25, 5
    pi = judged(r, past=[r1], controller="pi", **settings)
    assert pi.h == pytest.approx(0.1 * 2 * (1 / r) ** (0.3 / k) * (r1 / r) ** (0.4 / k))
    pid = judged(r, past=[r1, r2], controller="pid", **settings)
    assert pid.h == pytest.approx(0.1 * 2 * r ** (-0.49 / k) * r1 ** (0.34 / k) * r2 ** (-0.10 / k))
    for controller, past in (("pi", [r1]), ("pid", [r1, 1e-30])):
        failed = judged(3.0, past=past, controller=controller, **settings)
        assert failed.h == pytest.approx(0.1 * 2 * 3 ** (-1 / k)), "after a rejected step the past has no effect"


@backends
def test_only_accepted_steps_enter_the_past(xp, number):
    rejected = judged(3.0, past=[0.5, 0.25], controller="pid", xp=xp, number=number)
    accepted = judged(0.75, past=[0.5, 0.25], controller="pid", xp=xp, number=number)
    assert [float(x) for x in rejected.past] == [0.5, 0.25]
    assert [float(x) for x in accepted.past] == [0.75, 0.5]
    assert list(judged(0.5, xp=xp, number=number).past) == []


@pytest.mark.parametrize(
    ("point", "expected"),
    [(9.0, (1.25, 1.0, False)), (0.25, (1.25, 1.0, False)), (1.25, (1.25, 1.0, False)), (0.75, (0.75, 0.5, True))],
    ids=["past the end", "at the start", "at the end", "inside"],
)
@backends
def test_a_step_is_cut_at_a_point_strictly_inside_it(xp, number, point, expected):
    cut = stop_at(number(point), number(0.25), number(1.25), number(1.0), xp=xp)
    assert (float(cut.end), float(cut.h), bool(cut.hit)) == expected


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_error_ratio_equals_that_of_torchdiffeq(dtype):
    generator = np.random.default_rng(0)
    err, y0, y1 = (generator.normal(size=(1, 7)).astype(dtype) for _ in range(3))
    rtol, atol = 1e-2, 1e-3
    tolerances = [torch.tensor(x, dtype=torch.float64) for x in (rtol, atol)]
    theirs = _compute_error_ratio(
        *(torch.from_numpy(x) for x in (err,)), *tolerances, *map(torch.from_numpy, (y0, y1)), _rms_norm
    )
    ours = error_ratio(err, y0, y1, rtol=np.float64(rtol), atol=np.float64(atol), layout=Layout.of([y0]), xp=NUMPY)
    assert ours.dtype == dtype
    assert float(ours) == pytest.approx(theirs.item(), rel=10 * float(np.finfo(dtype).eps))


def decay(t, y):
    return -3 * y + t


def jump(t, y):
    """A slope that is NaN at all times but the start."""
    return y * (1 if t == 0.5 else math.nan)


STARTS = {
    "plain": (decay, [1.0, -2.0, 0.5]),
    "zero state": (decay, [0.0, 0.0]),
    "tiny state": (decay, [1e-12, 0.0]),
    "huge state": (decay, [1e9, -1e12]),
    "no slope": (lambda t, y: 0 * y, [1.0, 2.0]),
    "no slope at the start": (lambda t, y: y * 0 + (t - 0.5), [1.0, 2.0]),
    "tiny slope": (lambda t, y: 1e-14 * y, [1.0, 2.0]),
    "steep": (lambda t, y: -1e8 * y, [1.0, 2.0]),
    "constant slope": (lambda t, y: 0 * y + 2, [1.0, 2.0]),
    "nothing after the start": (jump, [1.0, 2.0]),
    "not a number": (decay, [math.nan, 1.0]),
}


@pytest.mark.parametrize("direction", [1.0, -1.0])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("field", "y0"), STARTS.values(), ids=STARTS)
def test_the_first_step_equals_that_of_torchdiffeq(field, y0, dtype, order, direction):
    rtol, atol = 1e-4, 1e-6
    y0 = np.array([y0], dtype)

    def forward(t, y):
        return direction * field(direction * t.to(y.dtype), y)

    rule = [torch.tensor(x, dtype=torch.float64) for x in (rtol, atol)]
    start = torch.tensor(direction * 0.5, dtype=torch.float64)
    theirs = _select_initial_step(forward, start, torch.from_numpy(y0), order - 1, *rule, _rms_norm)

    number = y0.dtype.type
    with np.errstate(all="ignore"):
        ours = initial_step(
            lambda t, y: field(number(t), y),
            np.float64(0.5),
            y0,
            field(number(0.5), y0),
            order=order,
            rtol=np.float64(rtol),
            atol=np.float64(atol),
            layout=Layout.of([y0]),
            direction=number(direction),
            xp=NUMPY,
        )
    assert ours.dtype == dtype
    # The length depends on a difference of two slopes, which has few digits for a steep field.
    assert float(ours) == pytest.approx(theirs.item(), rel=200 * float(np.finfo(dtype).eps), abs=0, nan_ok=True)


def test_the_norm_of_parts_is_the_largest_of_their_norms():
    layout = Layout.of([np.zeros((2, 2)), np.zeros(3)])
    row = np.array([[3.0, 4.0, 0.0, 0.0, 1.0, -1.0, 1.0]])
    assert layout.norm(row, xp=NUMPY) == 2.5
    assert Layout.of([np.zeros(7)]).norm(row, xp=NUMPY) == pytest.approx(math.sqrt(28 / 7))
    assert Layout.of([np.zeros(7)], user_norm=lambda parts: -abs(parts[0]).max()).norm(row, xp=NUMPY) == 4
    assert layout.norm(row * 0 + [[0, 0, 0, 0, 5, 5, 5]], xp=NUMPY) == 5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_norm_of_an_empty_state_is_zero(dtype):
    norm = partial(NUMPY.rms, np.zeros((1, 0), dtype))()
    assert norm == 0
    assert norm.dtype == dtype


def test_a_tolerance_of_a_part_holds_for_its_elements_only():
    layout = Layout.of([np.zeros((1, 2), np.float32), np.zeros(1, np.float32)])
    size = np.array([[1.0, 2.0, 4.0]], np.float32)
    bound = layout.allowed_error(size, rtol=[np.float64(0.5), np.float64(0.25)], atol=np.float64(1), xp=NUMPY)
    assert bound.tolist() == [[1.5, 2.0, 2.0]]
    assert bound.dtype == np.float64
    assert layout.allowed_error(size, rtol=np.float64(0.5), atol=np.float64(1), xp=NUMPY).dtype == np.float32
    number = Layout.of([np.zeros((), np.float32)])
    assert number.allowed_error(size[:, :1], rtol=np.float64(0.5), atol=np.float64(1), xp=NUMPY).dtype == np.float64
