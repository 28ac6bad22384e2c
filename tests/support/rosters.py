"""The methods that tests go over, whatever kind each is of."""

from __future__ import annotations

import math

from odelet.methods.roster import METHODS

ADAPTIVE = [name for name, method in METHODS.items() if method.adaptive]
# Those that march along a grid. What is neither leaves its steps to others.
MARCHING = [name for name, method in METHODS.items() if method.fixed]
STEPPING = [name for name in METHODS if name in {*ADAPTIVE, *MARCHING}]
# What some releases of torchdiffeq compute under the plain name: the same loops with other weights.
TWINS = [name for name in METHODS if name.endswith("_torchdiffeq")]


def order_of(method: str) -> int | None:
    """The order of the solution that is carried on, which is not always the one that the controller goes by."""
    return getattr(getattr(METHODS[method], "tableau", None), "propagated", None) or METHODS[method].order


def steps_of(method: str, h: float) -> dict[str, float]:
    """The options that make all steps of a solve h long."""
    if method in ADAPTIVE:
        return {"first_step": h, "min_step": h, "max_step": h}
    return {"step_size": h}


# Where a method brings an interpolant of its own, its middle is of a higher order than a half step by Euler.
MIDDLE_ORDERS = {"dopri5": 4, "tsit5": 4, "tsit5_torchdiffeq": 4, "dopri8": 5}


# Error ratios at and around every edge of step size control.
RATIOS = [0.0, 5e-324, 1e-200, 1e-12, 0.3, 1 - 2**-53, 1.0, 1 + 2**-52, 1.7, 4e4, 1e300, math.inf, math.nan]
