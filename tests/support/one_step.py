"""One explicit Runge-Kutta step on a problem with a known solution."""

import math

import numpy as np

from odelet.numerics.backend import NUMPY
from odelet.numerics.rk import erk_step, stage_times


def step(field, tableau, t, y, h, k0=None, t1=None):
    """One step in numpy, with times in float64. t1: the end time, t + h by default."""
    t1 = np.float64(t + h if t1 is None else t1)
    times = stage_times(tableau, np.float64(t), t1, np.float64(h))
    return erk_step(field, tableau, times, y, np.float64(h), k0, xp=NUMPY)


def smooth(t, y):
    """The field of two equations that `solution` solves. y and the slope have the shape (1, 2)."""
    return np.stack([y[:, 0] * np.cos(t), -2 * t * y[:, 1] ** 2], axis=1)


def solution(t):
    """exp(sin t) and 1 / (1 + t^2), as a state (1, 2)."""
    return np.array([[math.exp(math.sin(t)), 1 / (1 + t * t)]])


def slope_of(lengths, errors):
    """The exponent p of error ~ h^p, from a fit to all lengths."""
    return np.polyfit(np.log(lengths), np.log(errors), 1)[0]


def finest(measure, lengths, *, above=1e-11):
    """Measurements of the three shortest step lengths whose error is well above rounding.

    measure: returns a row for a length, the error first. lengths: from the longest to the shortest. above: the smallest
    error that counts. Returns the three lengths, then for each column of the rows its three values.
    """
    rows = []
    for h in lengths:
        row = measure(h)
        if row[0] < above:
            break
        rows.append((h, *row))
    assert len(rows) >= 3
    return list(zip(*rows[-3:], strict=True))
