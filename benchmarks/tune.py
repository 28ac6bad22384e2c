"""Runs `odelet tune` on the digits ODE-Net and the spiral, and draws a solve with `odelet plot`, for docs/tune.md.

Writes docs/tune-*.png and docs/plot-van-der-pol.png, and the results between the marks of docs/tune.md. `make tuned`
runs it in ten minutes on one core. An interrupted run goes on where it stopped; --anew discards what out/tune holds.
"""

from __future__ import annotations

import argparse
import os
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchdiffeq import odeint

import odelet
from odelet.commands.plot import draw, record
from odelet_export import Tuning, export
from odelet_export.commands.tune_command import perform
from odelet_export.tuning.pareto import draw as draw_pareto
from odelet_export.tuning.report import HEADS, cells, heads_of
from odelet_export.tuning.settings import TuneSettings
from odelet_models.datasets import digits

ROOT = Path(__file__).resolve().parents[1]
DOCS, OUT, PAGE = ROOT / "docs", Path("out") / "tune", ROOT / "docs" / "tune.md"
MARK = "<!-- {}: make tuned -->\n"
MODELS = {
    "digits": ("odelet_models.odenet:digits", ["--weights", "models/odelet_models/weights/odenet.safetensors"]),
    "spiral": ("benchmarks/tune.py:Spiral", []),
}


class Spiral(torch.nn.Module):
    """Curves that wind inwards: dy/dt = A y^3, from each row of y0; the model of examples/quickstart.py."""

    def forward(self, y0):
        a = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]])
        t = torch.linspace(0.0, 10.0, 50)
        return odeint(lambda t, y: y**3 @ a.T, y0, t, method="dopri5", rtol=1e-5, atol=1e-5)


class VanDerPol(torch.nn.Module):
    """Van der Pol's oscillator with mu = 5, which is somewhat stiff, over nearly two periods from each row of y0."""

    def forward(self, y0):
        def field(t, y):
            x, v = y[:, 0], y[:, 1]
            return torch.stack([v, 5 * (1 - x * x) * v - x], 1)

        t = torch.tensor([0.0, 20.0], dtype=y0.dtype)
        return odeint(field, y0, t, method="dopri5", rtol=1e-4, atol=1e-5)[-1]


def accuracy(outputs, data):
    """The share of digits that are classified correctly, from 0 to 1."""
    return np.mean(outputs["output"].argmax(1) == data["labels"])


def tuned(*, anew: bool) -> dict[str, Tuning]:
    """The tunings of both models for an error of 1e-3, by the name of the model."""
    OUT.mkdir(parents=True, exist_ok=True)
    images, labels = (part.numpy() for part in digits().test)
    np.savez(OUT / "digits.npz", x=images, labels=labels)
    y0 = np.random.default_rng(0).uniform(0.5, 2, (64, 2)).astype(np.float32)
    np.savez(OUT / "spiral.npz", y0=y0)
    tunings = {}
    for name, (model, weights) in MODELS.items():
        metric = "benchmarks/tune.py:accuracy" if name == "digits" else None
        file = Path(weights[1]) if weights else None
        settings = TuneSettings(target=1e-3)
        tunings[name] = perform(model, OUT / f"{name}.npz", [], file, metric, OUT / name, settings, anew=anew)
    return tunings


def section(name: str, tuning: Tuning) -> str:
    """The section of docs/tune.md about a tuning: the choice, the Pareto front, and the model as it is."""
    choice, heads = tuning.raise_if_none(), heads_of(tuning)
    rows = [row for row in tuning.complete if row in tuning.front or row.candidate.method is None or row == choice]
    count = len(tuning.record.latest())
    lines = [
        f"{count} candidates on {choice.samples} samples; the Pareto front, and the model as it is:",
        "",
        "| " + " | ".join(heads) + " |",
        "|" + "|".join("---" if head in HEADS[:3] else "--:" for head in heads) + "|",
    ]
    for row in rows:
        mark = "**" if row == choice else ""
        lines.append("| " + " | ".join(f"{mark}{cell}{mark}" if cell else "" for cell in cells(row, heads)) + " |")
    uncertainty = tuning.record.reference["uncertainty"]
    lines += [
        "",
        f"![Error against milliseconds](tune-{name}.png)",
        "",
        f"The reference's answers at two tight tolerances differ by {uncertainty:.1e}. The command of the choice is",
        "",
        "```sh",
        tuning.record.command,
        "```",
        "",
    ]
    return "\n".join(lines)


def put(text: str, name: str, content: str) -> str:
    """The text of a page, with `content` between the two marks of `name`."""
    start, end = MARK.format(name), MARK.format(f"end of {name}")
    before, rest = text.split(start)
    return before + start + content + end + rest.split(end)[1]


def save(figure, path: Path, *, colours: int = 64) -> None:
    """Save a figure in few colours, which makes the file a third of the size."""
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=90)
    Image.open(picture).convert("RGB").quantize(colours).save(path, optimize=True)


def plot(*, anew: bool) -> None:
    """Draw a solve that has rejected steps."""
    y0, out = np.array([[2.0, 0.0]]), OUT / "van_der_pol"
    if anew or not out.exists():
        export(VanDerPol(), (torch.tensor(y0),), out, form="driven", dynamic={"y0": {0: "batch"}}, samples=1)
    save(draw(record(odelet.load(out), {"y0": y0})), DOCS / "plot-van-der-pol.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--anew", action="store_true", help="discard earlier measurements and begin again")
    anew = parser.parse_args().anew
    os.chdir(ROOT)
    torch.set_num_threads(1)
    plot(anew=anew)
    text = PAGE.read_text(encoding="utf-8")
    for name, tuning in tuned(anew=anew).items():
        save(draw_pareto(tuning), DOCS / f"tune-{name}.png")
        text = put(text, name, section(name, tuning))
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
