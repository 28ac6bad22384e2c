"""Reading a solution between the ends of a step. x is the fraction of the step, 0 to 1."""

from __future__ import annotations

from odelet.numerics.backend import Array


def quartic(x: Array, h: Array, y0: Array, y1: Array, mid: Array, k0: Array, k1: Array) -> Array:
    """The quartic through both ends and the middle of a step, with both end slopes.

    x, h: scalars in the state's dtype, or arrays that broadcast; y0, y1, mid: states at the start, the end
    and the middle; k0, k1: slopes at the ends. Exact at x = 1, where it is y1. Source: Shampine, Some
    practical Runge-Kutta formulas, Math. Comp. 46 (1986); torchdiffeq reads every adaptive method so.
    """
    at_y0, at_y1, at_mid, at_k0, at_k1 = quartic_weights(x, h)
    return y0 * at_y0 + y1 * at_y1 + mid * at_mid + k0 * at_k0 + k1 * at_k1


def quartic_weights(x: Array, h: Array) -> tuple[Array, Array, Array, Array, Array]:
    """What `quartic` multiplies y0, y1, mid, k0 and k1 with."""
    rest = 1 - x
    both, bend = x * rest, 1 - 2 * x
    at_y0 = rest * rest * (rest * (14 - 8 * rest) - 5)
    at_y1 = x * x * (x * (14 - 8 * x) - 5)
    return at_y0, at_y1, 16 * both * both, h * (both * rest * bend), h * (both * x * bend)


def linear(x: Array, y0: Array, y1: Array) -> Array:
    """The straight line between the ends of a step; exactly y1 at x = 1."""
    return y1 - (1 - x) * (y1 - y0)


def hermite(x: Array, h: Array, y0: Array, y1: Array, k0: Array, k1: Array) -> Array:
    """The cubic through both ends of a step with both end slopes; y1 at x = 1, as long as k1 is finite.

    x, h: scalars in the state's dtype, h signed. Source: Hairer, Norsett & Wanner, Solving ODEs I, sec. II.6,
    equation (6.7).
    """
    rest = 1 - x
    at_y0, at_y1 = (1 + 2 * x) * rest * rest, x * x * (3 - 2 * x)
    return y0 * at_y0 + y1 * at_y1 + k0 * (h * (x * rest * rest)) - k1 * (h * (x * x * rest))
