"""Trials of cloneofsimo/minRF: rectified flow in one file, with a transformer that rotates in complex numbers."""

from __future__ import annotations

import torch
from torchdiffeq import odeint
from trial import Script, Source, Trial, fresh_weights

SOURCE = Source("cloneofsimo/minRF", "rf.py, dit.py at commit 4fc10e0", "minRF")


def _model():
    from dit import DiT_Llama

    return fresh_weights(DiT_Llama(3, 8, dim=64, n_layers=2, n_heads=2, num_classes=5, patch_size=2)).eval()


@SOURCE.case("RF.sample: the authors' own Euler loop with guidance", forms={"plain": {}})
def sample() -> Trial:
    from rf import RF

    model = _model()
    flow = RF(model)

    def run(z, cond):
        return flow.sample(z, cond, torch.full_like(cond, 5), sample_steps=3)[-1]

    return Trial(
        Script(run, model), (torch.randn(2, 3, 8, 8), torch.tensor([1, 3])), {"z": {0: "batch"}, "cond": {0: "batch"}}
    )


@SOURCE.case("the same field by torchdiffeq, midpoint, height free")
def solved() -> Trial:
    model = _model()

    def run(z, cond):
        def field(t, x):
            return -model(x, (1 - t).expand(x.shape[0]), cond)

        return odeint(field, z, torch.linspace(0, 1, 3), method="midpoint")[-1]

    return Trial(
        Script(run, model), (torch.randn(2, 3, 8, 8), torch.tensor([1, 3])), {"z": {0: "batch"}, "cond": {0: "batch"}}
    )
