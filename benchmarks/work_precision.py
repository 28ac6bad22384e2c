"""How much work each adaptive method needs for how much precision, on six reference problems.

Writes docs/work-precision.csv and draws it as docs/work-precision.png. `make plots` runs it in three minutes on one
core.
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

# A twin differs from its method only in its weights. It is there to give the answers of a release of torchdiffeq.
METHODS = [method for method in ADAPTIVE if method not in TWINS]
DOCS = ROOT / "docs"
TOLERANCES = [10.0**-k for k in range(3, 11)]
# A curve ends where its method would need more steps than this.
MAX_STEPS = 30_000
PANELS = {
    "B1": "Lotka-Volterra (B1)",
    "C3": "heat equation, 10 points (C3)",
    "C5": "five outer planets (C5)",
    "D3": "Kepler, eccentricity 0.5 (D3)",
    "E2": "van der Pol (E2)",
    "F2": "a field that jumps, unannounced (F2)",
}
# Okabe and Ito's colours, which colour-blind people can tell apart. Each also has its own marker.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]
COLUMNS = ("problem", "method", "tolerance", "evaluations", "steps", "error")


def measure(problem: Problem, method: str, tolerance: float) -> tuple[int, int, float] | None:
    """The number of evaluations and steps, and the error at t = 20 relative to the largest published element.

    The result is None where the solve failed.
    """
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
    """The measurements: a row for each solve that reached its end."""
    measurements = []
    for name in PANELS:
        for method in METHODS:
            for tolerance in TOLERANCES:
                measured = measure((PROBLEMS | JUMPING)[name], method, tolerance)
                if measured is not None:
                    evaluations, steps, error = measured
                    values = (name, method, f"{tolerance:.0e}", str(evaluations), str(steps), f"{error:.3e}")
                    measurements.append(dict(zip(COLUMNS, values, strict=True)))
    return measurements


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a file that `write` made."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, measurements: list[dict[str, str]]) -> None:
    """Write rows as CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(measurements)


def draw(path: Path, measurements: list[dict[str, str]]) -> None:
    """Draw a panel for each problem: error against evaluations of the field, with a curve for each method."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import LogLocator
    from PIL import Image

    figure, axes = plt.subplots(2, 3, figsize=(12, 7.4), sharey=True, layout="constrained")
    for axis, (name, title) in zip(axes.flat, PANELS.items(), strict=True):
        for i, method in enumerate(METHODS):
            curve = [row for row in measurements if (row["problem"], row["method"]) == (name, method)]
            axis.loglog(
                [int(row["evaluations"]) for row in curve],
                [float(row["error"]) for row in curve],
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
    # A palette of 64 colours makes the file a third of the size.
    Image.open(picture).convert("RGB").quantize(64).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--redraw", action="store_true", help="draw the numbers of the last run, without measuring again"
    )
    numbers = DOCS / "work-precision.csv"
    if not parser.parse_args().redraw:
        write(numbers, rows())
    draw(DOCS / "work-precision.png", read(numbers))


if __name__ == "__main__":
    main()
