"""The names of methods that tests run over, by kind, from the roster of the runtime."""

from __future__ import annotations

import math

from odelet.methods.roster import METHODS
from odelet.numerics.tableau import TABLEAUS

ADAPTIVE = [name for name, method in METHODS.items() if method.adaptive]
# Methods of fixed steps, which go along a grid.
ON_GRID = [name for name, method in METHODS.items() if method.fixed]
# Methods whose steps odelet takes; SciPy's solvers take their own.
STEPPING = [name for name in METHODS if name in {*ADAPTIVE, *ON_GRID}]
# Explicit Runge-Kutta methods of fixed steps.
FIXED = [name for name, tableau in TABLEAUS.items() if not tableau.adaptive]
# Methods that iterate in each step, so that the calls of the field depend on the data.
ITERATED = [name for name, method in METHODS.items() if method.iterates]
# Methods with coefficients that some releases of torchdiffeq use for the name without `_torchdiffeq`.
TWINS = [name for name in METHODS if name.endswith("_torchdiffeq")]


def order_of(method: str) -> int | None:
    """The order of the solution that a step passes on, which is not always the order that the controller uses."""
    return getattr(getattr(METHODS[method], "tableau", None), "propagated", None) or METHODS[method].order


def steps_of(method: str, h: float) -> dict[str, float]:
    """The options, by name, with which all steps of a solve have the length h."""
    if method in ADAPTIVE:
        return {"first_step": h, "min_step": h, "max_step": h}
    return {"step_size": h}


# The order of the state in the middle of a step, for methods with weights for it. Other methods take half a step
# of Euler's method there.
MIDDLE_ORDERS = {"dopri5": 4, "tsit5": 4, "tsit5_torchdiffeq": 4, "dopri8": 5}

# Error ratios at and around every edge of step size control.
RATIOS = [0.0, 5e-324, 1e-200, 1e-12, 0.3, 1 - 2**-53, 1.0, 1 + 2**-52, 1.7, 4e4, 1e300, math.inf, math.nan]
