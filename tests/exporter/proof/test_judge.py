"""An answer may differ from torch's as far as rounding moves torch's own answer."""

import numpy as np
import torch
import torchdiffeq

from odelet_export.model.callee import Callee
from odelet_export.model.overrides import Overrides
from odelet_export.proof.judge import Judge
from odelet_export.proof.rounding import OWN_ERRORS

X = torch.tensor([[0.3, 0.7], [0.1, 0.9]])


class Cancelling(torch.nn.Module):
    """A model whose float32 result has two correct digits, though small changes of x change it by little."""

    def __init__(self):
        super().__init__()
        self.offset = torch.nn.Parameter(torch.tensor(2.0**17))

    def forward(self, x):
        y = torchdiffeq.odeint(lambda t, y: -y, x, torch.tensor([0.0, 0.5]).to(x), method="rk4")[-1]
        return (y + self.offset) - self.offset


def judged(model, outputs):
    judge = Judge(Callee(model, (X,), {}), [], Overrides(), ["float32"])
    return judge.judge(judge.sample(0, [X]), ["output"], [outputs])


def test_an_answer_may_differ_by_the_rounding_error_of_torch_only():
    model = Cancelling()
    exact = model.double()(X.double()).detach().numpy()
    model.float()
    error = np.abs(model(X).detach().numpy() - exact).max()
    assert error > 1e-3, "the float32 error of torch is too small for this test"
    assert judged(model, exact.astype(np.float32)).passed
    assert not judged(model, (exact + 2 * OWN_ERRORS * error).astype(np.float32)).passed


def test_a_model_that_fails_in_float64_is_judged_without_its_rounding_error():
    class Float32(Cancelling):
        def forward(self, x):
            return super().forward(x) + torch.ones(2) @ x  # fails in float64, where x has another dtype

    assert not judged(Float32(), Float32()(X).detach().numpy() + 1e-2).passed
