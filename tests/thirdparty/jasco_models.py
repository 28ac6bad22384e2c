"""Trials of facebookresearch/audiocraft: JASCO, flow matching of music latents with several guidance terms."""

from __future__ import annotations

import torch
from trial import Script, Source, Trial, fresh_weights, stub

SOURCE = Source("facebookresearch/audiocraft", "audiocraft/models/flow_matching.py at commit 896ec7c", "audiocraft")


def _model():
    stub(
        "av",
        "julius",
        "xformers",
        "flashy.distrib",
        "demucs",
        "omegaconf",
        "hydra",
        "num2words",
        "spacy",
        "torchaudio",
        "encodec",
        "laion_clap",
        "librosa",
        "soundfile",
        "sentencepiece",
        "dora",
        "hydra_colorlog",
        "submitit",
        "treetable",
    )
    import sys
    import types
    from pathlib import Path

    for name in ("audiocraft", "audiocraft.models", "audiocraft.modules", "audiocraft.data", "audiocraft.utils"):
        package = types.ModuleType(name)
        package.__path__ = [str(Path(sys.path[0]) / name.replace(".", "/"))]
        sys.modules[name] = package
    stub("audiocraft.data.audio_dataset")
    from audiocraft.models.flow_matching import FlowMatchingModel
    from audiocraft.modules.conditioners import ConditionFuser

    fuser = ConditionFuser(
        {"cross": ["description"], "prepend": [], "sum": [], "ignore": ["chords"], "input_interpolate": []}
    )
    from audiocraft.modules import transformer

    transformer.ops = types.SimpleNamespace(unbind=torch.unbind)
    transformer.set_efficient_attention_backend("torch")
    model = FlowMatchingModel(
        None,
        fuser,
        dim=32,
        num_heads=2,
        flow_dim=8,
        chords_dim=4,
        hidden_scale=2,
        norm_first=True,
        num_layers=2,
        skip_connections=True,
        positional_embedding="sin",
        cross_attention=True,
        time_embedding_dim=16,
        memory_efficient=False,
        custom=True,
        causal=False,
    )
    return fresh_weights(model).eval()


@SOURCE.case("generate's solve: three guidance terms by repeat and chunk, dopri5; batch and frames free")
def generate() -> Trial:
    from torchdiffeq import odeint

    model = _model()
    from audiocraft.models.flow_matching import CFGTerm

    def term(w):
        t = CFGTerm.__new__(CFGTerm)
        t.weight = w
        return t

    terms = [term(3.0), term(1.0), term(-3.0)]

    def run(z_0, text, chords):
        mask = torch.ones_like(text[..., 0])
        conds = {"description": (text.repeat(3, 1, 1), mask.repeat(3, 1)), "chords": (chords.repeat(3, 1, 1), mask)}

        def field(t, z):
            return model.estimated_vector_field(z, t, condition_tensors=conds, cfg_terms=terms)

        return odeint(field, z_0, torch.tensor([0, 1.0 - 1e-5]), atol=1e-5, rtol=1e-5)[-1]

    dynamic = {"z_0": {0: "batch", 1: "frames"}, "text": {0: "batch", 1: "words"}, "chords": {0: "batch", 1: "frames"}}
    return Trial(Script(run, model), (torch.randn(2, 10, 8), torch.randn(2, 5, 32), torch.randn(2, 10, 4)), dynamic)
