"""The ODE-Nets of fabiocarrara/neural-ode-features, as classifiers and as extractors of features."""

from __future__ import annotations

import torch
from trial import Source, Trial

SOURCE = Source("fabiocarrara/neural-ode-features", "model.py at commit 2e89f5e", "neural-ode-features")


@SOURCE.case("residual downsampling, group norm")
def residual() -> Trial:
    from model import ODENet

    return Trial(ODENet(3, n_filters=8).eval(), (torch.randn(2, 3, 12, 12),), {"x": {0: "batch"}})


@SOURCE.case("an ODE as downsampling, features at many times of both solves, adjoint")
def features() -> Trial:
    from model import ODENet

    model = ODENet(3, n_filters=8, downsample="ode2", t1=torch.linspace(0, 1, 4).tolist(), adjoint=True).eval()
    model.to_features_extractor()
    return Trial(model, (torch.randn(2, 3, 12, 12),), {"x": {0: "batch"}})
