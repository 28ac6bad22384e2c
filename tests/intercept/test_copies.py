"""Copies of torchdiffeq that packages bring along are caught like torchdiffeq, and compute their own reference."""

import types

import numpy as np
import pytest
import torch
import torchdiffeq
import vendored
from torch import nn
from vendored import odeint as integrate

import odelet
from odelet_export import CaptureError, ParityError, export
from odelet_intercept.libraries.torchdiffeq_calls import find_copies

TIMES = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
X = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(3, 2)


class Field(nn.Module):
    def forward(self, t, y):
        return torch.sin(t) - y * y


class Model(nn.Module):
    """A model that calls `solve`, a function of the copy, with the keywords `options`."""

    def __init__(self, solve=integrate, **options):
        super().__init__()
        self.field, self.solve, self.options = Field(), solve, options

    def forward(self, x):
        return self.solve(self.field, x, TIMES, **self.options)


BY = {"its default method": Model(), "adjoint": Model(vendored.odeint_adjoint, method="euler", adjoint_method="rk4")}


@pytest.mark.parametrize("by", BY)
def test_a_copy_is_caught_and_is_its_own_reference(by, tmp_path):
    before = integrate.__code__, vendored.odeint_adjoint.__code__
    exported = export(BY[by], (X,), tmp_path / "out", dynamic={"x": {0: "batch"}}, samples=2)
    assert exported.parity.card()["same_steps"]
    assert exported.card.solves[0].method == ("euler" if by == "adjoint" else "rk4")
    (warning,) = exported.warnings
    assert "vendored._impl.odeint was taken for a copy of torchdiffeq" in warning
    assert torchdiffeq.__version__ in warning
    other = torch.cat([X, 2 * X])
    np.testing.assert_allclose(odelet.load(tmp_path / "out")(other.numpy()), BY[by](other).numpy(), rtol=1e-12)
    assert (integrate.__code__, vendored.odeint_adjoint.__code__) == before


def test_missing_tolerances_are_the_defaults_of_the_copy(tmp_path):
    # torchdiffeq computes the reference of this method, as the copy does not have it.
    exported = export(Model(), (X,), tmp_path / "out", method="dopri5", samples=1)
    assert (exported.card.solves[0].rtol, exported.card.solves[0].atol) == (1e-5, 1e-12)
    assert exported.parity.card()["same_steps"]


def test_a_copy_is_caught_inside_a_solve_of_torchdiffeq(tmp_path):
    def outer(x):
        def field(t, y):
            return integrate(lambda s, z: -z * t, y, TIMES, method="euler")[-1] - y

        return torchdiffeq.odeint(field, x, TIMES, method="euler")

    exported = export(outer, (X,), tmp_path / "out", samples=1)
    assert exported.card.solves[0].nested[0].startswith("euler, unrolled, test_copies.py:")
    assert any("copy of torchdiffeq" in warning for warning in exported.warnings)


@pytest.mark.parametrize("options", [{"method": "midpoint"}, {"options": {"substeps": 3}}], ids=["method", "option"])
def test_a_copy_that_computes_something_else_fails_the_parity(options, tmp_path):
    with pytest.raises(ParityError, match=r"(?s)does not give torch's answers.*taken for a copy of torchdiffeq"):
        export(Model(**options), (X,), tmp_path / "out", samples=1)
    assert not (tmp_path / "out").exists()


REFUSED = {
    "ends_only": "ends_only=True is an argument of odeint in vendored._impl.odeint",
    "stats": "stats=True is an argument of odeint",
}


@pytest.mark.parametrize("argument", REFUSED)
def test_arguments_that_torchdiffeq_lacks_are_refused(argument, tmp_path):
    with pytest.raises(CaptureError, match=REFUSED[argument]) as refused:
        export(Model(**{argument: True}), (X,), tmp_path / "out")
    assert f'File "{__file__}", line ' in str(refused.value)


FILE = """
import torch
SOLVERS = {"euler": None}
def odeint(func, y0, t, *, rtol=1e-7, atol=1e-9, method=None, options=None):
    y = y0
    for start, end in zip(t[:-1], t[1:]):
        y = y + (end - start) * func(start, y)
    return y
def model(x):
    return odeint(lambda t, y: -y, x, torch.tensor([0.0, 1.0]), method="euler")
"""


def test_a_copy_that_returns_something_else_is_refused(tmp_path):
    space = {"__name__": "one_file"}
    exec(compile(FILE, str(tmp_path / "one_file.py"), "exec"), space)
    with pytest.raises(CaptureError, match=r"one_file looks like a copy.*returned a tensor \[3, 2\].*at 2 times"):
        export(space["model"], (X,), tmp_path / "out")


def wrapper(func, y0, t, rtol=1e-7, atol=1e-9, method="euler", options=None):
    return torchdiffeq.odeint(func, y0, t, rtol=rtol, atol=atol, method="rk4")


def test_functions_that_are_not_copies_are_not_caught():
    wrapper.__name__ = "odeint"
    other = types.FunctionType(integrate.__code__, {"__name__": "elsewhere"}, "odeint", integrate.__defaults__)
    caught = [entry.function for entry in find_copies(types.SimpleNamespace(a=wrapper, b=other))]
    assert integrate in caught
    assert vendored.odeint_adjoint in caught
    assert not {wrapper, other, torchdiffeq.odeint, odelet.odeint} & set(caught)
