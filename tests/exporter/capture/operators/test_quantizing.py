"""Operators that quantize a number and take it back have torch's results, also for halves and beyond the range."""

import numpy as np
import pytest
import torch
from torchdiffeq import odeint

import odelet
from odelet_export import export
from odelet_export.capture.operators.quantizing import fake_quantize, learned_fake_quantize

aten = torch.ops.aten
RANGES = [(0.02, 3, 0, 255), (0.5, 0, -128, 127), (1 / 3, -7, -8, 7)]


@pytest.mark.parametrize(("scale", "zero", "low", "high"), RANGES)
def test_numbers_are_quantized_as_by_torch(scale, zero, low, high):
    x = torch.cat([torch.randn(2000) * 30, torch.arange(-20.5, 20) * scale])
    for ours, theirs in zip(
        fake_quantize(x, scale, zero, low, high),
        aten.fake_quantize_per_tensor_affine_cachemask(x, scale, zero, low, high),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)
    settings = (torch.tensor([scale]), torch.tensor([zero], dtype=torch.int32))
    for on in (0, 1):
        enabled = torch.tensor([on])
        ours, _ = learned_fake_quantize(x, *settings, enabled, low, high)
        theirs, _ = aten._fake_quantize_per_tensor_affine_cachemask_tensor_qparams(x, *settings, enabled, low, high)
        torch.testing.assert_close(ours, theirs)


def test_a_field_that_quantizes_is_exported(tmp_path):
    def model(x):
        def field(t, y):
            return torch.fake_quantize_per_tensor_affine(-y, 0.02, 3, 0, 255)

        return odeint(field, x, torch.tensor([0.0, 1.0]), method="euler")[-1]

    export(model, (torch.randn(3, 3),), tmp_path / "out", dynamic={"x": {0: "b"}}, samples=1)
    x = torch.randn(5, 3)
    np.testing.assert_allclose(odelet.load(tmp_path / "out")(x.numpy()), model(x), atol=1e-6)
