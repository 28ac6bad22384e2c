"""Flow matching: 8 x 8 digits of a wanted class, drawn from noise by an ordinary differential equation.

Follows Lipman et al., "Flow Matching for Generative Modeling" (2023), with straight paths from noise to data, and Ho
and Salimans, "Classifier-Free Diffusion Guidance" (2022).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torchdiffeq import odeint

from odelet_models import datasets, odenet
from odelet_models.family import Call, Data, Family, Member, Use, accuracy

PIXELS = odenet.SIDE**2
HALF_INK = odenet.PIXEL_MAX / 2
CLASSES = odenet.CLASSES
# The label that stands for any class, and the share of training samples that have it in the place of their own.
ANY_CLASS = CLASSES
UNLABELLED = 0.15
FREQUENCIES = 4
STEPS = 16
GUIDANCE = 2.0


def scaled(images: Tensor) -> Tensor:
    """Images with ink from 0 to 16, as numbers from -1 to 1."""
    return images / HALF_INK - 1


def inked(x: Tensor) -> Tensor:
    """The inverse of `scaled`, without the ink that no image has."""
    return ((x + 1) * HALF_INK).clamp(0.0, odenet.PIXEL_MAX)


class Velocity(nn.Module):
    """The velocity of images on their way from noise (t = 0) to digits (t = 1), for each class and for all together."""

    frequencies: Tensor

    def __init__(self, *, hidden: int = 128, blocks: int = 2) -> None:
        super().__init__()
        self.label = nn.Embedding(CLASSES + 1, hidden)
        self.time = nn.Linear(2 * FREQUENCIES, hidden)
        self.enter = nn.Linear(PIXELS, hidden)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, hidden), nn.SiLU()) for _ in range(blocks)
        )
        self.leave = nn.Linear(hidden, PIXELS)
        self.register_buffer("frequencies", math.pi * torch.arange(1, FREQUENCIES + 1), persistent=False)

    def forward(self, t: Tensor, x: Tensor, label: Tensor) -> Tensor:
        """t: (batch, 1) or scalar; x: (batch, 64); label: (batch,), 10 for any class. Returns dx/dt, shaped like x."""
        angle = t * self.frequencies
        time = self.time(torch.cat([angle.sin(), angle.cos()], dim=-1))
        h = nn.functional.silu(self.enter(x) + self.label(label) + time)
        for block in self.blocks:
            h = h + block(h + time)
        return self.leave(h)


def matching_loss(velocity: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The squared error of the velocity at random places of straight paths from noise to images."""
    batch = len(images)
    x1 = scaled(images)
    x0, t = torch.randn_like(x1), torch.rand(batch, 1)
    label = torch.where(torch.rand(batch) < UNLABELLED, ANY_CLASS, labels)
    return (velocity(t, x0 + t * (x1 - x0), label) - (x1 - x0)).square().mean()


class Guided(nn.Module):
    """A sampler in which the caller chooses the guidance, and the steps by their times.

    method: a fixed-step method of torchdiffeq; its steps go from each time to the next.
    """

    def __init__(self, velocity: Velocity, *, method: str = "midpoint") -> None:
        super().__init__()
        self.velocity = velocity
        self.method = method

    def forward(self, noise: Tensor, label: Tensor, guidance: Tensor, times: Tensor) -> Tensor:
        """Digits (batch, 64) of the wanted classes, with ink from 0 to 16.

        noise: (batch, 64), standard normal; label: (batch,), from 0 to 9; guidance: (batch,), where 0 is a digit of any
        class, 1 is one of the class, and more exaggerates what is typical of the class; times: (steps + 1,), rising
        from 0 to 1.
        """
        anything = torch.full_like(label, ANY_CLASS)

        def field(t: Tensor, x: Tensor) -> Tensor:
            for_any = self.velocity(t, x, anything)
            for_class = self.velocity(t, x, label)
            return for_any + guidance[:, None] * (for_class - for_any)

        return inked(odeint(field, noise, times, method=self.method)[-1])


