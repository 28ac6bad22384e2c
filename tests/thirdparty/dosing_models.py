"""The neural ODE for drugs of jameslu01/Neural_PK, with doses between its solves."""

from __future__ import annotations

import torch
from trial import Script, Source, Trial, stub, with_arguments

SOURCE = Source(
    "jameslu01/Neural_PK", "5fold_models/Neural-ODE/ at commit 0de601a", "Neural_PK/5fold_models/Neural-ODE"
)


@SOURCE.case("run_train.py: a dose at each time, written in place, and a solve to the next")
def doses() -> Trial:
    with_arguments("--tol", "1e-4")
    stub("pandas", "sklearn.model_selection", "sklearn.metrics", "tqdm", "matplotlib.pyplot")
    import utils
    from model import Classifier, Encoder, ODEFunc
    from torchdiffeq import odeint_adjoint

    size = 4
    encoder, field, head = Encoder(5, 2 * size, 16), ODEFunc(size, 8), Classifier(size, 1)

    def run(features: torch.Tensor, times: torch.Tensor, dosing: torch.Tensor, cmax_time: torch.Tensor) -> torch.Tensor:
        code = encoder(features)
        z = utils.sample_standard_gaussian(code[:, :size], code[:, size:])
        solutions = z.unsqueeze(0).clone()
        for place, (start, end) in enumerate(zip(times[:-1], times[1:], strict=True)):
            z += dosing[place]
            solution = odeint_adjoint(field, z, torch.Tensor([start - start, end - start]), rtol=1e-4, atol=1e-4)
            z = solution[-1].clone()
            solutions = torch.cat([solutions, solution[-1:, :]], 0)
        concentration: torch.Tensor = head(solutions, cmax_time)
        return concentration

    dosing = torch.zeros(5, 3, 4)
    dosing[0, :, 0] = 1.0
    example = torch.randn(3, 6, 5), torch.tensor([0.0, 1.0, 2.0, 5.0, 9.0]), dosing, torch.rand(3, 20)
    dynamic = {"features": {0: "batch"}, "dosing": {1: "batch"}, "cmax_time": {0: "batch"}}
    return Trial(Script(run, encoder, field, head), example, dynamic)
