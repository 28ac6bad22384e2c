"""The rosters of methods: of ODEs here, of fixed points in `fixed_point`.

To add one: a line in a roster, and its data or its text where the others of its kind are.
"""

from __future__ import annotations

from odelet.methods.adams import Adams
from odelet.methods.explicit_rk import ExplicitRK
from odelet.methods.fixed_point import ITERATIONS
from odelet.methods.implicit_rk import ImplicitRK
from odelet.methods.implicit_tableau import IMPLICIT_TABLEAUS
from odelet.methods.method import Method
from odelet.methods.scipy import SciPy
from odelet.numerics.tableau import TABLEAUS

_ADAMS = "Hairer, Norsett & Wanner, Solving ODEs I, sec. III.1; started by Kutta's 3/8 rule, as torchdiffeq 0.2.5"

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        *map(ExplicitRK.of, TABLEAUS.values()),
        Adams(name="explicit_adams", implicit=False, source=_ADAMS),
        Adams(name="implicit_adams", implicit=True, source=_ADAMS),
        Adams(name="fixed_adams", implicit=True, source=_ADAMS),
        *map(ImplicitRK.of, IMPLICIT_TABLEAUS.values()),
        SciPy(name="scipy_solver", source="scipy.integrate.solve_ivp, with its default LSODA as in torchdiffeq"),
    )
}


def method_of(name: str) -> Method:
    """The method of a solve, whatever it solves. Raises KeyError for a name in no roster."""
    return METHODS[name] if name in METHODS else ITERATIONS[name]