class Sampler(nn.Module):
    """The sampler with 16 steps and a guidance of 2."""

    def __init__(self, velocity: Velocity) -> None:
        super().__init__()
        self.guided = Guided(velocity)
        self.register_buffer("times", torch.linspace(0.0, 1.0, STEPS + 1), persistent=False)

    def forward(self, noise: Tensor, label: Tensor) -> Tensor:
        """Digits (batch, 64) of noise (batch, 64) and classes (batch,)."""
        return self.guided(noise, label, torch.full_like(noise[:, 0], GUIDANCE), self.times)


class VAE(nn.Module):
    """The discrete twin: a variational autoencoder with classes, whose decoder makes a digit of noise in one call.

    Follows Kingma and Welling, "Auto-Encoding Variational Bayes" (2014), and Sohn et al., "Learning Structured Output
    Representation using Deep Conditional Generative Models" (2015). latent: how many of the 64 numbers of noise the
    decoder reads.
    """

    def __init__(self, *, latent: int = 16, hidden: int = 128) -> None:
        super().__init__()
        self.latent = latent
        self.encoder = nn.Sequential(
            nn.Linear(PIXELS + CLASSES, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, 2 * latent),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent + CLASSES, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, PIXELS),
        )
        self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, noise: Tensor, label: Tensor) -> Tensor:
        """Digits (batch, 64) of noise (batch, 64) and classes (batch,), with ink from 0 to 16."""
        return inked(self.decoded(noise[:, : self.latent], label))

    def decoded(self, code: Tensor, label: Tensor) -> Tensor:
        """Images (batch, 64) from -1 to 1, of codes (batch, latent) and classes (batch,)."""
        return self.decoder(torch.cat([code, nn.functional.one_hot(label, CLASSES)], dim=1))


def evidence_loss(vae: VAE, images: Tensor, labels: Tensor) -> Tensor:
    """The negative lower bound of the log-likelihood of images given their classes, per pixel; pixels are Gaussian."""
    x = scaled(images)
    mean, log_variance = vae.encoder(torch.cat([x, nn.functional.one_hot(labels, CLASSES)], dim=1)).chunk(2, dim=1)
    code = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
    error = (x - vae.decoded(code, labels)) / vae.log_scale.exp()
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
    return 0.5 * error.square().mean() + vae.log_scale + divergence / PIXELS


def sample_inputs(batch: int) -> tuple[Tensor, Tensor]:
    """Noise (batch, 64) and classes (batch,), from 0 to 9 and again."""
    noise = torch.randn(batch, PIXELS, generator=torch.Generator().manual_seed(0))
    return noise, torch.arange(batch) % CLASSES


