"""Operators that are given a whole number beside a fraction, as `y.clamp(-1.0, 1)`."""

import numpy as np
import pytest
import torch
from torch.nn import functional
from torchdiffeq import odeint

import odelet
from odelet_export import export

FIELDS = {
    "clamp": lambda y: -y.clamp(-0.5, 1),
    "clamp by name": lambda y: -torch.clamp(y, min=0, max=0.75),
    "clamp_": lambda y: (-y).clamp_(-1, 0.5),
    "hardtanh": lambda y: functional.hardtanh(-y, -0.25, 1),
    "where": lambda y: y * torch.where(y > 0.5, -1.5, 2),
    "where with a tensor": lambda y: torch.where(y > 0.5, -y, 2),
    "threshold": lambda y: functional.threshold(-y, -0.5, 1),
    "lerp": lambda y: torch.lerp(y, -y, 1),
    "addcmul": lambda y: torch.addcmul(-y, y, y, value=1),
    "scaled sum": lambda y: torch.add(-y, y, alpha=2),
    "nan_to_num": lambda y: -torch.nan_to_num(y, 0, 1.5),
    "powers": lambda y: -(y**2) + 2**-y + y**0.5,
}


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_of_both_kinds(name, dtype, tmp_path):
    def model(x):
        return odeint(lambda t, y: FIELDS[name](y), x, torch.tensor([0.0, 0.5], dtype=dtype), method="rk4")[-1]

    export(model, (torch.rand(4, 3, dtype=dtype),), tmp_path / "out", dynamic={"x": {0: "batch"}}, samples=1)
    x = torch.rand(6, 3, dtype=dtype) * 1.5
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    np.testing.assert_allclose(odelet.load(tmp_path / "out")(x.numpy()), model(x), rtol=tolerance, atol=tolerance)
