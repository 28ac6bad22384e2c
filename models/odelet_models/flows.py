"""Normalizing flows of two moons: the continuous FFJORD and RNODE, and the discrete Real-NVP and Residual Flow."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from odelet_models import datasets
from odelet_models.family import Call, Data, Family, Member, Use
from odelet_models.flows_networks import ContinuousFlow, RealNVP, ResidualFlow, Sampler

DIMS = 2
KINETIC, JACOBIAN = 0.005, 0.05


def nats(call: Call, x: Tensor) -> float:
    """The mean of -log p(x) over rows and dimensions, in nats per dimension. call: x (batch, dims) to log p."""
    with torch.no_grad():
        return -call(x).double().mean().item() / x.shape[1]


def gaussian(data: Data) -> float:
    """The nats per dimension of the test rows under a normal distribution that is fitted to the rows of training.

    >>> rows = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> round(gaussian(Data(train=(rows,), test=(rows,))), 4)
    1.0912
    """
    train, test = data.train[0].double(), data.test[0].double()
    fitted = torch.distributions.MultivariateNormal(train.mean(0), torch.cov(train.T))
    return nats(fitted.log_prob, test)


def continuous() -> ContinuousFlow:
    """Build the untrained FFJORD, and RNODE, which differs from it by its loss alone."""
    return ContinuousFlow(DIMS)


def realnvp() -> RealNVP:
    """Build the untrained Real-NVP."""
    return RealNVP(DIMS)


def loss(flow: nn.Module, x: Tensor) -> Tensor:
    """The mean of -log p(x)."""
    return -flow(x).mean()


def continuous_loss(flow: ContinuousFlow, x: Tensor) -> Tensor:
    """The mean of -log p(x), by a solve in few equal steps."""
    return flow.training_loss(x)


def regularized_loss(flow: ContinuousFlow, x: Tensor) -> Tensor:
    """The mean of -log p(x) and of the energies of RNODE."""
    return flow.training_loss(x, kinetic=KINETIC, jacobian=JACOBIAN)


def rows(batch: int, *, dims: int = DIMS) -> tuple[Tensor]:
    """Normal numbers: a tuple of one tensor, (batch, dims) float32."""
    return (torch.randn(batch, dims, generator=torch.Generator().manual_seed(0)),)


def uses(dims: int, **of_samples: str) -> dict[str, Use]:
    """The uses of a flow: the log density of rows, and samples of noise. of_samples: of the export of the latter."""
    inputs = partial(rows, dims=dims)
    return {
        "density": Use(inputs=inputs, dynamic={"x": {0: "batch"}}),
        "sample": Use(inputs=inputs, dynamic={"z": {0: "batch"}}, module=Sampler, settings=of_samples),
    }


def draw(figure: Any, calls: Mapping[str, Call], data: Data) -> None:
    """For each flow its density, from dark to bright, and below it as many samples as there are held-out points."""
    low, high, side = -2.6, 2.6, 120
    axis = torch.linspace(low, high, side)
    grid = torch.cartesian_prod(axis, axis)
    noise = torch.randn(data.rows[1], DIMS, generator=torch.Generator().manual_seed(1))
    names = [name.removesuffix("-density") for name in calls if name.endswith("-density")]
    panels = figure.subplots(2, len(names), sharex=True, sharey=True, squeeze=False)
    for name, (above, below) in zip(names, panels.T, strict=True):
        density = calls[f"{name}-density"](grid).exp().reshape(side, side).T.numpy()
        above.imshow(density, origin="lower", extent=(low, high, low, high), cmap="viridis", vmin=0, vmax=0.6)
        above.set_title(name, fontsize=9)
        samples = calls[f"{name}-sample"](noise).numpy()
        below.scatter(samples[:, 0], samples[:, 1], s=1, linewidths=0, color="#0072b2")
        below.set_xlabel("$x_1$", fontsize=8)
        for axes in (above, below):
            axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
            axes.tick_params(labelsize=7)
    panels[0, 0].set_ylabel("density\n$x_2$", fontsize=8)
    panels[1, 0].set_ylabel("samples\n$x_2$", fontsize=8)


_CONTINUOUS = {"epochs": 60, "batch_size": 256, "clip": 5.0}
FAMILY = Family(
    title="Flows of two moons",
    about="Normalizing flows give the probability density of a point, and samples, by an invertible map to normal "
    "noise. RNODE is FFJORD with straighter ways, which a solver follows with fewer calls of the field.",
    source="Grathwohl et al., FFJORD (2019); Finlay et al., How to Train Your Neural ODE (2020)",
    data=datasets.moons,
    members={
        "ffjord": Member(
            about="an ODE with the exact trace, dopri5 at 1e-5",
            build=continuous,
            loss=continuous_loss,
            uses=uses(DIMS),
            settings=_CONTINUOUS,
        ),
        "rnode": Member(
            about="the same ODE, trained with kinetic and Jacobian energy, for fewer calls of its field",
            build=continuous,
            loss=regularized_loss,
            uses=uses(DIMS),
            settings=_CONTINUOUS,
        ),
        "realnvp": Member(
            about="eight affine couplings",
            build=realnvp,
            loss=loss,
            uses=uses(DIMS),
            discrete=True,
            settings={"epochs": 120, "batch_size": 256, "learning_rate": 5e-3, "clip": 5.0},
        ),
        "residual_flow": Member(
            about="eight residual blocks, inverted by fixed points",
            build=ResidualFlow,
            loss=loss,
            uses=uses(DIMS, form="auto"),
            discrete=True,
            settings={"epochs": 80, "batch_size": 256, "learning_rate": 5e-3, "clip": 5.0},
        ),
    },
    metric="nats per dimension",
    higher=False,
    score=nats,
    baseline=("a Gaussian", gaussian),
    draw=draw,
)
