"""Whole numbers that Python and NumPy make of sizes stay symbols, and are what Python makes of numbers."""

import math

import numpy as np
import pytest
import torch
from torchdiffeq import odeint

from odelet_export.capture.capture import capture
from odelet_export.model.callee import Callee
from odelet_export.model.overrides import Overrides
from odelet_export.proof.replay import Replay

NUMBERS = {
    "int": lambda n: int(n / 3),
    "ceil": lambda n: math.ceil(n / 3),
    "floor": lambda n: math.floor(n * 0.5),
    "round": lambda n: round(n / 2),
    "round ties": lambda n: round(n / 4) + round((n + 1) / 4) + round(3 * n / 2),
    "divmod": lambda n: sum(divmod(n, 3)) + divmod(n, 2)[1],
    "negative": lambda n: -(-n // 3) + -n % 4 - (1 - n) // 2,
    "root": lambda n: int(math.sqrt(n)) + int(n**0.5),
    "numpy root": lambda n: np.sqrt(n),
    "numpy rounding": lambda n: (
        int(np.ceil(n / 3)) + np.floor(n / 2) + np.maximum(n, np.int64(9)) + np.float32(2.0) * n
    ),
    "float": lambda n: float(n) ** -0.5,
}


def made_of_size(number):
    def model(x):
        n = x.shape[1]
        return odeint(lambda t, y: -y, x + number(n), torch.tensor([0.0, 1.0]), method="euler")[-1]

    return model


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_made_of_a_size_stays_a_symbol(name):
    model = made_of_size(NUMBERS[name])
    captured = capture(Callee(model, (torch.randn(2, 8),), {}), {"x": {0: "batch", 1: "n"}}, Overrides(), opset=20)
    assert not captured.assumptions
    replay = Replay(captured, Overrides())
    for size in (2, 3, 5, 6, 10, 16, 27):
        x = torch.randn(3, size)
        torch.testing.assert_close(replay.run([x])[0], model(x), msg=f"{name} of {size}")
