"""Step size control: the first step, the error ratio, what to do with an attempted step.

Written for scalars of any backend; times and steps here run forward, whatever the direction of the solve.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple

from odelet.backend import Array
from odelet.rk import Field

Norm = Callable[[Array], Array]


@dataclass(frozen=True, kw_only=True)
class Control:
    """Settings of step size control, named and defaulted as in torchdiffeq.

    first_step, min_step, max_step: in the model's unit of time; first_step None means estimate it.
    max_num_steps: attempted steps allowed between two output times. controller: a name in CONTROLLERS.
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

    def __post_init__(self) -> None:
        if self.controller not in CONTROLLERS:
            raise ValueError(f"controller={self.controller!r} is not one of {sorted(CONTROLLERS)}")
        for name in ("first_step", "max_step", "safety", "ifactor", "dfactor", "max_num_steps"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name}={value!r} must be positive")
        if not 0 <= self.min_step <= self.max_step:
            raise ValueError(f"min_step={self.min_step!r} must be between 0 and max_step={self.max_step!r}")


class Verdict(NamedTuple):
    """accept: whether the attempted step counts; h: the length of the next one."""

    accept: Array
    h: Array


def initial_step(
    field: Field,
    t0: Array,
    y0: Array,
    k0: Array,
    *,
    order: int,
    rtol: Array,
    atol: Array,
    norm: Norm,
    direction: Array,
    xp: Any,
) -> Array:
    """Estimate the length of the first step, with one more call of the field.

    y0, k0: (1, state), the initial state and its slope. Returns a positive scalar in the state's dtype.
    Source: Hairer, Norsett & Wanner, Solving ODEs I, sec. II.4, with torchdiffeq's exponent 1/order.
    """
    scale = atol + abs(y0) * rtol
    d0, d1 = norm(y0 / scale), norm(k0 / scale)
    small = (d0 < 1e-5) | (d1 < 1e-5)
    h0 = xp.where(small, 1e-6, 0.01 * d0 / d1)
    signed = direction * h0
    k1 = field(t0 + xp.cast(signed, t0), y0 + signed * k0)
    d2 = norm((k1 - k0) / scale) / h0
    flat = (d1 <= 1e-15) & (d2 <= 1e-15)
    # Where the trial slope is not a number, the first one decides, as in torchdiffeq.
    largest = xp.where(d2 > d1, d2, d1)
    h1 = xp.where(flat, xp.maximum(h0 * 1e-3, 1e-6), (0.01 / largest) ** (1.0 / order))
    return xp.minimum(100 * h0, h1)


def error_ratio(err: Array, y0: Array, y1: Array, *, rtol: Array, atol: Array, norm: Norm, xp: Any) -> Array:
    """The estimated error of a step over what the tolerances allow: at most 1 is good.

    err, y0, y1: (1, state). Source: Hairer, Norsett & Wanner, Solving ODEs I, sec. II.4, equation (4.11).
    """
    return norm(err / (atol + rtol * xp.maximum(abs(y0), abs(y1))))


def integral(h: Array, ratio: Array, *, order: int, control: Control, xp: Any) -> Array:
    """The elementary controller: aim at the tolerance, within the factors; never shrink after success.

    Source: Hairer, Norsett & Wanner, Solving ODEs I, sec. II.4, equation (4.13), exponent 1/order.
    """
    # A ratio of 0 means full growth; the floor says so without a branch and changes no other ratio.
    wanted = control.safety / xp.maximum(ratio, 1e-300) ** (1.0 / order)
    at_least = xp.where(ratio < 1, 1.0, control.dfactor)
    return h * xp.minimum(xp.maximum(wanted, at_least), control.ifactor)


CONTROLLERS: dict[str, Callable[..., Array]] = {"integral": integral}


def clamp(h: Array, *, control: Control, xp: Any) -> Array:
    """h within the allowed step lengths."""
    if control.max_step != inf:
        h = xp.minimum(h, control.max_step)
    return xp.maximum(h, control.min_step) if control.min_step > 0 else h


def judge(h: Array, ratio: Array, *, order: int, control: Control, xp: Any) -> Verdict:
    """Accept or reject a step of length h, and choose the next length.

    A step at min_step is accepted whatever its error, as in torchdiffeq. A ratio that is not a number calls
    for a step of min_step, if there is one and this was longer; else it makes the next length not a number,
    and callers stop there.
    """
    accept = ratio <= 1
    if control.min_step > 0:
        accept = accept | (h <= control.min_step)
    h_next = CONTROLLERS[control.controller](h, ratio, order=order, control=control, xp=xp)
    h_next = clamp(h_next, control=control, xp=xp)
    if control.min_step > 0:
        shortest = xp.where(h > control.min_step, control.min_step, h_next)
        h_next = xp.where(ratio >= 0, h_next, shortest)
    return Verdict(accept, h_next)
