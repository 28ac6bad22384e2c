"""Trials of FunAudioLLM/CosyVoice: the flow decoder of a speech model, with buffers written in place for guidance."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from trial import Script, Source, Trial, fresh_weights

SOURCE = Source("FunAudioLLM/CosyVoice", "cosyvoice/flow/ at commit ace7c47", "CosyVoice")


def _flow():
    import sys
    import types
    from pathlib import Path

    sys.path.insert(0, str(Path(sys.path[0]).parent / "Matcha-TTS"))
    sys.modules["matcha.utils"] = types.ModuleType("matcha.utils")
    logger = types.ModuleType("matcha.utils.pylogger")
    logger.get_pylogger = lambda name: None
    sys.modules["matcha.utils.pylogger"] = logger
    from trial import stub

    stub("omegaconf", "onnxruntime_gpu", "pydub", "librosa", "torchaudio")
    from cosyvoice.flow.decoder import ConditionalDecoder
    from cosyvoice.flow.flow_matching import ConditionalCFM

    decoder = ConditionalDecoder(
        in_channels=320,
        out_channels=80,
        channels=(32,),
        attention_head_dim=8,
        n_blocks=1,
        num_mid_blocks=1,
        num_heads=2,
        act_fn="gelu",
    )
    params = SimpleNamespace(
        solver="euler", sigma_min=1e-6, t_scheduler="cosine", training_cfg_rate=0.2, inference_cfg_rate=0.7
    )
    return fresh_weights(ConditionalCFM(240, params, 1, 80, decoder)).eval()


@SOURCE.case(
    "ConditionalCFM.solve_euler: guidance in buffers filled in place, a cosine time grid; frames free",
    forms={"plain": {}},
)
def solve_euler() -> Trial:
    flow = _flow()

    def run(z, mu, mask, spks, cond):
        t = 1 - torch.cos(torch.linspace(0, 1, 4) * 0.5 * torch.pi)
        return flow.solve_euler(z, t, mu, mask, spks, cond)

    n = 12
    args = (
        torch.randn(1, 80, n),
        torch.randn(1, 80, n),
        torch.ones(1, 1, n),
        torch.randn(1, 80),
        torch.randn(1, 80, n),
    )
    return Trial(Script(run, flow), args, {k: {2: "frames"} for k in ("z", "mu", "mask", "cond")})


@SOURCE.case("ConditionalCFM.forward with a cache of the last frames", forms={"plain": {}})
def forward() -> Trial:
    flow = _flow()

    def run(mu, mask, spks, cond):
        return flow(mu, mask, 3, spks=spks, cond=cond)

    n = 40
    args = (torch.randn(1, 80, n), torch.ones(1, 1, n), torch.randn(1, 80), torch.randn(1, 80, n))
    return Trial(Script(run, flow), args, {k: {2: "frames"} for k in ("mu", "mask", "cond")})
