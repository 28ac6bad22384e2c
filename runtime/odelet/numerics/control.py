"""Step size control: the first step, the error ratio, what to do with an attempted step.

Written for scalars of any backend; times and steps here run forward, whatever the direction of the solve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf
from typing import Any, NamedTuple

from odelet.numerics.backend import Array
from odelet.numerics.rk import Field
from odelet.numerics.state import Layout, Tolerance

TIME_DTYPES = ("float64", "float32")


@dataclass(frozen=True, kw_only=True)
class Controller:
    """How the next step length follows from the error ratios r of this attempt and of accepted steps before.

    The step changes by the factor `safety * r[n]**(-powers[0]/order) * r[n-1]**(-powers[1]/order) * ...`.
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
    """Settings of step size control, named and defaulted as in torchdiffeq.

    first_step, min_step, max_step: in the model's unit of time; first_step None means estimate it.
    max_num_steps: attempted steps allowed between two output times. dtype: of times and step lengths; a state
    with more digits brings its own. controller: a name in CONTROLLERS. Raises ValueError for settings that
    cannot work.
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
        """Those of the controller."""
        return CONTROLLERS[self.controller].powers

    @property
    def memory(self) -> int:
        """How many error ratios of accepted steps control remembers."""
        return len(self.powers) - 1


class StepDecision(NamedTuple):
    """accept: whether the attempted step counts; h: the length of the next one; past: ratios to remember."""

    accept: Array
    h: Array
    past: Sequence[Array]


class CutStep(NamedTuple):
    """A step cut off at a point: where it ends, its length, and whether it was cut."""

    end: Array
    h: Array
    hit: Array


def stop_at(point: Array, now: Array, end: Array, h: Array, *, xp: Any) -> CutStep:
    """Cut a step from `now` of length h off at a point strictly inside it.

    Source: torchdiffeq's step_t and jump_t (`rk_common.py::_adaptive_step`).
    """
    hit = (now < point) & (point < now + h)
    return CutStep(xp.where(hit, point, end), xp.where(hit, point - now, h), hit)


def initial_step(
    field: Field,
    t0: Array,
    y0: Array,
    k0: Array,
    *,
    order: int,
    rtol: Tolerance,
    atol: Tolerance,
    layout: Layout,
    direction: Array,
    xp: Any,
) -> Array:
    """Estimate the length of the first step, with one more call of the field.

    y0, k0: (1, state), the initial state and its slope. Returns a positive scalar, in the dtype that error
    ratios have. Source: Hairer, Norsett & Wanner, Solving ODEs I, sec. II.4, with torchdiffeq's exponent 1/order.
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
    # Where the trial slope is not a number, the first one decides, as in torchdiffeq.
    largest = xp.where(d2 > d1, d2, d1)
    h1 = xp.where(flat, xp.maximum(h0 * 1e-3, 1e-6), (0.01 / largest) ** (1.0 / order))
    return xp.minimum(100 * h0, h1)


def error_ratio(
    err: Array, y0: Array, y1: Array, *, rtol: Tolerance, atol: Tolerance, layout: Layout, xp: Any
) -> Array:
    """The estimated error of a step over what the tolerances allow: at most 1 is good.

    err, y0, y1: (1, state). Source: Hairer, Norsett & Wanner, Solving ODEs I, sec. II.4, equation (4.11).
    """
    allowed = layout.allowed_error(xp.maximum(abs(y0), abs(y1)), rtol=rtol, atol=atol, xp=xp)
    return layout.norm(xp.cast(err, allowed) / allowed, xp=xp)


def next_length(h: Array, ratio: Array, past: Sequence[Array], *, order: int, control: Control, xp: Any) -> Array:
    """Aim at the tolerance, within the factors; never shrink after success."""
    powers = control.powers
    if len(powers) == 1:
        wanted = control.safety / xp.divisor(ratio) ** (powers[0] / order)
    else:
        ratios = [xp.maximum(r, 1e-300) for r in (ratio, *past)]
        wanted = control.safety
        for power, r in zip(powers, ratios, strict=True):
            wanted = wanted / r ** (power / order)
        # After a failure the past says nothing: what it predicts may be to grow, and the step would fail for ever.
        wanted = xp.where(ratio <= 1, wanted, control.safety / ratios[0] ** (1.0 / order))
    # The sign is 1 for ratios under 1 alone: cheaper in a graph than to choose.
    factor = xp.maximum(wanted, xp.sign(1 - ratio), control.dfactor)
    return h * xp.minimum(factor, control.ifactor)


def clamp(h: Array, *, control: Control, xp: Any) -> Array:
    """h within the allowed step lengths."""
    if control.max_step != inf:
        h = xp.minimum(h, control.max_step)
    return xp.maximum(h, control.min_step) if control.min_step > 0 else h


def judge(h: Array, ratio: Array, past: Sequence[Array] = (), *, order: int, control: Control, xp: Any) -> StepDecision:
    """Accept or reject a step of length h, and choose the next length.

    past: error ratios of the last accepted steps, latest first, `control.memory` of them; ones at the start.
    A step at min_step is accepted whatever its error, as in torchdiffeq. A ratio that is not a number calls
    for a step of min_step, if there is one and this was longer; else it makes the next length not a number,
    and callers stop there.
    """
    accept = ratio <= 1
    if control.min_step > 0:
        accept = accept | (h <= control.min_step)
    h_next = clamp(next_length(h, ratio, past, order=order, control=control, xp=xp), control=control, xp=xp)
    if control.min_step > 0:
        shortest = xp.where(h > control.min_step, control.min_step, h_next)
        h_next = xp.where(ratio >= 0, h_next, shortest)
    if past:
        past = [xp.where(accept, new, old) for new, old in zip((ratio, *past), past, strict=False)]
    return StepDecision(accept, h_next, past)
