"""Central differences along an axis whose size may change, beside torch.gradient."""

import pytest
import torch
from torch import nn
from torchdiffeq import odeint

from odelet_export.capture.capture import capture
from odelet_export.capture.sizes.gradient import slopes
from odelet_export.model.callee import Callee
from odelet_export.model.overrides import Overrides


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("spacing", [1, 0.25, torch.tensor([0.0, 0.5, 0.7, 1.5, 2.0, 2.2]).double()])
@pytest.mark.parametrize("axis", [1, -2])
def test_slopes_are_those_of_torch(axis, spacing, order):
    x = torch.randn(2, 6, 3, dtype=torch.float64)
    given = [spacing] if isinstance(spacing, torch.Tensor) else spacing
    (expected,) = torch.gradient(x, spacing=given, dim=axis, edge_order=order)
    torch.testing.assert_close(slopes(x, axis, spacing, order), expected)


def test_a_field_on_a_grid_of_any_length_is_traced():
    class Waves(nn.Module):
        def forward(self, x):
            def field(t, y):
                along, across = torch.gradient(y, spacing=0.1, dim=(1, 2))
                return -along - across

            return odeint(field, x, torch.tensor([0.0, 0.01]), method="euler")[-1]

    callee = Callee(Waves(), (torch.randn(2, 8, 5),), {})
    result = capture(callee, {"x": {0: "batch", 1: "cells"}}, Overrides(), opset=20)
    assert result.tracer == "torch.export"
    assert all(assumption.sizes == "cells >= 3" for assumption in result.assumptions)
