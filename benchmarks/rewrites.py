"""How fast operators and layers are in ONNX Runtime, as they are and rewritten. Writes results/rewrites.json.

Each is applied four times in a row, in one model without a solve, on one thread. Both exports of a model, and the model
in torch, run in turns, and times are those of the processor for this thread, so that other work on the machine counts
little. A layer whose operators no rewrite replaces has one time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import thread_time
from typing import Any

import record  # It must come first: it sets the threads of the libraries.
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import odelet
from odelet.commands.latency import interleaved
from odelet_export import export

REPEATED = 4


@dataclass(frozen=True)
class Case:
    """A layer to time. apply: the layer. shape: of one batch row. batches: the batch sizes."""

    apply: Callable[[Tensor], Tensor]
    shape: tuple[int, ...] = (64,)
    batches: tuple[int, ...] = (4, 256, 1440)


class Repeated(nn.Module):
    """A layer, applied several times in a row."""

    def __init__(self, apply: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer = apply

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(REPEATED):
            x = self.layer(x)
        return x


class TimeChannel(nn.Module):
    """A layer of an image or a row, with the time as one more channel."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        time = torch.ones_like(x[:, :1]) * x.new_tensor(0.3)
        out: Tensor = self.layer(torch.cat([time, x], 1))
        return out


torch.manual_seed(0)
IMAGES = {"shape": (16, 4, 4), "batches": (1, 64, 360)}
CASES = {
    "ReLU": Case(F.relu),
    "LeakyReLU": Case(F.leaky_relu),
    "PReLU": Case(nn.PReLU()),
    "Sigmoid": Case(torch.sigmoid),
    "Tanh": Case(torch.tanh),
    "Softplus": Case(F.softplus),
    "Softplus, 2,048 wide": Case(F.softplus, (2048,), (1, 8, 45)),
    "SiLU": Case(F.silu),
    "GELU": Case(F.gelu),
    "GELU by tanh": Case(lambda x: F.gelu(x, approximate="tanh")),
    "ELU": Case(F.elu),
    "SELU": Case(F.selu),
    "CELU": Case(F.celu),
    "Mish": Case(F.mish),
    "HardSwish": Case(F.hardswish),
    "Softsign": Case(F.softsign),
    "LogSigmoid": Case(F.logsigmoid),
    "sine": Case(torch.sin),
    "cube": Case(lambda x: x**3 * 0.3),
    "LayerNorm": Case(nn.LayerNorm(64)),
    "GroupNorm, images of 4 x 4": Case(nn.GroupNorm(4, 16), **IMAGES),
    "GroupNorm, images of 16 x 16": Case(nn.GroupNorm(4, 16), (16, 16, 16), (1, 16)),
    "convolution, images of 4 x 4": Case(nn.Conv2d(16, 16, 3, padding=1), **IMAGES),
    "convolution with the time, 4 x 4": Case(TimeChannel(nn.Conv2d(17, 16, 3, padding=1)), **IMAGES),
    "convolution with the time, 16 x 16": Case(TimeChannel(nn.Conv2d(17, 16, 3, padding=1)), (16, 16, 16), (1, 16)),
    "convolution with the time, 64 channels": Case(TimeChannel(nn.Conv2d(65, 64, 3, padding=1)), (64, 8, 8), (1, 16)),
    "Linear with the time": Case(TimeChannel(nn.Linear(65, 64))),
    "Linear 2 to 2 by 64 and tanh": Case(nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 2)), (2,)),
}


def measure(name: str, *, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield a row for each batch: the times of both exports and of torch, and medians of the ratios of turns."""
    torch.set_num_threads(1)
    case = CASES[name]
    model = Repeated(case.apply).eval()
    artifacts = {}
    for way, rewritten in (("rewritten", True), ("as it is", False)):
        folder = record.OUT / "rewrites" / way
        example = torch.randn(3, *case.shape)
        axes = {"x": {0: "batch"}}
        export(model, (example,), folder, dynamic=axes, form="plain", samples=1, quick=True, rewrite=rewritten)
        artifacts[way] = odelet.load(folder, threads=1)
    same = _graph(artifacts["rewritten"]) == _graph(artifacts["as it is"])
    for batch in case.batches:
        x = torch.randn(batch, *case.shape)
        latencies = interleaved(
            _calls({"as it is": artifacts["as it is"]} if same else artifacts, model, x),
            seconds=0.5 if quick else 3,
            turns=(5 if quick else 20, 500),
            warmup=2,
            clock=thread_time,
        )
        torchs = latencies["torch"]
        yield {
            "batch": batch,
            **{way: record.milliseconds(latency) for way, latency in latencies.items()},
            "over torch": {way: round(latency.over(torchs), 2) for way, latency in latencies.items() if way != "torch"},
            "load": round(os.getloadavg()[0], 1),
        }


def _graph(artifact: odelet.Model) -> bytes:
    assert artifact.folder is not None
    return (artifact.folder / "model.onnx").read_bytes()


def _calls(artifacts: dict[str, odelet.Model], model: nn.Module, x: Tensor) -> dict[str, Callable[[], object]]:
    array = x.numpy()

    def in_torch() -> None:
        with torch.no_grad():
            model(x)

    calls = {way: (lambda artifact=artifact: artifact(array)) for way, artifact in artifacts.items()}
    return {**calls, "torch": in_torch}


if __name__ == "__main__":
    record.run("rewrites", measure, CASES, __doc__)
