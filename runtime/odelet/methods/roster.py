"""The roster of methods for ODEs; those for SDEs and iterations to fixed points are in `sde_steps` and `fixed_point`.

To add a method of a kind that is here, add its data and a line in the roster beside that: `numerics.tableau.TABLEAUS`,
`implicit_tableau.IMPLICIT_TABLEAUS` or `fixed_point.ITERATIONS`. To add a new kind, write a module with a subclass of
`Method`, and add a line here.

>>> METHODS["dopri5"].order, METHODS["dopri5"].stages, METHODS["dopri5"].evaluations
(5, 7, 6)
>>> METHODS["rk4"].no_error_estimate
'has no error estimate'
>>> METHODS["explicit_adams"].with_options(max_order=5).remembers
True
"""

from __future__ import annotations

from odelet.methods.adams import Adams
from odelet.methods.explicit_rk import ExplicitRK
from odelet.methods.fixed_point import ITERATIONS
from odelet.methods.implicit_rk import ImplicitRK
from odelet.methods.implicit_tableau import IMPLICIT_TABLEAUS
from odelet.methods.method import Method
from odelet.methods.scipy import SciPy
from odelet.methods.sde_steps import SDE_METHODS
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
    """The method of this name, whatever it solves. Raises KeyError for a name that is in no roster."""
    return METHODS[name] if name in METHODS else SDE_METHODS[name] if name in SDE_METHODS else ITERATIONS[name]
