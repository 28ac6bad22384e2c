"""What training under `odelet_train.watched` changes: calls on the device, and memory. Writes results/training.json.

Three parts. `digits`: an ODE-Net on handwritten digits, plain and with the kinetic energy in its loss; its artifact in
the form `driven` solves the test digits at a tolerance of 1e-6. `moons`: FFJORD on two moons, plain and with the
kinetic energy and the Jacobian in its loss, likewise at 1e-5. `memory`: the peak memory of a loss and its gradient,
with 10 and with 100 steps, by `odeint` as it is and with `adjoint=True`; each in a process of its own.
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import record  # It must come first: it sets the threads of the libraries.
import torch
from torch import Tensor, nn
from torchdiffeq import odeint

import odelet
from odelet_export import export
from odelet_train import watched

TIMES = torch.tensor([0.0, 1.0])
# The weights of the kinetic energy and of the Jacobian for FFJORD; both integrals are means over two dimensions.
MOONS = (0.0, 0.04, 0.1, 0.2)


class Field(nn.Module):
    """A network of tanh layers with the time as one more input."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        ins = (widths[0] + 1, *widths[1:-1])
        layers = [layer for a, b in zip(ins, widths[1:], strict=True) for layer in (nn.Linear(a, b), nn.Tanh())]
        self.net = nn.Sequential(*layers[:-1])

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """t: scalar; y: (batch, dim). Returns dy/dt, shaped like y."""
        return self.net(torch.cat([y, t.expand(y.shape[0], 1)], dim=1))


class Digits(nn.Module):
    """Classes of 8 x 8 digits, with an ODE of 32 dimensions in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.field, self.head = nn.Linear(64, 32), Field(32, 96, 32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, 64), from 0 to 1. Returns logits (batch, 10)."""
        return self.head(odeint(self.field, self.encoder(x), TIMES, method="dopri5", rtol=1e-4, atol=1e-4)[-1])


class Flow(nn.Module):
    """FFJORD (Grathwohl et al. 2019) in two dimensions, with the exact divergence. The solver is rk4 in training."""

    def __init__(self) -> None:
        super().__init__()
        self.field = Field(2, 48, 48, 2)

    def with_divergence(self, t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """The derivatives of a point and of its log-density."""
        with torch.enable_grad():
            y = state[0] if state[0].requires_grad else state[0].detach().requires_grad_(True)
            v = self.field(t, y)
            rows = [torch.autograd.grad(v[:, i].sum(), y, create_graph=True)[0][:, i] for i in range(2)]
        return v, -(rows[0] + rows[1])

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, 2). Returns log p(x), (batch,)."""
        how: dict[str, Any] = {"method": "dopri5", "rtol": 1e-5, "atol": 1e-5}
        if self.training:
            how = {"method": "rk4", "options": {"step_size": 0.125}}
        z, change = odeint(self.with_divergence, (x, x.new_zeros(x.shape[0])), TIMES, **how)
        return -0.5 * (z[-1] ** 2).sum(1) - math.log(2 * math.pi) - change[-1]


def fitted(model: nn.Module, loss: Callable[[int], Tensor], *, steps: int, rate: float, **watch: Any) -> list[int]:
    """Train a model by Adam, with a rate that falls to 0. Returns the calls of the field in each step."""
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    calls = []
    for step in range(steps):
        optimizer.zero_grad()
        with watched(**watch) as solves:
            value = loss(step)
        (value + solves.cost).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        calls.append(sum(solves.calls.values()))
    return calls


def on_device(name: str, model: nn.Module, x: Tensor, tolerance: float) -> tuple[Any, int]:
    """The output of the artifact for a batch, and its calls of the field."""
    out = record.OUT / f"training-{name}"
    export(model.eval(), (x[:4],), out, form="driven", dynamic={"x": {0: "batch"}}, rtol=tolerance, atol=tolerance)
    solution = odelet.load(out).solve(x.numpy())
    return torch.from_numpy(next(iter(solution.outputs.values()))), solution.stats.evaluations


def digits(quick: bool) -> Iterator[dict[str, Any]]:
    from odelet_models.datasets import digits as load

    data = load()
    (x, labels), (test, answers) = data.train, data.test
    x, test = x / 16, test / 16
    for kind, watch in (("plain", {}), ("kinetic=0.1", {"kinetic": 0.1})):
        torch.manual_seed(0)
        model = Digits()

        def loss(_step: int, model: nn.Module = model) -> Tensor:
            rows = torch.randint(0, len(x), (128,))
            return nn.functional.cross_entropy(model(x[rows]), labels[rows])

        calls = fitted(model, loss, steps=10 if quick else 600, rate=3e-3, **watch)
        logits, evaluations = on_device(f"digits-{kind}", model, test, 1e-6)
        accuracy = (logits.argmax(1) == answers).double().mean().item()
        yield {"kind": kind, "calls": evaluations, "accuracy": accuracy, "training": [calls[0], calls[-1]]}


def moons(quick: bool) -> Iterator[dict[str, Any]]:
    from sklearn.datasets import make_moons

    points = torch.tensor(make_moons(2000, noise=0.08, random_state=0)[0], dtype=torch.float32)
    points = (points - points.mean(0)) / points.std(0)
    held = torch.arange(len(points)) % 5 == 0
    for weight in MOONS:
        torch.manual_seed(0)
        model, kind = Flow(), f"kinetic=jacobian={weight}" if weight else "plain"

        def loss(_step: int, model: nn.Module = model) -> Tensor:
            rows = points[~held][torch.randint(0, int((~held).sum()), (128,))]
            return -model(rows + 0.02 * torch.randn_like(rows)).mean()

        fitted(model, loss, steps=5 if quick else 1500, rate=5e-3, kinetic=weight, jacobian=weight)
        found, evaluations = on_device(f"moons-{weight}", model, points[held], 1e-5)
        yield {"kind": kind, "calls": evaluations, "nats": -found.double().mean().item()}


def peak(kind: str, steps: int) -> float:
    """By how much a loss with its gradient raises the memory of this process at its peak, in MiB; on Linux alone."""
    torch.manual_seed(0)
    field, y0 = Field(64, 256, 64), torch.randn(1024, 64)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # forgets the peak of before
    before = kibibytes("VmRSS")
    with watched(adjoint=kind == "adjoint"):
        y1 = odeint(field, y0, TIMES, method="rk4", options={"step_size": 1 / steps})[-1]
    y1.square().mean().backward()
    return (kibibytes("VmHWM") - before) / 1024


def kibibytes(name: str) -> int:
    """A field of this process's status."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def memory(quick: bool) -> Iterator[dict[str, Any]]:
    for kind in ("odeint", "adjoint"):
        for steps in (10, 20 if quick else 100):
            code = f"import training; print(training.peak({kind!r}, {steps}))"
            ran = subprocess.run(
                [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
            )
            yield {"kind": kind, "steps": steps, "MiB": round(float(ran.stdout), 1)}


PARTS: dict[str, Callable[[bool], Iterator[dict[str, Any]]]] = {"digits": digits, "moons": moons, "memory": memory}


def measure(name: str, *, quick: bool) -> Iterator[dict[str, Any]]:
    for row in PARTS[name](quick):
        yield {"part": name, **row}


if __name__ == "__main__":
    record.run("training", measure, PARTS, __doc__)
