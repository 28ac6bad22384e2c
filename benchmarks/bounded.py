"""What the form `bounded` costs and what its estimate is worth, on digits, the spiral and a somewhat stiff Van der Pol.

Writes benchmarks/results/bounded.json and the tables between the marks of docs/bounded.md, in five minutes on one core.
"""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes
import onnxruntime as ort
import torch
import torchdiffeq
from torch import nn

import odelet
from odelet.commands.latency import interleaved
from odelet_export import export
from odelet_models.datasets import digits
from odelet_models.odenet import digits_pretrained

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "bounded.json", ROOT / "docs" / "bounded.md"
START, END = "<!-- measured: benchmarks/bounded.py -->\n", "<!-- to here -->\n"
BATCH = {0: "batch"}
SECONDS = 6.0
# What counts as a wrong answer: the key in the results, and the words in the table.
OFF = {"tolerance": "the tolerance", "ten": "10 times the tolerance", "worse": "it, and 10 times that of dopri5"}


class Spiral(nn.Module):
    """dy/dt = A y^3, the spiral of torchdiffeq's examples."""

    end, name = 1.0, "spiral, dy/dt = A y^3"

    def __init__(self, tolerance: float) -> None:
        super().__init__()
        self.tolerance = tolerance

    def forward(self, y0: torch.Tensor) -> torch.Tensor:
        times = torch.tensor([0.0, self.end], dtype=y0.dtype)
        settings = {"method": "dopri5", "rtol": self.tolerance, "atol": self.tolerance}
        return torchdiffeq.odeint(lambda t, y: self.slope(torch, y), y0, times, **settings)[-1]

    def slope(self, xp: Any, y: Any) -> Any:
        """dy/dt of states (batch, 2); xp: torch or numpy, whose arrays y and the result are."""
        u, v = y[:, 0] ** 3, y[:, 1] ** 3
        return xp.stack([-0.1 * u + 2.0 * v, -2.0 * u - 0.1 * v], 1)


class VanDerPol(Spiral):
    """Van der Pol's oscillator, x'' = 5 (1 - x^2) x' - x."""

    end, name = 2.0, "Van der Pol, mu = 5"

    def slope(self, xp: Any, y: Any) -> Any:
        return xp.stack([y[:, 1], 5 * (1 - y[:, 0] ** 2) * y[:, 1] - y[:, 0]], 1)


class Net(nn.Module):
    """A model with an MLP 2-64-64-2 as its field, to measure what the estimate costs where a field is cheap."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2))

    def forward(self, y0: torch.Tensor) -> torch.Tensor:
        times = torch.tensor([0.0, 10.0])
        return torchdiffeq.odeint(lambda t, y: self.net(y**3), y0, times, rtol=1e-4, atol=1e-4, method="dopri5")[-1]


# For each problem: its model, the calibrated range of the radius, and the ranges that are tried, by name.
CASES = {
    "spiral": (Spiral, (0.5, 1.5), {"inside": (0.5, 1.5), "near": (1.5, 3.0), "far": (3.0, 6.0)}),
    "van der pol": (VanDerPol, (0.0, 2.0), {"inside": (0.0, 2.0), "near": (2.0, 4.0), "far": (4.0, 6.0)}),
}
TOLERANCES = (1e-3, 1e-5)


def ring(count: int, radius: tuple[float, float], seed: int) -> np.ndarray:
    """States (count, 2) in all directions, at radii drawn evenly from a range."""
    generator = np.random.default_rng(seed)
    r, angle = generator.uniform(*radius, count), generator.uniform(0, 2 * np.pi, count)
    return np.stack([r * np.cos(angle), r * np.sin(angle)], axis=1)


def solved(model: Spiral, x: np.ndarray, tolerance: float, **how: Any) -> np.ndarray:
    """The final states (samples, 2) of solves in numpy, each sample with its own steps; NaN where a solve fails."""
    solution = odelet.odeint(
        lambda t, y: model.slope(np, y), x, [0.0, model.end], rtol=tolerance, atol=tolerance, per_sample=True, **how
    )
    return solution.outputs["y"][-1]


def over(x: np.ndarray, reference: np.ndarray, tolerance: float) -> np.ndarray:
    """The distances from the reference over the tolerance, (samples,); infinite where a distance is not a number."""
    with np.errstate(all="ignore"):
        scaled = (x - reference) / (tolerance + tolerance * np.maximum(np.abs(x), np.abs(reference)))
        distances = np.sqrt((scaled**2).mean(axis=1))
    return np.where(distances >= 0, distances, np.inf)


def guard(kind: type[Spiral], calibrated: tuple[float, float], where: dict[str, Any], tolerance: float) -> dict:
    """How many samples have an error ratio above 1, and how many truly have a large error, in each range of `where`."""
    model = kind(tolerance)
    with tempfile.TemporaryDirectory() as folder:
        data = ring(400, calibrated, 0)
        out = Path(folder) / "out"
        example = (torch.from_numpy(data[:8]),)
        export(model, example, out, form="bounded", calibration={"y0": data}, dynamic={"y0": BATCH}, samples=2)
        artifact = odelet.load(out, threads=1)
    results: dict[str, Any] = {"steps": artifact.card.solves[0].steps, "sets": {}}
    for seed, (name, radius) in enumerate(where.items(), 1):
        x = ring(1000, radius, seed)
        solution = artifact.solve(x)
        fine = np.array(solution.stats.solves[0].error_ratio) <= 1
        reference = solved(model, x, 1e-11)
        has_reference = np.isfinite(reference).all(axis=1)
        errors = over(solution.outputs["output"], reference, tolerance)
        dopri5_errors = over(solved(model, x, tolerance), reference, tolerance)
        off = {"tolerance": errors > 1, "ten": errors > 10, "worse": (errors > 1) & (errors > 10 * dopri5_errors)}
        results["sets"][name] = {
            "radius": radius,
            "samples": int(has_reference.sum()),
            "guarded": int((~fine & has_reference).sum()),
            "median error": float(np.median(errors[has_reference])),
            "median error of dopri5": float(np.median(dopri5_errors[has_reference])),
            "off": {
                key: {"samples": int(wrong.sum()), "caught": int((wrong & ~fine).sum())}
                for key, wrong in ((key, is_off & has_reference) for key, is_off in off.items())
            },
        }
    return results


def without_estimate(model: Path) -> Callable[[dict[str, np.ndarray]], Any]:
    """A function that runs the graph of an artifact with the model's own outputs only, without the estimate."""
    graph = ir.load(model)
    for output in [value for value in graph.graph.outputs if "." in str(value.name)]:
        graph.graph.outputs.remove(output)
    passes.RemoveUnusedNodesPass()(graph)
    # The file lies beside the original, because the two may share a file of weights.
    bare = model.with_name("bare.onnx")
    ir.save(graph, bare)
    return session(bare)


