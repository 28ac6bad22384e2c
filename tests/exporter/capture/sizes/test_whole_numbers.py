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


def model(x):
    n = x.shape[1]
    numbers = torch.stack([x.sum() * 0 + number(n) for number in NUMBERS.values()])
    return odeint(lambda t, y: -y, numbers, torch.tensor([0.0, 0.5]), method="euler")[0]


def test_numbers_made_of_sizes_stay_symbols():
    captured = capture(Callee(model, (torch.randn(2, 8),), {}), {"x": {0: "batch", 1: "n"}}, Overrides(), opset=20)
    assert not captured.assumptions
    replay = Replay(captured, Overrides())
    for n in (2, 3, 5, 6, 10, 16, 27):
        replayed = dict(zip(NUMBERS, replay.run([torch.randn(3, n)])[0].tolist(), strict=True))
        assert replayed == pytest.approx({name: number(n) for name, number in NUMBERS.items()})
