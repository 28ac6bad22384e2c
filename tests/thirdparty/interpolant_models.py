"""SiT of willisma/SiT: the samplers of its sample.py, with a small transformer."""

from __future__ import annotations

from typing import Any

import torch
from trial import Script, Source, Trial, fresh_weights, stub_timm

SOURCE = Source("willisma/SiT", "models.py, transport/ at commit 947f95b", "SiT")
DYNAMIC = {"z": {0: "batch"}, "y": {0: "batch"}}


def _parts() -> tuple[Any, Any]:
    stub_timm()
    from models import SiT
    from transport import Sampler, create_transport

    net = SiT(input_size=8, patch_size=2, in_channels=4, hidden_size=32, depth=2, num_heads=4, num_classes=10)
    return fresh_weights(net.eval()), Sampler(create_transport())


def _args() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(3, 4, 8, 8), torch.randint(0, 10, (3,))


@SOURCE.case("classifier-free guidance as in sample.py: Euler, the labels of the half without in a list")
def guidance() -> Trial:
    net, sampler = _parts()
    sample = sampler.sample_ode(sampling_method="euler", num_steps=4)

    def run(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        n = z.shape[0]
        without = torch.tensor([10] * n)
        both = sample(torch.cat([z, z], 0), net.forward_with_cfg, y=torch.cat([y, without], 0), cfg_scale=4.0)[-1]
        return both.chunk(2, dim=0)[0]

    return Trial(Script(run, net), _args(), DYNAMIC)


@SOURCE.case("likelihood: signs drawn anew in each evaluation of the field")
def likelihood() -> Trial:
    net, sampler = _parts()
    likelihood_of = sampler.sample_ode_likelihood(sampling_method="euler", num_steps=4)

    def run(z: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            return likelihood_of(z, net.forward, y=y)

    return Trial(Script(run, net), _args(), DYNAMIC)
