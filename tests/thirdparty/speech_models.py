"""F5-TTS: the sampler of SWivid/F5-TTS with its three transformers, unpatched, small, with random weights."""

from __future__ import annotations

from typing import Any

import torch
from trial import Script, Source, Trial, fresh_weights, stub

SOURCE = Source("SWivid/F5-TTS", "src/f5_tts/model/ at commit 2ae2c9b", "F5-TTS/src")
SIZES: dict[str, Any] = dict(dim=32, depth=2, heads=2, dim_head=16, ff_mult=2, mel_dim=10, text_num_embeds=40)


def _sampler(transformer: str, **more: Any) -> torch.nn.Module:
    stub("torchaudio.transforms", "librosa.filters", "rjieba", "pypinyin", "datasets", "accelerate.utils")
    stub("hydra.utils", "omegaconf", "torch_tb_profiler", "wandb")
    from f5_tts import model

    cfm = model.CFM(getattr(model, transformer)(**SIZES, **more), mel_spec_kwargs={"n_mel_channels": 10})
    return fresh_weights(cfm.eval())


def _trial(cfm: Any, batch: int, dynamic: Any = None) -> Trial:
    def run(cond: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        return cfm.sample(cond, text, 12, steps=4, cfg_strength=2.0, sway_sampling_coef=-1.0)[0]

    return Trial(Script(run, cfm), (torch.randn(batch, 6, 10), torch.randint(0, 40, (batch, 5))), dynamic)


@SOURCE.case("DiT: one sample of 12 frames, other recordings and texts")
def dit() -> Trial:
    return _trial(_sampler("DiT", text_dim=16, conv_layers=1), 1)


@SOURCE.case("DiT: any number of letters")
def dit_letters() -> Trial:
    return _trial(_sampler("DiT", text_dim=16, conv_layers=1), 1, {"text": {1: "letters"}})


@SOURCE.case("DiT: a recording of any length")
def dit_frames() -> Trial:
    return _trial(_sampler("DiT", text_dim=16, conv_layers=1), 1, {"cond": {1: "frames"}})


@SOURCE.case("DiT: two samples, with masks")
def dit_two() -> Trial:
    return _trial(_sampler("DiT", text_dim=16, conv_layers=1), 2)


@SOURCE.case("DiT: any number of samples, over which its code loops in Python")
def dit_batch() -> Trial:
    return _trial(_sampler("DiT", text_dim=16, conv_layers=1), 2, {"cond": {0: "batch"}, "text": {0: "batch"}})


@SOURCE.case("DiT: the duration as an input")
def dit_duration() -> Trial:
    cfm: Any = _sampler("DiT", text_dim=16, conv_layers=1)

    def run(cond: torch.Tensor, text: torch.Tensor, duration: torch.Tensor) -> torch.Tensor:
        return cfm.sample(cond, text, duration, steps=4, cfg_strength=2.0, sway_sampling_coef=-1.0)[0]

    return Trial(Script(run, cfm), (torch.randn(1, 6, 10), torch.randint(0, 40, (1, 5)), torch.tensor([12])))


@SOURCE.case("UNetT: one sample")
def unett() -> Trial:
    return _trial(_sampler("UNetT", text_dim=16, conv_layers=1), 1)


@SOURCE.case("MMDiT: one sample")
def mmdit() -> Trial:
    return _trial(_sampler("MMDiT"), 1)
