"""Step size control: the length of the first step, the error ratio of a step, and the length of the next step.

Times and step lengths here run forward, whatever the direction of the solve: all step lengths are positive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf
from typing import NamedTuple

from odelet.numerics.backend import Array, Backend, Scalar, ScalarBackend
from odelet.numerics.rk import Field
from odelet.numerics.state import Layout, Tolerance

TIME_DTYPES = ("float64", "float32")


@dataclass(frozen=True, kw_only=True)
class Controller:
    """The rule by which the next step length follows from the error ratios: r[n] of this attempt, r[n-1], ... of the
    accepted steps before it.

    The step length changes by the factor `safety * r[n]**(-powers[0]/order) * r[n-1]**(-powers[1]/order) * ...`.
    """

    powers: tuple[float, ...]
    source: str


CONTROLLERS = {
    "integral": Controller(
        powers=(1.0,), source="Hairer, Norsett & Wanner, Solving ODEs I, sec. II.4, equation (4.13); torchdiffeq's"
    ),
    "pi": Controller(
        powers=(0.7, -0.4), source="Gustafsson, ACM TOMS 17 (1991) (PI.3.4: integral 0.3, proportional 0.4)"
    ),
    "pid": Controller(powers=(0.49, -0.34, 0.10), source="Kennedy, Carpenter & Lewis, Appl. Numer. Math. 35 (2000)"),
}


@dataclass(frozen=True, kw_only=True)
class Control:
    """Settings of step size control, with the names and defaults of torchdiffeq.

    controller: a name in CONTROLLERS. first_step, min_step, max_step: step lengths in the model's unit of time; a
    first_step of None is estimated. safety: the share of the predicted step length that is taken. ifactor, dfactor: the
    largest and the smallest factor between the lengths of two attempts. max_num_steps: the most steps that may be
    attempted between two output times. dtype: the dtype of times and step lengths; a state of higher precision raises
    it to its own dtype.
    Raises ValueError for settings that cannot work.
    """

    controller: str = "integral"
    first_step: float | None = None
    min_step: float = 0.0
    max_step: float = inf
    safety: float = 0.9
    ifactor: float = 10.0
    dfactor: float = 0.2
    max_num_steps: int = 2**31 - 1
    dtype: str = "float64"

    def __post_init__(self) -> None:
        if self.controller not in CONTROLLERS:
            raise ValueError(f"controller={self.controller!r} is not one of {sorted(CONTROLLERS)}")
        if self.dtype not in TIME_DTYPES:
            raise ValueError(f"dtype={self.dtype!r} is not one of {', '.join(TIME_DTYPES)}")
        for name in ("first_step", "max_step", "safety", "ifactor", "dfactor", "max_num_steps"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name}={value!r} must be positive")
        if self.dfactor > 1:
            raise ValueError(f"dfactor={self.dfactor!r} must be at most 1, or a step that failed would not shrink")
        if not 0 <= self.min_step <= self.max_step:
            raise ValueError(f"min_step={self.min_step!r} must be between 0 and max_step={self.max_step!r}")

    @cached_property
    def powers(self) -> tuple[float, ...]:
        """The powers of the controller."""
        return CONTROLLERS[self.controller].powers

    @property
    def memory(self) -> int:
        """The number of error ratios of accepted steps that the controller remembers."""
        return len(self.powers) - 1


class StepDecision(NamedTuple):
    """The decision about an attempted step. accept: whether it is accepted. h: the length of the next step. past: the
    error ratios of the last accepted steps, latest first."""

    accept: Scalar
    h: Scalar
    past: Sequence[Scalar]


class CutStep(NamedTuple):
    """A step that may have been cut off at a point. end: where it ends. h: its length. hit: whether it was cut off."""

    end: Scalar
    h: Scalar
    hit: Scalar


def stop_at(point: Scalar, now: Scalar, end: Scalar, h: Scalar, *, xp: ScalarBackend) -> CutStep:
    """Cut a step from `now` to `end`, of length h, off at a point strictly inside it; leave any other as it is.

    Source: torchdiffeq's step_t and jump_t (`rk_common.py::_adaptive_step`).
    """
    hit = (now < point) & (point < now + h)
    return CutStep(xp.where(hit, point, end), xp.where(hit, point - now, h), hit)


def initial_step(
    field: Field,
    t0: Scalar,
    y0: Array,
    k0: Array,
    *,
    order: int,
    rtol: Tolerance,
    atol: Tolerance,
    layout: Layout,
    direction: Scalar,
    xp: Backend,
) -> Scalar:
    """Estimate the length of the first step, with one more evaluation of the field.

    y0, k0: the initial state and its slope, (1, n). Returns a positive scalar, in the dtype of error ratios.
    Source: Hairer, Norsett & Wanner, Solving ODEs I, sec. II.4, with torchdiffeq's exponent 1/order.
    """
    scale = layout.allowed_error(abs(y0), rtol=rtol, atol=atol, xp=xp)
    d0, d1 = (layout.norm(xp.cast(x, scale) / scale, xp=xp) for x in (y0, k0))
    small = (d0 < 1e-5) | (d1 < 1e-5)
    h0 = xp.where(small, xp.cast(xp.cast(1e-6, y0), d0), 0.01 * d0 / d1)
    signed = xp.cast(direction, h0) * h0
    trial = y0 + layout.broadcast(xp.cast(signed, y0), y0, xp=xp) * k0
    k1 = field(t0 + xp.cast(signed, t0), trial)
    d2 = layout.norm(xp.cast(k1 - k0, scale) / scale, xp=xp) / h0
    flat = (d1 <= 1e-15) & (d2 <= 1e-15)
    # A maximum would be wrong: where the trial slope is NaN, d2 > d1 is false, and d1 decides as in torchdiffeq.
    largest = xp.where(d2 > d1, d2, d1)
    h1 = xp.where(flat, xp.maximum(h0 * 1e-3, 1e-6), (0.01 / largest) ** (1.0 / order))
    return xp.minimum(100 * h0, h1)


def error_ratio(
    err: Array, y0: Array, y1: Array, *, rtol: Tolerance, atol: Tolerance, layout: Layout, xp: Backend
) -> Scalar:
    """The error ratio of a step, its estimated error over what the tolerances allow: at most 1 is good.

    err: the error estimate; y0, y1: the states at both ends; all (1, n). Source: Hairer, Norsett & Wanner, Solving ODEs
    I, sec. II.4, equation (4.11).
    """
    allowed = layout.allowed_error(xp.maximum(abs(y0), abs(y1)), rtol=rtol, atol=atol, xp=xp)
    return layout.norm(xp.cast(err, allowed) / allowed, xp=xp)


def next_length(
    h: Scalar, ratio: Scalar, past: Sequence[Scalar], *, order: int, control: Control, xp: ScalarBackend
) -> Scalar:
    """The step length at which the error should meet the tolerance, within ifactor and dfactor of h.

    After an error ratio below 1 the step does not become shorter.
    """
    powers = control.powers
    if len(powers) == 1:
        predicted = control.safety / xp.divisor(ratio) ** (powers[0] / order)
    else:
        ratios = [xp.maximum(r, 1e-300) for r in (ratio, *past)]
        predicted = control.safety
        for power, r in zip(powers, ratios, strict=True):
            predicted = predicted / r ** (power / order)
        # After a rejected step the past ratios do not count: they may predict a longer step, rejected for ever.
        predicted = xp.where(ratio <= 1, predicted, control.safety / ratios[0] ** (1.0 / order))
    # sign(1 - ratio) is 1 only for an accepted step, so that its factor is at least 1; for others it is below dfactor
    # and does nothing. (At a ratio of exactly 1 it is 0, and safety shortens the step, as in torchdiffeq.) In a graph,
    # one Max of three costs less than a Where.
    factor = xp.maximum(predicted, xp.sign(1 - ratio), control.dfactor)
    return h * xp.minimum(factor, control.ifactor)


def clamp(h: Scalar, *, control: Control, xp: ScalarBackend) -> Scalar:
    """The step length h, raised to min_step and lowered to max_step."""
    if control.max_step != inf:
        h = xp.minimum(h, control.max_step)
    return xp.maximum(h, control.min_step) if control.min_step > 0 else h


def judge(
    h: Scalar, ratio: Scalar, past: Sequence[Scalar] = (), *, order: int, control: Control, xp: ScalarBackend
) -> StepDecision:
    """Accept or reject a step of length h by its error ratio, and choose the length of the next.

    past: error ratios of the last accepted steps, latest first, `control.memory` of them; ones at the start. A step at
    min_step is accepted whatever its error, as in torchdiffeq. After a ratio of NaN the next step has length min_step,
    if min_step is set and this step was longer; else its length is NaN, and callers end the solve.

    >>> from odelet.numerics.scalars import SCALARS
    >>> judge(0.1, 32.0, order=5, control=Control(), xp=SCALARS)
    StepDecision(accept=False, h=0.045000000000000005, past=())
    """
    accept = ratio <= 1
    if control.min_step > 0:
        accept = accept | (h <= control.min_step)
    h_next = clamp(next_length(h, ratio, past, order=order, control=control, xp=xp), control=control, xp=xp)
    if control.min_step > 0:
        shortest = xp.where(h > control.min_step, control.min_step, h_next)
        # Only NaN fails the comparison, as ratios are at least 0.
        h_next = xp.where(ratio >= 0, h_next, shortest)
    if past:
        past = [xp.where(accept, new, old) for new, old in zip((ratio, *past), past, strict=False)]
    return StepDecision(accept, h_next, past)


# The constants of `StepDoubling`: how far below an error ratio of 1 the next step aims, the bounds of the factor by
# which a step grows or shrinks, the order that is assumed after a step that is too long and after one that is not, the
# power of the change of the ratio, and the least ratio and tolerance.
_AIM, _LEAST_FACTOR, _MOST_FACTOR = 0.9, 0.2, 1.4
_TOO_LONG, _SHORT_ENOUGH, _CHANGE, _LEAST = 1.5, 4.5, 0.13, 1e-7


@dataclass(frozen=True, kw_only=True)
class StepDoubling:
    """Settings of the control by which one step of an SDE is compared with two, with torchsde's names and defaults.

    dt: the length of the first step. rtol, atol: the tolerance. dt_min: a step of this length is accepted, whatever its
    error. Raises ValueError for settings that cannot work. Source: torchsde 0.2.6, `adaptive_stepping.py`.
    """

    dt: float = 1e-3
    rtol: float = 1e-5
    atol: float = 1e-4
    dt_min: float = 1e-5

    def __post_init__(self) -> None:
        if not 0 < self.dt < inf:
            raise ValueError(f"dt={self.dt!r} must be positive and finite")
        for name in ("rtol", "atol", "dt_min"):
            if not 0 <= getattr(self, name) < inf:
                raise ValueError(f"{name}={getattr(self, name)!r} must be finite and not negative")

    def error_ratio(self, one: Array, two: Array, *, xp: Backend) -> float:
        """The size of the difference between two states, over the tolerance; NaN where a state is NaN."""
        tolerance = xp.maximum(xp.maximum(abs(one), abs(two)) * self.rtol + self.atol, _LEAST)
        return float(xp.maximum(xp.rms((one - two) / tolerance), _LEAST))

    def next_step(self, step: float, ratio: float, before: float | None) -> tuple[float, float | None]:
        """The length of the step after one of a length and an error ratio, and what to hand to the next call as
        `before`; None at first, and after a step of the least length."""
        closeness = _AIM / ratio
        # The closeness of the first try stays, even where that try is rejected.
        before = closeness if before is None else before
        if ratio > 1:
            factor = min(_MOST_FACTOR, max(_LEAST_FACTOR, closeness ** (1 / _TOO_LONG)))
        else:
            change = closeness / before if before else inf
            factor = min(_MOST_FACTOR, max(1.0, closeness ** (1 / _SHORT_ENOUGH) * change**_CHANGE))
            before = closeness
        return (self.dt_min, None) if step * factor < self.dt_min else (step * factor, before)
