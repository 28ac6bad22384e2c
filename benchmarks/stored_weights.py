"""Size, speed and error of models whose weights are stored in fewer bits. Writes results/stored_weights.json.

All artifacts of a model run in turns on one thread; times are those of the processor for this thread, so that other
work on the machine counts little. The digits are the trained model of this repository, with its accuracy on held-out
digits; the weights of the other two are random.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import thread_time
from typing import Any

import record  # It must come first: it sets the threads of the libraries.
import numpy as np
import solved
import torch
from torch import Tensor, nn
from transformer import Sampler
from unet import UNet

import odelet
from odelet.artifact.weights import STORED
from odelet.commands.latency import interleaved
from odelet_export import export

AS_THEY_ARE = "as-they-are"


@dataclass(frozen=True)
class Case:
    """A model to export. inputs: its arguments for a batch. batches: the batch sizes. labels: whether it classifies the
    held-out digits."""

    title: str
    build: Callable[[], nn.Module]
    inputs: Callable[[int], dict[str, Tensor]]
    batches: tuple[int, ...]
    labels: bool = False


def _digits() -> nn.Module:
    from odelet_models.odenet import digits_pretrained

    return digits_pretrained().eval()


def _images(batch: int) -> dict[str, Tensor]:
    from odelet_models.datasets import digits

    return {"x": torch.from_numpy(np.resize(digits().test[0].numpy(), (batch, 64)).astype(np.float32))}


def _latents(batch: int) -> dict[str, Tensor]:
    return {"z": torch.randn(batch, 4, 16, 16), "y": torch.arange(batch) % 10}


CASES = {
    "digits": Case("digits ODE-Net", _digits, _images, (1, 64, 360), labels=True),
    "transformer": Case(
        "transformer, 2 layers, 256 wide, 8 steps", lambda: Sampler(layers=2, width=256, heads=4), _latents, (1, 4)
    ),
    "unet": Case(
        "U-Net, 10 steps", lambda: solved.Sampler(UNet()), lambda batch: {"x": torch.randn(batch, 4, 16, 16)}, (1, 8)
    ),
}


def accuracy(outputs: dict[str, np.ndarray], data: dict[str, np.ndarray]) -> float:
    """The share of images whose digit is right."""
    (scores,) = outputs.values()
    return float((scores.argmax(1) == data["labels"]).mean())


def measure(name: str, *, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield a row for each batch and way of storing weights."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    case = CASES[name]
    model = case.build().eval()
    artifacts, facts = {}, {}
    for way in (AS_THEY_ARE, *STORED):
        exported = export(
            model,
            tuple(case.inputs(2).values()),
            record.OUT / "stored_weights" / f"{name}-{way}",
            dynamic={key: {0: "batch"} for key in case.inputs(2)},
            samples=2,
            **({} if way == AS_THEY_ARE else {"weights": way, "max_error": 1.0} | _data(case)),
        )
        artifacts[way] = odelet.load(exported.path, threads=1)
        size = sum(entry.bytes for file, entry in exported.card.files.items() if file != "samples.npz")
        reduced = exported.parity.reduced
        metric = None if reduced is None or reduced.metric is None else round(reduced.metric.artifact, 4)
        facts[way] = {"bytes": size, "error": float(f"{exported.parity.max_rel:.3g}"), "metric": metric}
    for batch in case.batches:
        arrays = [tensor.numpy() for tensor in case.inputs(batch).values()]
        latencies = interleaved(
            {way: (lambda artifact=artifact, arrays=arrays: artifact(*arrays)) for way, artifact in artifacts.items()},
            seconds=0.5 if quick else 3,
            turns=(5 if quick else 20, 500),
            warmup=2,
            clock=thread_time,
        )
        for way, latency in latencies.items():
            over = round(latency.over(latencies[AS_THEY_ARE]), 2)
            yield {
                "title": case.title,
                "batch": batch,
                "weights": way,
                **facts[way],
                **record.milliseconds(latency),
                "over": over,
                "load": round(os.getloadavg()[0], 1),
            }


def _data(case: Case) -> dict[str, Any]:
    """The data and the metric of a model that classifies."""
    if not case.labels:
        return {}
    from odelet_models.datasets import digits

    images, labels = (part.numpy() for part in digits().test)
    return {"data": {"x": images, "labels": labels}, "metric": accuracy}


if __name__ == "__main__":
    record.run("stored_weights", measure, CASES, __doc__)
