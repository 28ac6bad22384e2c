"""The Hamiltonian neural networks of greydanus/hamiltonian-nn, integrated with torchdiffeq and by their own RK4."""

from __future__ import annotations

from typing import Any

import torch
from trial import Script, Source, Trial, stub

SOURCE = Source("greydanus/hamiltonian-nn", "hnn.py, nn_models.py, utils.py at commit bcc3622", "hamiltonian-nn")


def _network(kind: str, size: int, **options: Any) -> Any:
    stub("imageio", "autograd.numpy", "scipy.misc")
    from hnn import HNN
    from nn_models import MLP

    return HNN(size, MLP(size, 8, 2, "tanh"), field_type=kind, **options)


@SOURCE.case("HNN: a conservative and a solenoidal part by gradients, rk4")
def both() -> Trial:
    from torchdiffeq import odeint

    model = _network("both", 2)

    def field(_: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            derivative: torch.Tensor = model.time_derivative(x.requires_grad_(True))
        return derivative

    def rollout(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        solution: torch.Tensor = odeint(field, x, t, method="rk4")
        return solution

    example = torch.randn(3, 2), torch.linspace(0, 1, 5)
    return Trial(Script(rollout, model), example, {"x": {0: "batch"}, "t": {0: "times"}})


@SOURCE.case("HNN: steps of its own, gradients in each stage", forms={"plain": {}})
def own_steps() -> Trial:
    model = _network("solenoidal", 4, assume_canonical_coords=False)

    def rollout(x: torch.Tensor) -> torch.Tensor:
        states = [x.requires_grad_(True)]
        for _ in range(4):
            states.append(states[-1] + model.rk4_time_derivative(states[-1], dt=0.1))
        return torch.stack(states)

    return Trial(Script(rollout, model), (torch.randn(3, 4),), {"x": {0: "batch"}})
