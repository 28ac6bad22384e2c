"""Flow matching with torchcfm: its networks, sampled with torchdiffeq as in its examples."""

from __future__ import annotations

from typing import Any

import torch
import torchdiffeq
from trial import Script, Source, Trial, fresh_weights, stub

SOURCE = Source("torchcfm", "1.0.7 from PyPI", package="torchcfm")


def _mlp(dim: int = 2, **options: Any) -> Any:
    from torchcfm.models.models import MLP

    return MLP(dim=dim, w=16, time_varying=True, **options)


@SOURCE.case(
    "MLP in torch_wrapper, sampled with dopri5 at 1e-4 along given times",
    forms={"auto": {}, "driven": {}, "rolled": {"method": "euler", "steps": 20}},
)
def mlp() -> Trial:
    stub("torchdyn.datasets")
    from torchcfm.utils import torch_wrapper

    node = torch_wrapper(_mlp())

    def sample(x0: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return torchdiffeq.odeint(node, x0, t, atol=1e-4, rtol=1e-4, method="dopri5")

    return Trial(
        Script(sample, node).eval(),
        (torch.randn(6, 2), torch.linspace(0.0, 1.0, 10)),
        {"x0": {0: "batch"}, "t": {0: "times"}},
    )


@SOURCE.case("MLP conditioned on a class, one-hot beside the state")
def mlp_classes() -> Trial:
    model = _mlp(dim=2 + 3, out_dim=2)

    def sample(x0: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        onehot = torch.nn.functional.one_hot(label, 3).float()

        def velocity(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            return model(torch.cat([x, onehot, t.repeat(x.shape[0])[:, None]], 1))

        return torchdiffeq.odeint(velocity, x0, torch.linspace(0, 1, 2), atol=1e-4, rtol=1e-4)[-1]

    args = (torch.randn(6, 2), torch.tensor([0, 1, 2, 0, 1, 2]))
    return Trial(Script(sample, model).eval(), args, {"x0": {0: "batch"}, "label": {0: "batch"}})


@SOURCE.case("GradModel: a velocity that is the gradient of a network (action matching)")
def gradient_of_action() -> Trial:
    stub("torchdyn.datasets")
    from torchcfm.models.models import GradModel
    from torchcfm.utils import torch_wrapper

    node = torch_wrapper(GradModel(action=_mlp(out_dim=1)))

    def sample(x0: torch.Tensor) -> torch.Tensor:
        return torchdiffeq.odeint(node, x0, torch.linspace(0, 1, 2), atol=1e-4, rtol=1e-4)[-1]

    return Trial(Script(sample, node).eval(), (torch.randn(6, 2),), {"x0": {0: "batch"}})


@SOURCE.case("the MLP example with the noise drawn inside (torch.randn)")
def mlp_draws_noise() -> Trial:
    stub("torchdyn.datasets")
    from torchcfm.utils import torch_wrapper

    node = torch_wrapper(_mlp())

    def sample(t: torch.Tensor) -> torch.Tensor:
        return torchdiffeq.odeint(node, torch.randn(16, 2), t, atol=1e-4, rtol=1e-4, method="dopri5")

    return Trial(Script(sample, node).eval(), (torch.linspace(0.0, 1.0, 10),), {"t": {0: "times"}})


def _unet(**options: Any) -> Any:
    from torchcfm.models.unet import UNetModel

    return fresh_weights(UNetModel(num_channels=32, num_res_blocks=1, channel_mult=(1, 1), **options)).eval()


@SOURCE.case("class-conditional UNet of the MNIST example, dopri5 at 1e-4")
def unet_classes() -> Trial:
    model = _unet(dim=(1, 8, 8), num_classes=10, class_cond=True)

    def sample(x0: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        traj = torchdiffeq.odeint(
            lambda t, x: model.forward(t, x, label), x0, torch.linspace(0, 1, 2), atol=1e-4, rtol=1e-4, method="dopri5"
        )
        return traj[-1, :100].clip(-1, 1)

    args = (torch.randn(3, 1, 8, 8), torch.tensor([1, 2, 3]))
    return Trial(Script(sample, model).eval(), args, {"x0": {0: "batch"}, "label": {0: "batch"}})


@SOURCE.case("UNet of the CIFAR-10 example: attention, several heads, Euler")
def unet_attention() -> Trial:
    model = _unet(
        dim=(3, 8, 8), attention_resolutions="4", num_heads=4, num_head_channels=16, use_scale_shift_norm=True
    )

    def sample(x0: torch.Tensor) -> torch.Tensor:
        return torchdiffeq.odeint(model, x0, torch.linspace(0, 1, 5), rtol=1e-5, atol=1e-5, method="euler")[-1]

    return Trial(Script(sample, model).eval(), (torch.randn(3, 3, 8, 8),), {"x0": {0: "batch"}})


@SOURCE.case("classifier-free guidance: two evaluations of the UNet a step, the strength an input", forms={"auto": {}})
def unet_guidance() -> Trial:
    model = _unet(dim=(1, 8, 8), num_classes=11, class_cond=True)

    def sample(x0: torch.Tensor, label: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
        def velocity(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            with_class, without = model(t, x, label), model(t, x, torch.full_like(label, 10))
            return without + strength * (with_class - without)

        return torchdiffeq.odeint(velocity, x0, torch.linspace(0, 1, 5), method="midpoint")[-1]

    args = (torch.randn(3, 1, 8, 8), torch.tensor([1, 2, 3]), torch.tensor(1.5))
    return Trial(Script(sample, model).eval(), args, {"x0": {0: "batch"}, "label": {0: "batch"}})
