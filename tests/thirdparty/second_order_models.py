"""The models of a-norcliffe/sonode: the classes of its scripts, which run nothing when they are imported."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn
from trial import Source, Trial, stub, with_arguments

SOURCE = Source("a-norcliffe/sonode", "experiments/ at commit 2d1c2ff", "sonode/experiments")


def _script(path: str) -> Any:
    stub("torchvision", "torchvision.datasets", "torchvision.transforms")
    with_arguments()
    (root,) = (Path(folder) for folder in sys.path if folder.endswith("sonode/experiments"))
    spec = importlib.util.spec_from_file_location(Path(path).stem, root / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@SOURCE.case("vdp_sonode: a forced oscillator, torch.tensor of a cosine of t in the field")
def forced() -> Trial:
    script = _script("vdp_oscillator/vdp_sonode.py")
    block = script.ODEBlock(script.ODEfunc(1), torch.linspace(0, 2, 6), torch.arange(1).repeat(6, 1))
    return Trial(nn.Sequential(script.initial_velocity(1), block).eval(), (torch.randn(1),))


@SOURCE.case("mnist_sonode_conv_v: position and velocity one after another along the batch")
def mnist() -> Trial:
    script, width = _script("mnist/mnist_sonode_conv_v.py"), 8
    start = [nn.Conv2d(1, width, 3, 1), script.norm(width), nn.ReLU(inplace=True), nn.Conv2d(width, width, 4, 2, 1)]
    end = [script.norm(width), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d((1, 1)), script.Flatten()]
    block = [script.initial_velocity(width), script.ODEBlock(script.ODEfunc(width))]
    model = nn.Sequential(*start, *block, *end, nn.Linear(width, 10)).eval()
    return Trial(model, (torch.randn(2, 1, 12, 12),), {"input": {0: "batch"}})
