"""Trials of shivammehta25/Matcha-TTS: the flow of a speech model, a U-Net over time with transformer blocks."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torchdiffeq import odeint
from trial import Script, Source, Trial, fresh_weights

SOURCE = Source("shivammehta25/Matcha-TTS", "matcha/models/components/ at commit 108906c", "Matcha-TTS")


def _flow():
    from trial import stub

    stub("hydra", "omegaconf", "rootutils", "gdown", "wget", "rich", "lightning.pytorch.utilities", "matplotlib.pyplot")
    import sys
    import types

    sys.modules["matcha.utils"] = types.ModuleType("matcha.utils")
    logger = types.ModuleType("matcha.utils.pylogger")
    logger.get_pylogger = lambda name: None
    sys.modules["matcha.utils.pylogger"] = logger
    from matcha.models.components.flow_matching import CFM

    decoder = {
        "channels": (32, 32),
        "dropout": 0.0,
        "attention_head_dim": 8,
        "n_blocks": 1,
        "num_mid_blocks": 1,
        "num_heads": 2,
        "act_fn": "snakebeta",
    }
    flow = CFM(16, 8, SimpleNamespace(solver="euler", sigma_min=1e-4), decoder)
    return fresh_weights(flow).eval()


def _args():
    mask = torch.ones(2, 1, 12)
    mask[1, :, 8:] = 0
    return torch.randn(2, 8, 12), mask


DYNAMIC = {"mu": {0: "batch", 2: "frames"}, "mask": {0: "batch", 2: "frames"}}


@SOURCE.case("CFM.forward: the authors' own Euler loop, three steps; batch and frames free", forms={"plain": {}})
def forward() -> Trial:
    flow = _flow()

    def run(mu, mask):
        return flow(mu, mask, 3)

    return Trial(Script(run, flow), _args(), {"mu": {0: "batch", 2: "frames4"}, "mask": {0: "batch", 2: "frames4"}})


@SOURCE.case("the same estimator by torchdiffeq, midpoint")
def solved() -> Trial:
    flow = _flow()

    def run(mu, mask):
        z = torch.randn_like(mu)
        return odeint(lambda t, x: flow.estimator(x, mask, mu, t), z, torch.linspace(0, 1, 3), method="midpoint")[-1]

    return Trial(Script(run, flow), _args(), DYNAMIC)
