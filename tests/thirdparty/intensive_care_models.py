"""The latent ODE of taggarttufte/neural-ode-icu, for patients in intensive care."""

from __future__ import annotations

import torch
from trial import Script, Source, Trial

SOURCE = Source("taggarttufte/neural-ode-icu", "src/model.py at commit a8d5874", "neural-ode-icu/src")
DYNAMIC = {name: {0: "batch"} for name in ("times", "values", "mask", "seq_lengths")}


def _patients() -> tuple[torch.Tensor, ...]:
    mask = (torch.rand(3, 7, 5) > 0.5).float()
    return torch.rand(3, 7).sort(1)[0] * 48, torch.randn(3, 7, 5), mask, torch.tensor([7, 5, 4])


@SOURCE.case("forward: a packed sequence in the encoder, z0 drawn")
def forward() -> Trial:
    from model import LatentODE

    return Trial(LatentODE(5, 8, 4, 8).eval(), _patients(), DYNAMIC)


@SOURCE.case("predict_proba: from the mean of z0")
def probability() -> Trial:
    from model import LatentODE

    model = LatentODE(5, 8, 4, 8).eval()

    def predict(
        times: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, seq_lengths: torch.Tensor
    ) -> torch.Tensor:
        probability: torch.Tensor = model.predict_proba(times, values, mask, seq_lengths)
        return probability

    return Trial(Script(predict, model), _patients(), DYNAMIC)
