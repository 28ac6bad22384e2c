"""How much work buys how much precision: every adaptive method on six reference problems.

Writes docs/work-precision.csv and draws it as docs/work-precision.png: `make plots`, three minutes on one core.
"""

from __future__ import annotations

import argparse
import csv
import sys
from io import BytesIO
from pathlib import Path

import numpy as np

import odelet

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.problems import JUMPING, PROBLEMS, Problem  # noqa: E402
from support.rosters import ADAPTIVE, TWINS  # noqa: E402

# A twin differs in its weights alone, and is there for its answers to be the same as some release's.
METHODS = [method for method in ADAPTIVE if method not in TWINS]
DOCS = ROOT / "docs"
TOLERANCES = [10.0**-k for k in range(3, 11)]
# A curve ends where its method needs more steps than this.
MAX_STEPS = 30_000
PANELS = {
    "B1": "Lotka-Volterra (B1)",
    "C3": "heat equation, 10 points (C3)",
    "C5": "five outer planets (C5)",
    "D3": "Kepler, eccentricity 0.5 (D3)",
    "E2": "van der Pol (E2)",
    "F2": "a field that jumps, unannounced (F2)",
}
# Okabe and Ito's colours, which the colour-blind can tell apart; each with a marker of its own besides.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]
COLUMNS = ("problem", "method", "tolerance", "evaluations", "steps", "error")


def measure(problem: Problem, method: str, tolerance: float) -> tuple[int, int, float] | None:
    """Field evaluations, steps, and the error at t = 20 over the largest published element; None if it failed."""
    y0 = np.array(problem.y0, float)
    settings = {"method": method, "rtol": tolerance, "atol": tolerance, "max_steps": MAX_STEPS}
    solution = odelet.odeint(problem.on(np), y0, [0, 20], **settings)
    if solution.status is not odelet.Status.OK:
        return None
    where, values = problem.end
    error = np.abs(solution.outputs["y"][-1][where] - values).max() / np.abs(values).max()
    assert solution.stats.evaluations is not None and solution.stats.steps is not None
    return solution.stats.evaluations, solution.stats.steps, float(error)


def rows() -> list[dict[str, str]]:
    """Everything measured, a row for each solve that reached its end."""
    found = []
    for name in PANELS:
        for method in METHODS:
            for tolerance in TOLERANCES:
                measured = measure((PROBLEMS | JUMPING)[name], method, tolerance)
                if measured is not None:
                    evaluations, steps, error = measured
                    values = (name, method, f"{tolerance:.0e}", str(evaluations), str(steps), f"{error:.3e}")
                    found.append(dict(zip(COLUMNS, values, strict=True)))
    return found


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a file that was written before."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, found: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)


def draw(path: Path, found: list[dict[str, str]]) -> None:
    """A panel for each problem: error against field evaluations, a curve for each method."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import LogLocator
    from PIL import Image

    figure, axes = plt.subplots(2, 3, figsize=(12, 7.4), sharey=True, layout="constrained")
    for axis, (name, title) in zip(axes.flat, PANELS.items(), strict=True):
        for i, method in enumerate(METHODS):
            own = [row for row in found if (row["problem"], row["method"]) == (name, method)]
            axis.loglog(
                [int(row["evaluations"]) for row in own],
                [float(row["error"]) for row in own],
                color=COLOURS[i % len(COLOURS)],
                marker=MARKERS[i % len(MARKERS)],
                markersize=5.5,
                linewidth=1.5,
                label=method,
            )
        axis.set_title(title, fontsize=11.5)
        axis.grid(which="major", color="#dddddd", linewidth=0.7)
        axis.set_axisbelow(True)
        axis.tick_params(labelsize=10)
        axis.set_ylim(1e-11, 1e2)
        axis.yaxis.set_major_locator(LogLocator(numticks=8))
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[-1]:
        axis.set_xlabel("evaluations of the field", fontsize=11)
    for axis in axes[:, 0]:
        axis.set_ylabel("relative error at t = 20", fontsize=11)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=11, frameon=False)
    picture = BytesIO()
    figure.savefig(picture, dpi=100)
    plt.close(figure)
    # A palette makes the file a third of the size.
    Image.open(picture).convert("RGB").quantize(64).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--redraw", action="store_true", help="draw the numbers that are there, without measuring")
    numbers = DOCS / "work-precision.csv"
    if not parser.parse_args().redraw:
        write(numbers, rows())
    draw(DOCS / "work-precision.png", read(numbers))


if __name__ == "__main__":
    main()
