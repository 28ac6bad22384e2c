"""One capture for several exports: each gives the files that it gives with a capture of its own."""

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
    """Exponential decay. options: of its solve."""

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
def test_the_files_are_those_of_captures_of_their_own(model, captures, tmp_path):
    """A norm and step_t are for some methods only, and lead to another graph."""
    with capturing_once() as kept:
        shared = [files(model, tmp_path / "a", settings) for settings in SETTINGS]
    assert len(kept.captures) == captures
    assert shared == [files(model, tmp_path / "b", settings) for settings in SETTINGS]


def test_what_is_kept_ends_with_the_block(tmp_path):
    with capturing_once() as kept:
        files(Decay(), tmp_path / "a", {})
    files(Decay(), tmp_path / "a", {})
    assert len(kept.captures) == 1


def test_a_capture_that_took_something_from_the_solution_is_not_shared(tmp_path):
    """Which way the model goes after its solve hangs on how it is solved."""

    class Branching(Decay):
        def forward(self, x):
            last = super().forward(x)[-1]
            return last * 2 if last.sum() > 0 else last

    model = Branching()
    with capturing_once() as kept:
        shared = [files(model, tmp_path / "a", settings) for settings in SETTINGS[1:3]]
    assert len(kept.captures) == 2
    assert shared == [files(model, tmp_path / "b", settings) for settings in SETTINGS[1:3]]
