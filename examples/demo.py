"""The demo: export a trained model in four forms, and run it without torch.

A small ODE-Net (Chen et al., 2018) classifies 8 x 8 handwritten digits. This script exports it and starts
demo_device.py, which runs the 360 held-out digits through each artifact in a process that cannot import torch. Then it
compares the answers with torch's, and draws some of the digits. Run it with `make demo`; it takes a minute.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from time import perf_counter

import matplotlib
import numpy as np
import torch
from demo_device import measure
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torchdiffeq import odeint

from odelet_export import export
from odelet_models.datasets import digits
from odelet_models.odenet import digits_pretrained

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "out" / "demo"
STEPS = 4
# The model solves with dopri5. The forms unrolled and rolled need a method with fixed steps.
RK4 = {"method": "rk4", "steps": STEPS}
FORMS = {"unrolled": RK4, "rolled": RK4, "adaptive": {}, "driven": {}}
METHODS = {form: changes.get("method", "dopri5") for form, changes in FORMS.items()}

console = Console(highlight=False)
# In a narrower terminal, lines that wrap are easier to read than columns that are cut off.
console.width = max(console.width, 76)


def torch_rk4(model, x):
    """The logits that the model would compute if it were written with rk4."""
    state = model.stem((x / 16).reshape(-1, 1, 8, 8))
    path = odeint(model.field, state, model.times, method="rk4", options={"step_size": 1 / STEPS})
    return model.head(path[-1])


def run_torch(model, images):
    """The results of torch by method: logits and field evaluations for all digits, milliseconds for one and for all."""
    calls = {"dopri5": model, "rk4": partial(torch_rk4, model)}
    results = {}
    with torch.no_grad():
        times = measure(calls, images)
        for method, call in calls.items():
            visits = []
            hook = model.field.register_forward_hook(lambda *_, visits=visits: visits.append(1))
            logits = call(images).numpy()
            hook.remove()
            results[method] = {"logits": logits, "evaluations": len(visits), "milliseconds": times[method]}
    return results


def export_all(model, images):
    """Export each form to a folder of its own. An export fails if the artifact does not give torch's answers."""
    for form, changes in FORMS.items():
        start = perf_counter()
        exported = export(model, (images[:8],), OUT / form, form=form, dynamic={"x": {0: "batch"}}, **changes)
        seconds, error = perf_counter() - start, exported.parity.max_abs
        console.print(f"exported {form:<9} {METHODS[form]:<7} {seconds:4.1f} s, within {error:.1e} of torch")


def run_device(images):
    """Run the artifacts in a process without torch, and return logits, evaluations and times by form."""
    np.savez(OUT / "digits.npz", images=images)
    subprocess.run([sys.executable, HERE / "demo_device.py", OUT, *FORMS], check=True)
    results = json.loads((OUT / "device.json").read_text())
    with np.load(OUT / "device.npz") as logits:
        return {
            form: {
                "logits": logits[form],
                "evaluations": results["evaluations"][form],
                "milliseconds": results["milliseconds"][form],
            }
            for form in FORMS
        }


def table(device, baseline, labels):
    """A table of all results, with a row for each way to run the model."""
    shown = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        title=f"{len(labels)} held-out digits, one thread",
        title_justify="left",
    )
    shown.add_column("form\n")
    shown.add_column("method\n")
    heads = (
        "digits\nright",
        "same as\ntorch",
        "largest\nerror",
        "field\ncalls",
        "ms for\none",
        "ms for\nall",
        "graphs\nkB",
    )
    for head in heads:
        shown.add_column(head, justify="right")
    for method, result in baseline.items():
        shown.add_row("torch", method, right(result, labels), "", "", *costs(result), "", style="dim")
    for form, result in device.items():
        expected = baseline[METHODS[form]]["logits"]
        same = np.mean(result["logits"].argmax(1) == expected.argmax(1))
        error = np.abs(result["logits"] - expected).max()
        size = sum(file.stat().st_size for file in (OUT / form).iterdir() if file.suffix in (".onnx", ".bin"))
        compared = [f"{same:.1%}", f"{error:.0e}"]
        shown.add_row(form, METHODS[form], right(result, labels), *compared, *costs(result), f"{size / 1000:.0f}")
    return shown


def right(result, labels):
    """The share of digits that are classified correctly, as text."""
    return f"{np.mean(result['logits'].argmax(1) == labels):.1%}"


def costs(result):
    """The cells of a row about its cost: field evaluations, milliseconds for one digit and for all."""
    times = result["milliseconds"]
    return [str(result["evaluations"]), f"{times['one']:.2f}", f"{times['all']:.0f}"]


def draw(images, logits, labels, path):
    """Draw some digits with the class that the model gives them; wrong ones come last."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    guesses = logits.argmax(1)
    odds = np.exp(logits - logits.max(1, keepdims=True))
    odds /= odds.sum(1, keepdims=True)
    wrong = np.flatnonzero(guesses != labels)[:5]
    chosen = [*np.flatnonzero(guesses == labels)[: 18 - len(wrong)], *wrong]
    figure, axes = pyplot.subplots(3, 6, figsize=(9, 6.4), layout="constrained")
    for axis, i in zip(axes.flat, chosen, strict=True):
        good = guesses[i] == labels[i]
        color = "black" if good else "crimson"
        axis.imshow(images[i].reshape(8, 8), cmap="Blues" if good else "Reds")
        axis.set_title(str(guesses[i]), fontsize=18, color=color)
        sure = f"{odds[i].max():.0%} sure"
        axis.set_xlabel(sure if good else f"{sure}; it is a {labels[i]}", color=color)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    count = np.sum(guesses == labels)
    figure.suptitle(f"Read by an ODE-Net in ONNX Runtime, without torch: {count} of {len(labels)} right", fontsize=14)
    figure.savefig(path, dpi=120)


def main():
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    model, (images, labels) = digits_pretrained(), digits().test
    export_all(model, images)
    baseline = run_torch(model, images)
    device = run_device(images.numpy())
    console.print(table(device, baseline, labels.numpy()))
    draw(images.numpy(), device["adaptive"]["logits"], labels.numpy(), OUT / "digits.png")
    console.print(f"artifacts and digits.png are in {os.path.relpath(OUT)}")


if __name__ == "__main__":
    main()
