"""What a package that brings its own torchdiffeq looks like: the same functions, fewer arguments, own solvers."""

from vendored._impl.adjoint import odeint_adjoint
from vendored._impl.odeint import odeint

__version__ = "0.0.1"
__all__ = ["odeint", "odeint_adjoint"]