def session(file: Path) -> Callable[[dict[str, np.ndarray]], Any]:
    """A function that runs a graph on one thread, given its feeds by name."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    graph = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda feeds: graph.run(None, feeds)


def cost_of_estimate(folder: Path, x: np.ndarray, batches: tuple[int, ...]) -> dict[str, float]:
    """The share of the time of a call that the estimate takes, from 0 to 1, by batch size."""
    name = odelet.load(folder).inputs[0].name
    whole, bare = session(folder / "model.onnx"), without_estimate(folder / "model.onnx")
    shares = {}
    for batch in batches:
        feeds = {name: x[:batch]}
        times = interleaved({"whole": lambda f=feeds: whole(f), "bare": lambda f=feeds: bare(f)}, seconds=SECONDS)
        shares[str(batch)] = 1 - 1 / times["whole"].over(times["bare"])
    return shares


def measure_digits(folder: Path) -> dict[str, Any]:
    """The accuracy, evaluations and times of the ODE-Net for digits, adaptive and bounded, and its error ratios."""
    model, data = digits_pretrained(), digits()
    example = (data.train[0][:8],)
    export(model, example, folder / "adaptive", form="adaptive", dynamic={"x": BATCH})
    calibration = {"x": data.train[0].numpy()}
    export(
        model, example, folder / "bounded", form="bounded", calibration=calibration, fallback=True, dynamic={"x": BATCH}
    )
    models = {form: odelet.load(folder / form, threads=1) for form in ("adaptive", "bounded")}
    x, labels = (part.numpy() for part in data.test)
    results: dict[str, Any] = {"steps": models["bounded"].card.solves[0].steps}
    for form, artifact in models.items():
        solutions = [artifact.solve(x[i : i + 1]) for i in range(len(x))]
        guesses = np.array([solution.outputs["output"].argmax() for solution in solutions])
        results[form] = {
            "accuracy": float(np.mean(guesses == labels)),
            "evaluations": float(np.mean([solution.stats.evaluations for solution in solutions])),
            "milliseconds": {},
        }
    for batch in (1, 64):
        times = interleaved({f: lambda m=m, b=batch: m(x[:b]) for f, m in models.items()}, seconds=SECONDS)
        for form, latency in times.items():
            results[form]["milliseconds"][str(batch)] = 1e3 * latency.median
    generator = np.random.default_rng(0)
    inputs = {"held out": x, "doubled": 2 * x}
    inputs |= {
        f"noise of {s:g}": (x + s * generator.normal(size=x.shape)).astype(np.float32) for s in (2, 4, 8, 16, 64)
    }
    results["guarded"] = {}
    for name, images in inputs.items():
        solution = models["bounded"].solve(images)
        (stats,) = solution.stats.solves
        ratios = np.array(stats.error_ratio)
        results["guarded"][name] = {
            "share": float(np.mean(ratios > 1)),
            "largest": float(ratios.max()),
            "accuracy": float(np.mean(solution.outputs["output"].argmax(1) == labels)),
            "accuracy adaptive": float(np.mean(models["adaptive"](images).argmax(1) == labels)),
        }
    results["estimate"] = cost_of_estimate(folder / "bounded", x, (1, 64))
    return results


def measure_estimate(folder: Path) -> dict[str, Any]:
    """The steps of a model whose field is cheap, and the share of its time that the estimate takes."""
    x = ring(256, (0.5, 1.5), 0).astype(np.float32)
    out = folder / "net"
    export(Net(), (torch.from_numpy(x[:8]),), out, form="bounded", calibration={"y0": x}, dynamic={"y0": BATCH})
    return {"steps": odelet.load(out).card.solves[0].steps, "estimate": cost_of_estimate(out, x, (1, 256))}


def tables(results: dict[str, Any]) -> str:
    """The measured part of the page, as Markdown, from the results."""
    digits_results = results["digits"]
    lines = [
        "Digits ODE-Net, rtol = atol = 1e-3, 360 held-out digits, one at a time:",
        "",
        "| form | digits right | field calls, mean | ms for one | ms for 64 |",
        "|---|---|---|---|---|",
    ]
    for form in ("adaptive", "bounded"):
        row = digits_results[form]
        cells = [f"{row['accuracy']:.1%}", f"{row['evaluations']:.1f}"]
        cells += [f"{row['milliseconds'][batch]:.2f}" for batch in ("1", "64")]
        lines.append(f"| {form} | {' | '.join(cells)} |")
    lines += [
        "",
        "| images | guarded | largest `error_ratio` | right, bounded | right, adaptive |",
        "|---|---|---|---|---|",
    ]
    for name, row in digits_results["guarded"].items():
        cells = [
            f"{row['share']:.1%}",
            f"{row['largest']:.2g}",
            f"{row['accuracy']:.1%}",
            f"{row['accuracy adaptive']:.1%}",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    net = results["net"]
    costs = [("digits, batch " + b, digits_results["steps"], x) for b, x in digits_results["estimate"].items()]
    costs += [("MLP 2-64-64-2, batch " + b, net["steps"], x) for b, x in net["estimate"].items()]
    lines += ["", "| model | steps | time that the estimate takes | one field call of all |", "|---|---|---|---|"]
    lines += [f"| {name} | {steps} | {share:.1%} | {1 / (1 + 6 * steps):.1%} |" for name, steps, share in costs]
    heads = " | ".join(f"error above {bound}: caught" for bound in OFF.values())
    lines += ["", f"| problem | tolerance, steps | radius | guarded of 1000 | median error | of dopri5 | {heads} |"]
    lines.append("|" + "---|" * (6 + len(OFF)))
    for case in results["guard"]:
        for name, row in case["sets"].items():
            low, high = row["radius"]
            caught = [f"{row['off'][key]['caught']} of {row['off'][key]['samples']}" for key in OFF]
            cells = [case["name"], f"{case['tolerance']:g}, {case['steps']}", f"{low:g} to {high:g}, {name}"]
            cells += [
                str(row["guarded"]),
                f"{row['median error']:.2g}",
                f"{row['median error of dopri5']:.2g}",
                *caught,
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def page(text: str, results: dict[str, Any]) -> str:
    """The text of the page, with its measured part made again."""
    before, rest = text.split(START)
    return f"{before}{START}{tables(results)}{END}{rest.split(END)[1]}"


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results: dict[str, Any] = {"digits": measure_digits(folder), "net": measure_estimate(folder), "guard": []}
    for kind, calibrated, where in CASES.values():
        for tolerance in TOLERANCES:
            counts = guard(kind, calibrated, where, tolerance)
            results["guard"].append({"name": kind.name, "tolerance": tolerance, "calibrated": calibrated, **counts})
    packages = ("torch", "torchdiffeq", "onnxruntime", "numpy")
    results["machine"] = {"processor": platform.machine(), **{name: version(name) for name in packages}}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2), encoding="utf-8")
    if PAGE.exists():
        PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")
    print(tables(results))


if __name__ == "__main__":
    main()
