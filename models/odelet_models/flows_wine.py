"""Normalizing flows of 13 properties of wines: FFJORD with Hutchinson's estimate of the trace, and Real-NVP.

The 142 rows to train on are few for so many dimensions, so that small networks, noise on the rows and energies of the
way keep the flows from learning the rows by heart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from odelet_models import datasets
from odelet_models.family import Call, Data, Family, Member, Use
from odelet_models.flows import gaussian, nats, rows, uses
from odelet_models.flows_networks import ContinuousFlow, RealNVP

DIMS = 13
# The best of a few in four-fold cross-validation of the rows to train on. The energy is the weight of both energies.
NOISE, COUPLING_NOISE, ENERGY = 0.3, 0.4, 0.03
# Hutchinson's estimate of a row's density is random; this many per row make the mean over the test rows certain.
ESTIMATES = 64
ALCOHOL, FLAVANOIDS, COLOUR, PROLINE = 0, 6, 9, 12
PAIRS = (
    (FLAVANOIDS, "flavanoids", COLOUR, "colour intensity"),
    (ALCOHOL, "alcohol", PROLINE, "proline"),
)


def ffjord() -> ContinuousFlow:
    """Build the untrained FFJORD."""
    return ContinuousFlow(DIMS, hidden=32, exact=False)


def realnvp() -> RealNVP:
    """Build the untrained Real-NVP."""
    return RealNVP(DIMS, hidden=32, couplings=4)


def blurred(x: Tensor, noise: float) -> Tensor:
    """The rows with normal noise of a standard deviation."""
    return x + noise * torch.randn_like(x)


def continuous_loss(flow: ContinuousFlow, x: Tensor) -> Tensor:
    """The mean of -log p(x) of blurred rows and of the energies of RNODE."""
    return flow.training_loss(blurred(x, NOISE), kinetic=ENERGY, jacobian=ENERGY)


def loss(flow: RealNVP, x: Tensor) -> Tensor:
    """The mean of -log p(x) of blurred rows."""
    return -flow(blurred(x, COUPLING_NOISE)).mean()


def score(call: Call, x: Tensor) -> float:
    """The nats per dimension of rows, each with several estimates of its density."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nats(call, x.repeat(ESTIMATES, 1))


def rows_and_directions(batch: int) -> tuple[Tensor, Tensor]:
    """Normal numbers, and a direction of signs for each row: two tensors, (batch, 13) float32."""
    (x,) = rows(batch, dims=DIMS)
    return x, x.flip(1).sign()


def draw(figure: Any, calls: Mapping[str, Call], data: Data) -> None:
    """Samples of each flow, and the wines that it was trained on, over two pairs of properties, in standard deviations
    from their means."""
    noise = torch.randn(data.rows[0], DIMS, generator=torch.Generator().manual_seed(1))
    names = [name.removesuffix("-sample") for name in calls if name.endswith("-sample")]
    wines = data.train[0].numpy()
    panels = figure.subplots(1, len(PAIRS) * len(names), squeeze=False)[0]
    for index, axes in enumerate(panels):
        name, (first, across, second, up) = names[index // len(PAIRS)], PAIRS[index % len(PAIRS)]
        samples = calls[f"{name}-sample"](noise).numpy()
        axes.scatter(wines[:, first], wines[:, second], s=7, linewidths=0, color="#999999", label="wines")
        axes.scatter(
            samples[:, first], samples[:, second], s=7, linewidths=0, color="#d55e00", alpha=0.8, label="samples"
        )
        axes.set(xlim=(-3.5, 3.5), ylim=(-3.5, 4))
        axes.set_title(name, fontsize=9)
        axes.set_xlabel(across, fontsize=8)
        axes.set_ylabel(up, fontsize=8)
        axes.tick_params(labelsize=7)
    panels[0].legend(fontsize=7, loc="lower left", handletextpad=0.1, borderpad=0.2)


FAMILY = Family(
    title="Flows of wines",
    about="Normalizing flows of 13 measured properties at once, from few samples. The trace of the Jacobian, which the "
    "density needs, is estimated by one random direction per row in the place of 13 gradients.",
    source="Grathwohl et al., FFJORD (2019); Dinh et al., Real-NVP (2017)",
    data=datasets.wine,
    members={
        "ffjord_wine": Member(
            about="an ODE with Hutchinson's trace, dopri5 at 1e-5",
            build=ffjord,
            loss=continuous_loss,
            uses={
                **uses(DIMS),
                "density_by_directions": Use(
                    inputs=rows_and_directions, dynamic={"x": {0: "batch"}, "direction": {0: "batch"}}
                ),
            },
            settings={"epochs": 150, "batch_size": 71, "clip": 5.0, "learning_rate": 1e-2},
        ),
        "realnvp_wine": Member(
            about="four affine couplings",
            build=realnvp,
            loss=loss,
            uses=uses(DIMS),
            discrete=True,
            settings={"epochs": 300, "batch_size": 71, "clip": 5.0, "learning_rate": 5e-3},
        ),
    },
    metric="nats per dimension",
    higher=False,
    score=score,
    baseline=("a Gaussian", gaussian),
    draw=draw,
)
