"""The script that makes these artifacts: what the artifacts of 0.1 do not have, for the corpus of the mutants.

Run it again where the format changes: `PYTHONPATH=tests python tests/fuzz/artifacts/made_by.py`.
"""

from pathlib import Path

import torch
import torchsde
from torch import nn

from odelet_export import export

HERE = Path(__file__).resolve().parent
TIMES = torch.tensor([0.0, 0.15, 0.3])


class Sde(nn.Module):
    """A solve of an SDE by torchsde; settings: keywords of the call."""

    def __init__(self, noise, calculus, **settings):
        super().__init__()
        self.noise_type, self.sde_type, self.settings = noise, calculus, settings
        self.drift, self.spread = nn.Linear(2, 2), nn.Linear(2, 2)

    def f(self, t, y):
        return torch.tanh(self.drift(y)) * torch.cos(t)

    def g(self, t, y):
        spread = 0.1 + 0.3 * torch.sigmoid(self.spread(y))
        return spread if self.noise_type == "diagonal" else torch.stack([spread, spread * y, -spread], -1)

    def forward(self, x):
        return torchsde.sdeint(self, x, TIMES, dt=0.1, **self.settings)


MODELS = {
    "sde-rolled": ("rolled", Sde("diagonal", "ito", method="srk")),
    "sde-driven": ("driven", Sde("general", "stratonovich", method="reversible_heun")),
    "sde-adaptive": ("driven", Sde("diagonal", "ito", method="milstein", adaptive=True, rtol=0.02, atol=0.02)),
}

if __name__ == "__main__":
    for name, (form, model) in MODELS.items():
        torch.manual_seed(3)
        export(model, (torch.randn(3, 2),), HERE / name, dynamic={"x": {0: "batch"}}, form=form, samples=1)
