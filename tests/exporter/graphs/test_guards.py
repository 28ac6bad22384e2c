"""Operators that would end the process are guarded in exports, and the runtime finds the guards."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torchdiffeq import odeint

import odelet
from odelet_export import export

AXES = {"x": {0: "batch", 1: "time"}}


class Encodes(nn.Module):
    """Layers of recurrent cells in front of a solve."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.gru, self.lstm = nn.GRU(2, 3, 2, batch_first=True, bidirectional=True), nn.LSTM(2, 3, batch_first=True)
        self.field = nn.Linear(3, 3)

    def forward(self, x):
        start = self.gru(x)[1][0] + self.lstm(x)[0].mean(1)
        times = torch.linspace(0, 1, 3)
        return odeint(lambda t, y: torch.tanh(self.field(y)), start, times, method="rk4", options={"step_size": 0.5})


CHILD = """
import sys, json
import numpy as np, odelet
model = odelet.load(sys.argv[1])
for shape in json.loads(sys.argv[2]):
    try:
        print(json.dumps(model(np.ones(shape, np.float32)).tolist()), flush=True)
    except odelet.InputError as error:
        print(json.dumps(str(error)), flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", ["rolled", "driven"])
def test_an_empty_batch_or_series_does_not_end_the_process(form, tmp_path):
    model = Encodes()
    export(model, (torch.randn(5, 4, 2),), tmp_path / "out", dynamic=AXES, form=form, samples=1)
    graphs = [onnx.load(path) for path in (tmp_path / "out").glob("*.onnx")]
    assert {"GRU", "LSTM"} <= {node.op_type for graph in graphs for node in graph.graph.node}
    shapes = [(2, 7, 2), (0, 4, 2), (3, 0, 2), (1, 1, 2)]
    command = [sys.executable, "-c", CHILD, str(tmp_path / "out"), json.dumps(shapes)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:] or f"ended by signal {-done.returncode}"
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    for shape, answer in zip(shapes, answers, strict=True):
        if 0 in shape:
            assert f"input 'x' has shape {shape}" in answer
            assert answer.endswith("expected sizes of at least 1")
            continue
        with torch.no_grad():
            np.testing.assert_allclose(answer, model(torch.ones(shape)), rtol=1e-4, atol=1e-5)


class Triangle(nn.Module):
    """A triangle whose diagonal is an input, and a picture that is read between its pixels."""

    def forward(self, x, k, picture, grid):
        y = odeint(lambda t, y: -y, x, torch.linspace(0, 1, 3), method="euler")[-1]
        read = nn.functional.grid_sample(picture, grid, padding_mode="border", align_corners=False)
        return torch.triu(y, diagonal=3) + torch.tril(y, diagonal=-1) + k, read


@pytest.mark.slow
def test_triangles_and_pictures(tmp_path):
    example = (torch.randn(4, 4), torch.tensor(1), torch.randn(1, 2, 5, 5), torch.rand(1, 3, 3, 2))
    out = tmp_path / "out"
    export(Triangle(), example, out, form="rolled", samples=1, dynamic={"picture": {2: "height"}})
    model = odelet.load(out)
    inputs = [torch.randn(4, 4), torch.tensor(2), torch.randn(1, 2, 8, 5), torch.rand(1, 3, 3, 2)]
    for got, expected in zip(model(*(x.numpy() for x in inputs)), Triangle()(*inputs), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    inputs[2] = torch.zeros(1, 2, 0, 5)
    with pytest.raises(odelet.InputError, match="input 'picture' has shape"):
        model(*(x.numpy() for x in inputs))
