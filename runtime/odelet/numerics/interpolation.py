"""Dense output: the state between the ends of a step.

In all functions x is the fraction of the step, from 0 to 1, and h the signed length of the step: scalars in the state's
dtype, or arrays that broadcast against the states.
"""

from __future__ import annotations

from odelet.numerics.backend import Array


def quartic(x: Array, h: Array, y0: Array, y1: Array, mid: Array, k0: Array, k1: Array) -> Array:
    """The quartic through the states at both ends and in the middle of a step, with the slopes at both ends.

    y0, y1, mid: the states at the start, the end and the middle. k0, k1: the slopes at the ends. At x = 1 it is exactly
    y1. Source: Shampine, Some practical Runge-Kutta formulas, Math. Comp. 46 (1986); torchdiffeq reads the steps of
    every adaptive method off this quartic.

    >>> quartic(0.5, 2.0, 0.0, 16.0, 1.0, 0.0, 32.0)  # t**4 from 0 to 2, in the middle
    1.0
    """
    at_y0, at_y1, at_mid, at_k0, at_k1 = quartic_weights(x, h)
    return y0 * at_y0 + y1 * at_y1 + mid * at_mid + k0 * at_k0 + k1 * at_k1


def quartic_weights(x: Array, h: Array) -> tuple[Array, Array, Array, Array, Array]:
    """The weights of y0, y1, mid, k0 and k1 in `quartic`, each in the shape of x * h."""
    rest = 1 - x
    both, bend = x * rest, 1 - 2 * x
    at_y0 = rest * rest * (rest * (14 - 8 * rest) - 5)
    at_y1 = x * x * (x * (14 - 8 * x) - 5)
    return at_y0, at_y1, 16 * both * both, h * (both * rest * bend), h * (both * x * bend)


def linear(x: Array, y0: Array, y1: Array) -> Array:
    """The straight line between the states at the ends of a step; exactly y1 at x = 1."""
    return y1 - (1 - x) * (y1 - y0)


def hermite(x: Array, h: Array, y0: Array, y1: Array, k0: Array, k1: Array) -> Array:
    """The cubic through the states at both ends of a step, with the slopes there; y1 at x = 1, if k1 is finite.

    Source: Hairer, Norsett & Wanner, Solving ODEs I, sec. II.6, equation (6.7).
    """
    rest = 1 - x
    at_y0, at_y1 = (1 + 2 * x) * rest * rest, x * x * (3 - 2 * x)
    return y0 * at_y0 + y1 * at_y1 + k0 * (h * (x * rest * rest)) - k1 * (h * (x * x * rest))
