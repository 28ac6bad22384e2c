"""Commands that call the model or its artifact on data give it numbers where it takes numbers."""

import numpy as np
import pytest

from odelet import InputError
from odelet_export import tune
from odelet_export.commands.against import torch_model
from odelet_export.commands.arguments import read_arrays

SOURCE = """
import torch
from torch import nn
from torchdiffeq import odeint

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.Linear(3, 3)

    def forward(self, x, n: int, scale=1.0):
        assert n.__class__ in (int, torch.SymInt)
        return odeint(lambda t, y: torch.tanh(self.inner(y)) * scale, x, torch.linspace(0, 1, n + 1), method="rk4")[-1]
"""
X = np.linspace(-1, 1, 48, dtype=np.float32).reshape(16, 3)


@pytest.fixture
def net(tmp_path):
    (tmp_path / "net.py").write_text(SOURCE)
    return tmp_path / "net.py"


def test_bench_gives_the_torch_model_its_numbers(net):
    values = {"x": X, "n": 3, "scale": np.array(0.5)}
    with torch_model(f"{net}:Net", None, values, device="cpu", threads=1) as call:
        (output,) = call().values()
    assert output.shape == X.shape


def test_tune_takes_numbers_from_the_data_and_names_them_in_its_command(net, short_timings, tmp_path):
    np.savez(tmp_path / "data.npz", x=X, n=3, scale=0.5)
    arrays, dynamic = read_arrays(["x=[batch,_]", "n=int", "scale=float"], tmp_path / "data.npz")
    assert dynamic == {"x": {0: "batch"}, "n": "n", "scale": "scale"}
    scope = {"__name__": "net"}
    exec(compile(SOURCE, str(net), "exec"), scope)
    tried = {"methods": ["rk4"], "forms": ["unrolled"], "steps": [4], "batch": 4}
    tuning = tune(scope["Net"](), arrays, tmp_path / "out", dynamic=dynamic, target=1e-3, **tried)
    assert tuning.choice is not None
    assert tuning.record.inputs == ("x=[batch,_]", "n=int", "scale=float")
    assert tuning.record.native == "a library takes no Python numbers as inputs, and the model has n, scale"
    again, _ = read_arrays(tuning.record.inputs, tmp_path / "out" / "example.npz")
    assert again["n"] == 3 and again["scale"] == 0.5


def test_an_array_that_is_to_be_a_number_is_refused(tmp_path):
    def model(x, n):
        return x * n

    with pytest.raises(InputError, match=r"'n' is to be a number, and is int64 of shape \[2\]"):
        tune(model, {"x": X, "n": np.array([1, 2])}, tmp_path / "out", dynamic={"n": "n"}, target=1e-3)
