"""The models to time, with their inputs, batches and peers. Every way to run a model has the same weights, inputs and
settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from controlled import Controlled, series
from graph import NODES, Graph, features
from solved import Array, Decoder, Digits, Flow, Layers, Sampler, Solved, read_me, short_spiral, spiral
from torch import nn
from transformer import GuidedTokens
from unet import UNet

from odelet_models.odenet import SIDE

# Forms with steps of one length, and forms with step control.
FIXED = ("unrolled", "rolled")
DRIVES = ("adaptive", "driven")
# The peers of models that cannot give each sample a time of its own.
ON_WHOLE_BATCHES = ("torchdiffeq", "torchdiffeq, compiled field", "diffrax")


def sequences(tokens: int, batch: int) -> Array:
    """Normal sequences (batch, tokens, 16)."""
    return points(tokens * 16, batch).reshape(batch, tokens, 16)


def latents(batch: int) -> Array:
    """Normal images (batch, 4, 16, 16)."""
    return points(4 * 16 * 16, batch).reshape(batch, 4, 16, 16)


def points(width: int, batch: int, *, seed: int = 1, norm: tuple[float, float] | None = None) -> Array:
    """Points (batch, width) in every direction, with norms drawn evenly from a range; normal ones without a range."""
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(batch, width))
    if norm is not None:
        rows *= generator.uniform(*norm, size=(batch, 1)) / np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32)


def images(batch: int) -> Array:
    """Held-out handwritten digits (batch, 64), repeated where the batch is larger than their number."""
    from odelet_models.datasets import digits

    return np.resize(digits().test[0].numpy(), (batch, SIDE * SIDE)).astype(np.float32)


@dataclass(frozen=True)
class Workload:
    """A model to time.

    title: its name in tables. build: makes the torch model. inputs: makes an input of a batch size. batches: the batch
    sizes to time. forms: the forms that it is exported to, each with further arguments of `export`. peers: the names in
    peers.PEERS of the solvers to compare with. open: whether the artifact takes any batch, or only the first one.
    """

    title: str
    build: Callable[[], Solved]
    inputs: Callable[[int], Array]
    batches: tuple[int, ...]
    forms: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: dict.fromkeys(DRIVES, {}))
    peers: tuple[str, ...] = ("torchdiffeq", "torchdiffeq, compiled field", "torchode", "diffrax", "SciPy")
    open: bool = True


def _fixed(steps: int) -> Workload:
    changes = {"method": "rk4", "steps": steps}
    return Workload(
        f"spiral, rk4, {steps} steps",
        short_spiral,
        partial(points, 2, norm=(1.5, 2.0)),
        (1, 256, 4096),
        dict.fromkeys(FIXED, changes),
        (f"torchdiffeq, rk4, {steps} steps", f"torchdiffeq, rk4, {steps} steps, compiled whole"),
    )


def _sampled(title: str, field: Callable[[], nn.Module], inputs: Callable[[int], Array], *batches: int) -> Workload:
    """A sampler by ten steps of euler along a field with random weights."""
    return Workload(
        f"{title}, euler, 10 steps",
        partial(_sampler, field),
        inputs,
        batches,
        dict.fromkeys(FIXED, {}),
        ("torchdiffeq", "torchdiffeq, compiled field", "torchdiffeq, compiled whole", "diffrax"),
    )


def _sampler(field: Callable[[], nn.Module]) -> Solved:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Sampler(field()).eval()


def _guided(tokens: int, *batches: int) -> Workload:
    title = f"transformer with guidance, {tokens} tokens"
    return _sampled(title, partial(GuidedTokens, tokens=tokens), partial(sequences, tokens), *batches)


WORKLOADS = {
    "spiral": Workload("spiral MLP 2-64-64-2", spiral, partial(points, 2, norm=(1.5, 2.0)), (1, 16, 256, 4096)),
    "mlp": Workload(
        "MLP 64-512-512-64",
        lambda: Solved(Layers(64, 512, 512, 64, gain=1.6), torch.tensor([0.0, 5.0])).eval(),
        partial(points, 64),
        (1, 64),
    ),
    "digits": Workload("digits ODE-Net", lambda: Digits().eval(), images, (1, 64, 360)),
    "latent": Workload("latent ODE decoder, 100 times", lambda: Decoder().eval(), partial(points, 20), (1, 64)),
    "flow": Workload("normalizing flow, exact trace", lambda: Flow().eval(), partial(points, 2), (1024,)),
    **{f"rk4-{steps}": _fixed(steps) for steps in (8, 32, 128)},
    "guided-50": _guided(50, 1),
    "guided-200": _guided(200, 1, 4),
    "unet": _sampled("U-Net, images of 4 x 16 x 16", UNet, latents, 1, 8),
    # The batch of a graph is its nodes.
    "graph": Workload(
        "graph, its nodes as the batch", lambda: Graph().eval(), features, (NODES,), peers=ON_WHOLE_BATCHES, open=False
    ),
    "cde": Workload("neural CDE, 50 knots", lambda: Controlled().eval(), series, (1, 64), peers=ON_WHOLE_BATCHES),
}
# With a fixed batch, the graph need not reshape values between the field and the solver.
WORKLOADS |= {
    f"{name}-of-one": replace(WORKLOADS[name], batches=(1,), peers=(), open=False) for name in ("spiral", "rk4-32")
}
# Models so small that their solves are timed in native code alone.
SMALL = {"readme": Workload("README spiral, 50 times", read_me, partial(points, 2, norm=(1.5, 2.0)), (1,))}
