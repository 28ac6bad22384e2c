"""Trials of X-LANCE/VoiceFlow-TTS: flow matching of spectrograms by a copy of torchdyn."""

from __future__ import annotations

import torch
from torchdiffeq import odeint
from trial import Script, Source, Trial, fresh_weights, stub

SOURCE = Source("X-LANCE/VoiceFlow-TTS", "model/cfm.py, model/diffusion.py at commit a12597a", "VoiceFlow-TTS")


def _flow():
    stub("model.monotonic_align", "poli", "model.tts", "ot")
    import sys
    import types
    from pathlib import Path

    package = types.ModuleType("model")
    package.__path__ = [str(Path(sys.path[0]) / "model")]
    sys.modules["model"] = package
    from model.cfm import CFM

    return fresh_weights(CFM(16, 16, spk_emb_dim=8)).eval()


def _args():
    return torch.randn(2, 16, 12), torch.ones(2, 1, 12), torch.randn(2, 16, 12), torch.randn(2, 8)


@SOURCE.case("inference as it is: a solve by the repository's copy of torchdyn, euler", forms={"auto": {}, "plain": {}})
def inference() -> Trial:
    flow = _flow()

    def run(z, mask, mu, spk):
        return flow.inference(z, mask, mu, 3, spk=spk, solver="euler")[-1]

    return Trial(Script(run, flow), _args(), {k: {0: "batch"} for k in ("z", "mask", "mu", "spk")})


@SOURCE.case("the same U-Net by torchdiffeq")
def solved() -> Trial:
    flow = _flow()

    def run(z, mask, mu, spk):
        wrapper = flow.ode_wrapper(mask, mu, spk)
        return odeint(lambda t, x: wrapper(t, x, None), z, torch.linspace(0, 1, 4), method="euler")[-1]

    return Trial(Script(run, flow), _args(), {k: {0: "batch"} for k in ("z", "mask", "mu", "spk")})
