"""Copies of a model and its inputs in float64."""

import threading

import torch
from torch import nn

from odelet_export.model.callee import Callee
from odelet_export.model.widening import widened, widened_model


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.full((2,), 0.1))
        self.register_buffer("count", torch.tensor(3))

    def forward(self, x):
        return self.weight * x


def test_a_copy_of_a_model_is_in_float64_and_the_model_unchanged():
    model = Model()
    wide = widened_model(Callee(model, (torch.ones(2),), {}))
    (output,) = wide(torch.ones(2, dtype=torch.float64))
    # Widening keeps the float32 value of the weight.
    assert (output.dtype, output[0].item()) == (torch.float64, float(torch.tensor(0.1)))
    assert wide.model.count.dtype == torch.int64
    assert model.weight.dtype == torch.float32


def test_a_model_that_cannot_be_copied_has_no_copy():
    model = Model()
    model.lock = threading.Lock()
    assert widened_model(Callee(model, (torch.ones(2),), {})) is None


def test_only_floating_point_tensors_are_widened():
    floats, wholes = torch.ones(1), torch.ones(1, dtype=torch.int64)
    assert [x.dtype for x in widened([floats, wholes])] == [torch.float64, torch.int64]
