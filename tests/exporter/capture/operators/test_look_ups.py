"""A class id that torch refuses is refused by the export, too: ONNX would count a negative one from the end."""

import numpy as np
import pytest
import torch
from torch import nn
from torchdiffeq import odeint

import odelet
from odelet_export import export


class OfClass(nn.Module):
    """A flow from a learned start for each class."""

    def __init__(self, *, dtype=torch.float32):
        super().__init__()
        torch.manual_seed(0)
        self.start = nn.Embedding(4, 3, dtype=dtype)

    def forward(self, ids):
        return odeint(lambda t, y: -y, self.start(ids), torch.linspace(0, 1, 3), method="euler")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("ids", [torch.int64, torch.int32])
def test_a_negative_class_id_is_the_callers_fault(dtype, ids, tmp_path):
    model = OfClass(dtype=dtype)
    export(
        model, (torch.tensor([0, 2], dtype=ids),), tmp_path / "out", form="rolled", samples=1, dynamic={"ids": {0: "n"}}
    )
    loaded = odelet.load(tmp_path / "out")
    good = torch.tensor([3, 1, 0], dtype=ids)
    np.testing.assert_allclose(loaded(good.numpy()), model(good).detach(), rtol=1e-5)
    for bad in (-1, -4, -5, 4):
        bad_ids = torch.tensor([1, bad], dtype=ids)
        with pytest.raises(IndexError):
            model(bad_ids)
        with pytest.raises(
            odelet.InputError, match=rf"input 'ids' holds {bad}, .* expected whole numbers (from 0|up) to 3"
        ):
            loaded(bad_ids.numpy())


def gathered(table, ids):
    return torch.gather(table, 0, ids[:, None].expand(-1, 3))


def selected(table, ids):
    return table.index_select(0, ids)


@pytest.mark.parametrize(
    ("look_up", "message"),
    [
        (selected, "input 'ids' holds {}, .* expected whole numbers"),
        (gathered, "an index is out of range .*; look at the input 'ids'"),  # the engine names neither index nor bound
    ],
)
def test_a_negative_index_is_refused_where_torch_refuses_it(look_up, message, tmp_path):
    table = torch.randn(4, 3)

    def model(ids):
        return odeint(lambda t, y: -y, look_up(table, ids), torch.linspace(0, 1, 3), method="euler")

    export(model, (torch.tensor([0, 2]),), tmp_path / "out", form="rolled", samples=1, dynamic={"ids": {0: "n"}})
    loaded = odelet.load(tmp_path / "out")
    good = torch.tensor([3, 1, 0])
    np.testing.assert_allclose(loaded(good.numpy()), model(good), rtol=1e-5)
    for bad in (-1, -4, 4):
        with pytest.raises((IndexError, RuntimeError)):
            model(torch.tensor([1, bad]))
        with pytest.raises(odelet.InputError, match=message.format(bad)):
            loaded(np.array([1, bad]))