def guided_inputs(batch: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The arguments of `Guided`, with eight steps."""
    return (*sample_inputs(batch), torch.linspace(1.0, 3.0, batch), torch.linspace(0.0, 1.0, 9))


@cache
def reader() -> nn.Module:
    """The classifier that reads samples: the trained `resnet` of the family `odenet`."""
    return odenet.FAMILY.trained("resnet")


def read_as_wanted(call: Call, images: Tensor, labels: Tensor) -> float:
    """The share of samples that the classifier reads as the class they were made for, from 0 to 1.

    One sample is made for each held-out image, of the same class; the images themselves are not used.
    """
    with torch.no_grad():
        samples = call(sample_inputs(len(images))[0], labels)
    return accuracy(reader(), samples, labels)


def gaussians(data: Data) -> float:
    """What `read_as_wanted` returns for samples of one Gaussian a class, with the mean and covariance of its images."""
    images, labels = data.train
    means, roots = [], []
    for number in range(CLASSES):
        chosen = images[labels == number]
        covariance = torch.cov(chosen.T) + 1e-3 * torch.eye(PIXELS)  # Some pixels are always empty.
        means.append(chosen.mean(0))
        roots.append(torch.linalg.cholesky(covariance))

    def sample(noise: Tensor, label: Tensor) -> Tensor:
        drawn = torch.stack(means)[label] + (torch.stack(roots)[label] @ noise[:, :, None])[:, :, 0]
        return drawn.clamp(0.0, odenet.PIXEL_MAX)

    return read_as_wanted(sample, *data.test)


DRAWN_STEPS = (1, 2, 4, 8, 16)
DRAWN_GUIDANCE = ((1.0, "#0072B2", "o"), (2.0, "#D55E00", "s"), (4.0, "#009E73", "^"))
DRAWN_CLASSES = torch.tensor([2, 3, 5, 8])


def draw(figure: Any, calls: Mapping[str, Call], data: Data) -> None:
    """Samples against the number of steps and guidance, and how many of them the classifier reads as wanted."""
    guided, labels = calls["flow_matching-guided"], data.test[1]
    noise = sample_inputs(len(labels))[0]
    left, right = figure.add_gridspec(1, 2, width_ratios=(2, 3))
    shares = figure.add_subplot(left)
    cells = right.subgridspec(len(DRAWN_GUIDANCE), len(DRAWN_STEPS), wspace=0.05, hspace=0.05)
    for row, (guidance, colour, marker) in enumerate(DRAWN_GUIDANCE):
        read = []
        for column, steps in enumerate(DRAWN_STEPS):
            times = torch.linspace(0.0, 1.0, steps + 1)
            samples = guided(noise, labels, torch.full_like(noise[:, 0], guidance), times)
            read.append(accuracy(reader(), samples, labels))
            chosen = slice(len(DRAWN_CLASSES))
            few = guided(noise[chosen], DRAWN_CLASSES, torch.full_like(noise[chosen, 0], guidance), times)
            axes = figure.add_subplot(cells[row, column])
            framed = nn.functional.pad(few.reshape(2, 2, odenet.SIDE, odenet.SIDE), (1, 1, 1, 1))
            axes.imshow(torch.cat(list(torch.cat(list(framed.transpose(0, 1)), dim=2)), dim=0), cmap="gray_r")
            axes.set_xticks([])
            axes.set_yticks([])
            if row == 0:
                axes.set_title(f"{steps} step{'s' if steps > 1 else ''}", fontsize=9)
            if column == 0:
                axes.set_ylabel(f"guidance\n{guidance:g}", fontsize=9, color=colour)
        shares.plot(DRAWN_STEPS, read, color=colour, marker=marker, label=f"guidance {guidance:g}")
    shares.axhline(read_as_wanted(calls["vae-sample"], *data.test), color="gray", linestyle="--", label="VAE, one call")
    shares.set_xscale("log", base=2)
    shares.set_xticks(DRAWN_STEPS, [str(steps) for steps in DRAWN_STEPS])
    shares.set_ylim(0.0, 1.03)
    shares.set_xlabel("steps of the midpoint method")
    shares.set_ylabel("share read as wanted")
    shares.legend(fontsize=8, loc="lower right")


_SAMPLE_AXES = {"noise": {0: "batch"}, "label": {0: "batch"}}
_USES = {
    "sample": Use(module=Sampler, inputs=sample_inputs, dynamic=_SAMPLE_AXES),
    "guided": Use(
        module=Guided,
        inputs=guided_inputs,
        dynamic={**_SAMPLE_AXES, "guidance": {0: "batch"}, "times": {0: "count"}},
    ),
}
FAMILY = Family(
    title="Flow matching",
    about="A generator of images of a wanted class, which follows a learned velocity from noise to data. The caller "
    "chooses the number of steps and the guidance at each call; strong guidance needs more steps, and a few suffice.",
    source="Lipman, Chen, Ben-Hamu, Nickel, Le, Flow Matching for Generative Modeling (2023)",
    data=datasets.digits,
    members={
        "flow_matching": Member(
            about="a velocity for each class and for all together, 16 midpoint steps, guidance 2",
            build=Velocity,
            loss=matching_loss,
            uses=_USES,
            settings={"epochs": 600, "batch_size": 128, "learning_rate": 2e-3},
        ),
        "vae": Member(
            about="the decoder of a variational autoencoder with classes, one call for a sample",
            build=VAE,
            loss=evidence_loss,
            uses={"sample": Use(inputs=sample_inputs, dynamic=_SAMPLE_AXES)},
            discrete=True,
            settings={"epochs": 200, "batch_size": 128, "learning_rate": 2e-3},
        ),
    },
    metric="share read as wanted",
    higher=True,
    score=read_as_wanted,
    baseline=("a Gaussian for each class", gaussians),
    draw=draw,
)
