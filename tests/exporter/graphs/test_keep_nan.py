"""NaN in the input of an operator is in its result, as in torch, also where ONNX Runtime's kernel leaves it out."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import odelet
from odelet_export import export


class Applied(nn.Module):
    def __init__(self, function, layer=None):
        super().__init__()
        self.function, self.layer = function, layer

    def forward(self, x):
        return self.function(x) if self.layer is None else self.function(x, self.layer)


def states(x, layer):
    """All results of a recurrent layer: the states at each step, and the last ones."""
    path, last = layer(x)
    return (path, *last) if isinstance(last, tuple) else (path, last)


def begun(x, layer):
    """The same, where the first states come from the input."""
    return states_from(x, layer, x[:, 0].mean(-1)[None, :, None].expand(1, -1, 4).contiguous())


def states_from(x, layer, first):
    path, last = layer(x, first)
    return path, last


def packed(x, layer):
    series = pack_padded_sequence(x, torch.tensor([5, 2, 4]), batch_first=True, enforce_sorted=False)
    path, last = layer(series)
    return pad_packed_sequence(path, batch_first=True, total_length=5)[0], last


SERIES, IMAGE = (3, 5, 2), (2, 3, 6, 6)
# A function, its layer, and the shape of its input.
CASES = {
    "amax": (lambda x: x.amax(-1), None, (3, 7)),
    "amin of all": (lambda x: x.amin(), None, (3, 7)),
    "max along an axis": (lambda x: x.max(1, keepdim=True).values, None, (3, 7, 2)),
    "infinity norm": (lambda x: torch.linalg.vector_norm(x, torch.inf, dim=-1), None, (3, 7)),
    "max_pool1d": (lambda x: F.max_pool1d(x, 2), None, (2, 3, 8)),
    "max_pool2d": (lambda x: F.max_pool2d(x, 3, stride=2, padding=1), None, IMAGE),
    "global maximum": (lambda x: F.adaptive_max_pool2d(x, 1), None, IMAGE),
    "threshold": (lambda x: F.threshold(x, 0.1, 0.0), None, (3, 7)),
    "hardshrink": (lambda x: F.hardshrink(x, 0.3), None, (3, 7)),
    "softshrink": (lambda x: F.softshrink(x, 0.3), None, (3, 7)),
    "GRU": (states, nn.GRU(2, 4, batch_first=True), SERIES),
    "GRU of two layers, both ways": (states, nn.GRU(2, 4, 2, batch_first=True, bidirectional=True), SERIES),
    "GRU from a state": (begun, nn.GRU(2, 4, batch_first=True), SERIES),
    "GRU of packed series": (packed, nn.GRU(2, 4, batch_first=True), SERIES),
    "LSTM": (states, nn.LSTM(2, 4, batch_first=True), SERIES),
    "LSTM both ways": (states, nn.LSTM(2, 4, bidirectional=True), SERIES),
}


@pytest.mark.parametrize("name", CASES)
def test_nan_is_where_it_is_in_torch(name, tmp_path):
    function, layer, shape = CASES[name]
    torch.manual_seed(0)
    model = Applied(function, layer).eval()
    export(model, (torch.randn(shape),), tmp_path / "out", form="plain", samples=1, quick=True)
    artifact = odelet.load(tmp_path / "out")
    generator = np.random.default_rng(0)
    # A cell that starts from infinity takes differences of infinities, which no kernel needs to form as torch does.
    infinities = () if name == "GRU from a state" else (np.inf, -np.inf)
    for value in (np.nan, 1.0, *infinities):
        for place in generator.integers(0, np.prod(shape), 6):
            x = generator.normal(size=shape).astype(np.float32)
            x.flat[place] = value
            found, expected = artifact(x), model(torch.from_numpy(x))
            if not isinstance(found, tuple):
                found, expected = (found,), (expected,)
            for got, of_torch in zip(found, expected, strict=True):
                np.testing.assert_allclose(got, of_torch.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_a_maximum_of_whole_numbers_stays_as_it_is(tmp_path):
    export(Applied(lambda x: x.amax(-1)), (torch.arange(6).reshape(2, 3),), tmp_path / "out", form="plain", samples=1)
    assert odelet.load(tmp_path / "out")(np.array([[3, 9, 1], [0, -4, -2]])).tolist() == [9, 0]
