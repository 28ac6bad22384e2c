"""The neural SDEs of yongkyung-oh/Stable-Neural-SDEs, whose drift has a spline of the data."""

from __future__ import annotations

import sys
import types
from typing import Any

import torch
from trial import Script, Source, Trial

SOURCE = Source(
    "yongkyung-oh/Stable-Neural-SDEs",
    "torch_ists/diff_module/NSDE/ at commit dbda657",
    "Stable-Neural-SDEs/torch-ists",
)


def _model(drift: int, noise: int) -> tuple[Any, torch.Tensor, torch.Tensor]:
    import torchcde

    (root,) = (path for path in sys.path if path.endswith("/torch-ists"))
    for name in ("torch_ists", "torch_ists.diff_module"):
        package = types.ModuleType(name)
        package.__path__ = [f"{root}/{name.replace('.', '/')}"]
        sys.modules[name] = package
    from torch_ists.diff_module.NSDE import Diffusion_model, NeuralSDE

    times = torch.linspace(0, 1, 5)
    coefficients = torchcde.hermite_cubic_coefficients_with_backward_differences(torch.randn(2, 5, 3), times)
    field = Diffusion_model(3, 4, 4, 2, input_option=drift, noise_option=noise)
    return NeuralSDE(field, 3, 4, 2).eval(), coefficients, times


@SOURCE.case("Neural LSDE: SRK, the spline set on the SDE, the smallest gap as the step")
def langevin() -> Trial:
    model, coefficients, times = _model(2, 16)
    return Trial(Script(lambda coeffs: model(coeffs, times), model), (coefficients,), {"coeffs": {0: "batch"}})


@SOURCE.case(
    "Neural GSDE: Euler, a step by the smallest gap of times that are an input", forms={"auto": {"freeze": ["times"]}}
)
def geometric() -> Trial:
    model, coefficients, times = _model(6, 17)
    return Trial(model, (coefficients, times), {"coeffs": {0: "batch"}}, {"method": "euler"})
