"""The model of Aalto-QuML/ClimODE, built as its train_global.py does, on a small grid."""

from __future__ import annotations

from typing import Any

import torch
from trial import Script, Source, Trial, stub

SOURCE = Source("Aalto-QuML/ClimODE", "model_function.py at commit e729d23", "ClimODE")


def _forecast(*, use_err: bool, use_pos: bool, use_att: bool) -> Trial:
    stub("pandas", "xarray", "properscoring", "torchvision", "torchcubicspline", "matplotlib.pyplot", "seaborn")
    from model_function import Climate_encoder_free_uncertain

    height, width, channels = 16, 32, 5
    model: Any = Climate_encoder_free_uncertain(channels, 2, channels, "euler", use_att, use_err, use_pos).eval()
    latitude = torch.linspace(-80, 80, height).reshape(1, 1, height, 1).expand(1, 1, height, width)
    longitude = torch.linspace(0, 350, width).reshape(1, 1, 1, width).expand(1, 1, height, width)
    constants = torch.randn(1, 2, 1, height, width)
    past = 0.1 * torch.randn(1, 2 * channels, height, width)

    def run(T: torch.Tensor, data: torch.Tensor) -> Any:
        model.update_param([past, constants, latitude[0, 0], longitude[0, 0]])
        return model(T, data)

    args = (torch.tensor([0.0, 1.0, 2.0]), torch.rand(1, 1, channels, height, width))
    return Trial(Script(run, model), args)


@SOURCE.case("advection by torch.gradient, velocities of a ResNet, hours as numbers of the times, with uncertainty")
def uncertain() -> Trial:
    return _forecast(use_err=True, use_pos=False, use_att=False)


@SOURCE.case("the same with attention", forms={"auto": {"freeze": ["T"]}})
def attention() -> Trial:
    return _forecast(use_err=True, use_pos=False, use_att=True)
