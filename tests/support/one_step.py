"""One explicit Runge-Kutta step on a problem with a known solution."""

import math

import numpy as np

from odelet.numerics.backend import NUMPY
from odelet.numerics.rk import erk_step


def step(field, tableau, t, y, h, k0=None, t1=None):
    t1 = np.float64(t + h if t1 is None else t1)
    return erk_step(field, tableau, np.float64(t), t1, y, np.float64(h), k0, xp=NUMPY)


def smooth(t, y):
    """Two equations whose solution is exp(sin t) and 1 / (1 + t^2)."""
    return np.stack([y[:, 0] * np.cos(t), -2 * t * y[:, 1] ** 2], axis=1)


def solution(t):
    return np.array([[math.exp(math.sin(t)), 1 / (1 + t * t)]])


def slope_of(lengths, errors):
    """The exponent p in error ~ h^p."""
    return np.polyfit(np.log(lengths), np.log(errors), 1)[0]


def finest(measure, lengths, *, above=1e-11):
    """The three shortest of the lengths whose error is well above rounding, and what `measure` gives for them.

    measure: of a length, the error first.
    """
    kept = []
    for h in lengths:
        measured = measure(h)
        if measured[0] < above:
            break
        kept.append((h, *measured))
    assert len(kept) >= 3
    return list(zip(*kept[-3:], strict=True))
