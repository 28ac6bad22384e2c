"""`odelet export --form bounded` finds steps on data, prints what it found, and names what is missing."""

import json

import numpy as np
import pytest
from support.export_command import run

import odelet

MODEL = """
import torch
from torch import nn
from torchdiffeq import odeint

class Flow(nn.Module):
    def forward(self, x):
        return odeint(lambda t, y: torch.cos(3 * y), x, torch.tensor([0.0, 1.0]), rtol=1e-4, atol=1e-4)[-1]
"""
INPUT = ("--input", "x=float32[batch,3]")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    file = tmp_path_factory.mktemp("model") / "flow.py"
    file.write_text(MODEL)
    return f"{file}:Flow"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    file = tmp_path_factory.mktemp("data") / "samples.npz"
    np.savez(file, x=np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32))
    return file


def test_the_command_finds_steps_and_prints_them(model, data, tmp_path):
    out = tmp_path / "out"
    options = ("--form", "bounded", "--calibration", data, "--rtol", "1e-3", "--fallback", "--quantile", "0.9")
    code, printed, err = run(model, *INPUT, *options, "--samples", "2", "-o", out)
    assert code == 0
    assert "calibrate" in err
    card = odelet.load(out).card
    (solve,) = card.solves
    assert (solve.form, solve.rtol, solve.atol) == ("bounded", 1e-3, 1e-4)
    assert f"bounded dopri5, rtol 0.001, atol 0.0001, {solve.steps} steps" in printed
    assert f"trust     solve 0: {solve.steps} steps" in printed
    assert "same as torchdiffeq" not in printed
    assert json.loads((out / "parity.json").read_text())["calibration"]["quantile"] == 0.9


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (("--form", "bounded"), "--calibration FILE.npz"),
        (("--form", "bounded", "--calibration", "nothing.npz"), "nothing.npz"),
        (("--fallback",), "fallback is for the form bounded"),
    ],
)
def test_missing_options_and_files_are_named(options, match, model, tmp_path):
    code, out, err = run(model, *INPUT, *options, "-o", tmp_path / "out")
    assert (code, out) == (2, "")
    assert match in err.splitlines()[-1]
    assert not (tmp_path / "out").exists()
