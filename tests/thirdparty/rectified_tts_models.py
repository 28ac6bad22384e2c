"""Trials of CODEJIN/RectifiedFlowTTS: flow matching of spectrograms with guidance by two calls."""

from __future__ import annotations

from argparse import Namespace

import torch
from trial import Script, Source, Trial, fresh_weights, stub

SOURCE = Source("CODEJIN/RectifiedFlowTTS", "Modules/CFM.py, Modules/Layer.py at commit 1022158", "RectifiedFlowTTS")


def _cfm(**more):
    stub("torchvision")
    from Modules.CFM import CFM

    hp = Namespace(
        Sound=Namespace(N_Mel=8),
        Encoder=Namespace(Size=8),
        CFM=Namespace(
            Size=16,
            Scheduler="Cosmap",
            Use_CFG=True,
            Use_OT=False,
            Transformer=Namespace(Stack=2, Head=2, FFN=Namespace(Kernel_Size=3, Dropout_Rate=0.1)),
        ),
    )
    return fresh_weights(CFM(hp)).eval()


@SOURCE.case("Inference: guidance, masks by lengths, rotary attention, a cosine time grid; batch, frames, prompt free")
def inference() -> Trial:
    cfm = _cfm()

    def run(encodings, f0s, lengths, prompts, prompt_lengths):
        return cfm.Inference(encodings, f0s, lengths, prompts, prompt_lengths, steps=4)

    args = (
        torch.randn(2, 8, 12),
        torch.randn(2, 12),
        torch.tensor([12, 9]),
        torch.randn(2, 8, 6),
        torch.tensor([6, 5]),
    )
    dynamic = {
        "encodings": {0: "batch", 2: "frames"},
        "f0s": {0: "batch", 1: "frames"},
        "lengths": {0: "batch"},
        "prompts": {0: "batch", 2: "prompt"},
        "prompt_lengths": {0: "batch"},
    }
    return Trial(Script(run, cfm), args, dynamic)
