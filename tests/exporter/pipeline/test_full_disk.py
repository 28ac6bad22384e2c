"""An export that runs out of disk raises OutputError, wherever it is, and what was there before stays."""

import os

import pytest
import torch
from support.artifacts import write_affine
from torchdiffeq import odeint

import odelet
from odelet_export import OutputError, export

resource = pytest.importorskip("resource")  # not on Windows


class Decay(torch.nn.Module):
    def forward(self, x):
        return odeint(lambda t, y: -y, x, torch.tensor([0.0, 1.0]), method="rk4")[-1]


@pytest.fixture
def limited():
    """Let no file grow beyond a size, which the system enforces in each write, from some stage of an export on."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(stage, size):
        return lambda begun: begun == stage and resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


# The stage from which on the disk is full, what still fits, and the file that does not.
FULL = [("check", 0, "out"), ("parity", 0, "out/odelet.json"), ("parity", 4000, "out/samples.npz")]


@pytest.mark.parametrize(("stage", "size", "file"), FULL)
def test_a_full_disk(tmp_path, limited, stage, size, file):
    out = tmp_path / "out"
    write_affine(out)
    with pytest.raises(OutputError) as caught:
        export(Decay(), (torch.rand(40, 40),), out, steps=2, on_stage=limited(stage, size))
    assert str(caught.value) == f"{file}: it cannot be written (File too large)"
    assert os.listdir(tmp_path) == ["out"]
    assert odelet.load(out).card.name == "Affine"
