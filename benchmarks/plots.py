"""The plots of docs/performance.md. They are drawn from results alone, and can be read without colour."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import FormatStrFormatter, LogLocator
from PIL import Image

DOCS = Path(__file__).resolve().parents[1] / "docs"
# Okabe and Ito's colours, which colour-blind people can tell apart. Each also has its own marker.
STYLES = {
    "adaptive": ("#0072B2", "o"),
    "driven": ("#D55E00", "s"),
    "unrolled": ("#009E73", "^"),
    "rolled": ("#CC79A7", "D"),
    "native": ("#56B4E9", "*"),
    "floor": ("#000000", "_"),
    "torchdiffeq": ("#E69F00", "v"),
    "torchdiffeq, compiled field": ("#E69F00", "x"),
    "torchode": ("#56B4E9", "P"),
    "diffrax": ("#CC79A7", "D"),
    "SciPy": ("#999999", "X"),
}
Read = Callable[[str], dict[str, Any]]


def draw_all(read: Read) -> None:
    """Draw all plots. read: a function that returns the results of a claim by its name."""
    _save(_floor(read("speed")["rows"]), "performance-floor.png")
    _save(_peers(read("speed")["rows"]), "performance-peers.png")
    _save(_scaling(read("scaling")["rows"]), "performance-scaling.png")


def _floor(rows: list[dict[str, Any]]) -> Any:
    """A figure of the time over the floor, with a row of points for each workload and batch."""
    shown = [row for row in rows if row["kind"] == "form"]
    cases = list(dict.fromkeys((row["part"], row["batch"]) for row in shown))
    figure, axis = plt.subplots(figsize=(9, 0.32 * len(cases) + 1.4), layout="constrained")
    for form in ("adaptive", "driven", "unrolled", "rolled"):
        of_form = [row for row in shown if row["way"] == form]
        places = [cases.index((row["part"], row["batch"])) for row in of_form]
        colour, marker = STYLES[form]
        axis.plot([row["over_floor"] for row in of_form], places, marker, color=colour, markersize=7, label=form)
    axis.axvline(1, color="black", linewidth=1)
    axis.set_yticks(range(len(cases)), [f"{part}, batch {batch}" for part, batch in cases])
    axis.invert_yaxis()
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5)))
    axis.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axis.xaxis.set_minor_locator(plt.NullLocator())
    axis.set_xlabel("time over the floor: as many evaluations of the field, in a straight line in one graph")
    axis.grid(axis="both", color="#dddddd", linewidth=0.7)
    _finish(figure, axis)
    return figure


def _peers(rows: list[dict[str, Any]]) -> Any:
    """A figure of the milliseconds that the spiral takes, against the batch."""
    spiral = [row for row in rows if row["part"] == "spiral" and "missing" not in row]
    figure, axis = plt.subplots(figsize=(8, 5), layout="constrained")
    for way in dict.fromkeys(row["way"] for row in spiral):
        points = [row for row in spiral if row["way"] == way]
        colour, marker = STYLES[way]
        line = "--" if points[0]["kind"] == "peer" else "-"
        axis.loglog(
            [row["batch"] for row in points],
            [row["ms"]["p50"] for row in points],
            line,
            color=colour,
            marker=marker,
            label=way,
        )
    forms = [row for row in spiral if row["kind"] == "form"]
    floors = [min(row["floor_ms"]["p50"] for row in forms if row["batch"] == batch) for batch in _batches(spiral)]
    axis.loglog(_batches(spiral), floors, color="black", linewidth=1, label="floor")
    axis.set_xlabel("batch")
    axis.set_ylabel("milliseconds of one solve")
    axis.set_xticks(_batches(spiral), [str(batch) for batch in _batches(spiral)])
    axis.minorticks_off()
    axis.grid(color="#dddddd", linewidth=0.7)
    _finish(figure, axis)
    return figure


def _batches(rows: list[dict[str, Any]]) -> list[int]:
    return sorted({row["batch"] for row in rows})


def _scaling(rows: list[dict[str, Any]]) -> Any:
    """A figure of milliseconds against steps, batch and state, with a line of slope 1."""
    figure, axes = plt.subplots(1, 3, figsize=(12, 4.2), layout="constrained")
    names = {"steps": "attempted steps", "batch": "batch, spiral MLP", "state": "elements of the state"}
    for axis, (part, name) in zip(axes, names.items(), strict=True):
        for form in ("adaptive", "driven"):
            measured = [row for row in rows if row["part"] == part and row["form"] == form]
            points, slope = [row for row in measured if "size" in row], next(row for row in measured if "slope" in row)
            colour, marker = STYLES[form]
            sizes, times = [row["size"] for row in points], [row["ms"]["p50"] for row in points]
            label = f"{form}, slope {slope['slope']:.2f}"
            axis.loglog(sizes, times, color=colour, marker=marker, label=label)
        axis.axvspan(slope["from"], sizes[-1] * 1.6, color="#eeeeee", zorder=0, label="fitted")
        line = [times[-1] * size / sizes[-1] for size in sizes]
        visible = [(x, y) for x, y in zip(sizes, line, strict=True) if y > 0.7 * times[0]]
        axis.loglog(*zip(*visible, strict=True), color="black", linewidth=1, linestyle=":", label="linear")
        axis.set_xlabel(name)
        axis.grid(color="#dddddd", linewidth=0.7)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False)
    axes[0].set_ylabel("milliseconds of one solve")
    return figure


def _finish(figure: Any, axis: Any) -> None:
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=4, frameon=False)


def _save(figure: Any, name: str) -> None:
    picture = BytesIO()
    figure.savefig(picture, dpi=100)
    plt.close(figure)
    # A palette of 64 colours makes the file a third of the size.
    Image.open(picture).convert("RGB").quantize(64).save(DOCS / name, optimize=True)
