"""Exports that share a capture write the same files as exports with captures of their own."""

import pytest
import torch
from torchdiffeq import odeint

from odelet_export import export
from odelet_export.capture.cache import capturing_once

SETTINGS = (
    {},
    {"form": "driven", "rtol": 1e-3},
    {"method": "rk4", "steps": 4},
    {"method": "bosh3", "atol": 1e-2, "form": "driven"},
)
X = torch.linspace(0.1, 1.2, 8, dtype=torch.float64).reshape(4, 2)


class Decay(torch.nn.Module):
    """dy/dt = -rate y^2 from y(0) = x to time 1. options: keywords of the solve."""

    def __init__(self, **options):
        super().__init__()
        self.options = options
        self.rate = torch.nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))

    def forward(self, x):
        t = torch.tensor([0.0, 0.5, 1.0], dtype=x.dtype)
        return odeint(lambda t, y: -self.rate * y * y, x, t, rtol=1e-5, atol=1e-6, options=self.options or None)


def files(model, out, settings):
    card = export(model, (X,), out, dynamic={"x": {0: "batch"}}, samples=1, **settings).card
    return {name: file.sha256 for name, file in card.files.items() if name.endswith((".onnx", ".bin"))}


@pytest.mark.parametrize(
    ("model", "captures"),
    [(Decay(), 1), (Decay(norm=lambda y: y.abs().max()), 2), (Decay(step_t=torch.tensor([0.3])), 2)],
    ids=["plain", "norm", "step_t"],
)
def test_a_shared_capture_gives_the_same_files(model, captures, tmp_path):
    """A norm and step_t are options of adaptive methods only, so that a fixed-step method needs another trace."""
    with capturing_once() as cache:
        shared = [files(model, tmp_path / "a", settings) for settings in SETTINGS]
    assert len(cache.captures) == captures
    assert shared == [files(model, tmp_path / "b", settings) for settings in SETTINGS]


def test_captures_are_shared_only_within_the_block(tmp_path):
    with capturing_once() as cache:
        files(Decay(), tmp_path / "a", {})
    files(Decay(), tmp_path / "a", {})
    assert len(cache.captures) == 1


def test_a_capture_that_depends_on_a_solution_is_not_shared(tmp_path):
    """A decision on a solution may differ when the settings of the solve differ."""

    class Branching(Decay):
        def forward(self, x):
            last = super().forward(x)[-1]
            return last * 2 if last.sum() > 0 else last

    model = Branching()
    with capturing_once() as cache:
        shared = [files(model, tmp_path / "a", settings) for settings in SETTINGS[1:3]]
    assert len(cache.captures) == 2
    assert shared == [files(model, tmp_path / "b", settings) for settings in SETTINGS[1:3]]
