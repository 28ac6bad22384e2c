"""Any method of the roster can replace the model's own, and is proved against a reference that has the method."""

import pytest
import torch
from torchdiffeq import odeint

import odelet
from odelet.methods.roster import METHODS
from odelet_export import export

# One method of each kind that needs a reference of its own; other tests check what the methods compute.
KINDS = ["implicit_adams", "gl6", "trbdf2", "gl4_torchdiffeq", "tsit5_torchdiffeq", "scipy_solver"]


def decay(y0):
    return odeint(lambda t, y: torch.cos(t) - y, y0, torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64), rtol=1e-6)[-1]


@pytest.mark.parametrize("method", KINDS)
def test_a_method_that_replaces_the_one_of_the_model_is_proved(method, tmp_path):
    x = torch.tensor([[1.0], [-0.5]], dtype=torch.float64)
    fixed = METHODS[method].fixed
    settings = {"steps": 24} if fixed else {}
    exported = export(decay, (x,), tmp_path / "out", method=method, dynamic={"y0": {0: "batch"}}, samples=1, **settings)
    assert exported.parity.passed
    (solve,) = exported.card.solves
    assert solve.method == method
    assert odelet.verify(tmp_path / "out").passed
