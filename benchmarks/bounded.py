"""What the form `bounded` costs and what its estimate is worth: digits, the spiral, and a stiff-ish Van der Pol.

Writes benchmarks/results/bounded.json and the tables of docs/bounded.md, between its marks. Five minutes on one core.
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
from odelet_models.odenet import digits_pretrained
from odelet_train.data import digits

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "bounded.json", ROOT / "docs" / "bounded.md"
START, END = "<!-- measured: benchmarks/bounded.py -->\n", "<!-- to here -->\n"
BATCH = {0: "batch"}
SECONDS = 6.0
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
        """dy/dt of states (batch, 2), of torch or numpy."""
        u, v = y[:, 0] ** 3, y[:, 1] ** 3
        return xp.stack([-0.1 * u + 2.0 * v, -2.0 * u - 0.1 * v], 1)


class VanDerPol(Spiral):
    """x'' = 5 (1 - x^2) x' - x."""

    end, name = 2.0, "Van der Pol, mu = 5"

    def slope(self, xp: Any, y: Any) -> Any:
        return xp.stack([y[:, 1], 5 * (1 - y[:, 0] ** 2) * y[:, 1] - y[:, 0]], 1)


class Net(nn.Module):
    """An MLP 2-64-64-2 as the field, to see what the estimate costs where a field is cheap."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2))

    def forward(self, y0: torch.Tensor) -> torch.Tensor:
        times = torch.tensor([0.0, 10.0])
        return torchdiffeq.odeint(lambda t, y: self.net(y**3), y0, times, rtol=1e-4, atol=1e-4, method="dopri5")[-1]


# The ranges of the radius: calibrated, and outside of it, near and far.
CASES = {
    "spiral": (Spiral, (0.5, 1.5), {"inside": (0.5, 1.5), "near": (1.5, 3.0), "far": (3.0, 6.0)}),
    "van der pol": (VanDerPol, (0.0, 2.0), {"inside": (0.0, 2.0), "near": (2.0, 4.0), "far": (4.0, 6.0)}),
}
TOLERANCES = (1e-3, 1e-5)


def ring(count: int, radius: tuple[float, float], seed: int) -> np.ndarray:
    """States at radii within a range, in all directions, (count, 2)."""
    generator = np.random.default_rng(seed)
    r, angle = generator.uniform(*radius, count), generator.uniform(0, 2 * np.pi, count)
    return np.stack([r * np.cos(angle), r * np.sin(angle)], axis=1)


def solved(model: Spiral, x: np.ndarray, tolerance: float, **how: Any) -> np.ndarray:
    """The ends of solves in numpy, each sample by its own steps; NaN where one fails."""
    found = odelet.odeint(
        lambda t, y: model.slope(np, y), x, [0.0, model.end], rtol=tolerance, atol=tolerance, per_sample=True, **how
    )
    return found.outputs["y"][-1]


def over(x: np.ndarray, reference: np.ndarray, tolerance: float) -> np.ndarray:
    """Distances over the tolerance, (samples,); infinite for what is not a number."""
    with np.errstate(all="ignore"):
        scaled = (x - reference) / (tolerance + tolerance * np.maximum(np.abs(x), np.abs(reference)))
        found = np.sqrt((scaled**2).mean(axis=1))
    return np.where(found >= 0, found, np.inf)


def guard(kind: type[Spiral], calibrated: tuple[float, float], where: dict[str, Any], tolerance: float) -> dict:
    """What the guard says of inputs inside and outside of the calibrated range, and what is true of them."""
    model = kind(tolerance)
    with tempfile.TemporaryDirectory() as folder:
        data = ring(400, calibrated, 0)
        out = Path(folder) / "out"
        example = (torch.from_numpy(data[:8]),)
        export(model, example, out, form="bounded", calibration={"y0": data}, dynamic={"y0": BATCH}, samples=2)
        artifact = odelet.load(out)
    found: dict[str, Any] = {"steps": artifact.card.solves[0].steps, "sets": {}}
    for seed, (name, radius) in enumerate(where.items(), 1):
        x = ring(1000, radius, seed)
        solution = artifact.solve(x)
        fine = np.array(solution.stats.solves[0].error_ratio) <= 1
        reference = solved(model, x, 1e-11)
        known = np.isfinite(reference).all(axis=1)
        errors = over(solution.outputs["output"], reference, tolerance)
        own = over(solved(model, x, tolerance), reference, tolerance)
        off = {"tolerance": errors > 1, "ten": errors > 10, "worse": (errors > 1) & (errors > 10 * own)}
        found["sets"][name] = {
            "radius": radius,
            "samples": int(known.sum()),
            "guarded": int((~fine & known).sum()),
            "median error": float(np.median(errors[known])),
            "median error of dopri5": float(np.median(own[known])),
            "off": {
                key: {"samples": int((is_off & known).sum()), "caught": int((is_off & known & ~fine).sum())}
                for key, is_off in off.items()
            },
        }
    return found


def without_estimate(model: Path) -> Callable[[dict[str, np.ndarray]], Any]:
    """The graph of an artifact with the model's own outputs alone."""
    graph = ir.load(model)
    for output in [value for value in graph.graph.outputs if "." in str(value.name)]:
        graph.graph.outputs.remove(output)
    passes.RemoveUnusedNodesPass()(graph)
    # Beside the other, as they may share a file of weights.
    bare = model.with_name("bare.onnx")
    ir.save(graph, bare)
    return session(bare)


def session(file: Path) -> Callable[[dict[str, np.ndarray]], Any]:
    """A graph to run, on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    opened = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda feeds: opened.run(None, feeds)


def cost_of_estimate(folder: Path, x: np.ndarray, batches: tuple[int, ...]) -> dict[str, float]:
    """The share of the time of a call that the estimate takes, by batch size."""
    name = odelet.load(folder).inputs[0].name
    whole, bare = session(folder / "model.onnx"), without_estimate(folder / "model.onnx")
    shares = {}
    for batch in batches:
        feeds = {name: x[:batch]}
        times = interleaved({"whole": lambda f=feeds: whole(f), "bare": lambda f=feeds: bare(f)}, seconds=SECONDS)
        shares[str(batch)] = 1 - 1 / times["whole"].over(times["bare"])
    return shares


def measure_digits(folder: Path) -> dict[str, Any]:
    """The ODE-Net for digits, adaptive and bounded."""
    model, split = digits_pretrained(), digits()
    example = (torch.from_numpy(split.train_images[:8]),)
    export(model, example, folder / "adaptive", form="adaptive", dynamic={"x": BATCH})
    data = {"x": split.train_images}
    export(model, example, folder / "bounded", form="bounded", calibration=data, fallback=True, dynamic={"x": BATCH})
    models = {form: odelet.load(folder / form) for form in ("adaptive", "bounded")}
    x, labels = split.test_images, split.test_labels
    found: dict[str, Any] = {"steps": models["bounded"].card.solves[0].steps}
    for form, artifact in models.items():
        each = [artifact.solve(x[i : i + 1]) for i in range(len(x))]
        guesses = np.array([one.outputs["output"].argmax() for one in each])
        found[form] = {
            "accuracy": float(np.mean(guesses == labels)),
            "evaluations": float(np.mean([one.stats.evaluations for one in each])),
            "milliseconds": {},
        }
    for batch in (1, 64):
        times = interleaved({f: lambda m=m, b=batch: m(x[:b]) for f, m in models.items()}, seconds=SECONDS)
        for form, latency in times.items():
            found[form]["milliseconds"][str(batch)] = 1e3 * latency.median
    generator = np.random.default_rng(0)
    ways = {"held out": x, "doubled": 2 * x}
    ways |= {f"noise of {s:g}": (x + s * generator.normal(size=x.shape)).astype(np.float32) for s in (2, 4, 8, 16, 64)}
    found["guarded"] = {}
    for name, images in ways.items():
        solution = models["bounded"].solve(images)
        (stats,) = solution.stats.solves
        ratios = np.array(stats.error_ratio)
        found["guarded"][name] = {
            "share": float(np.mean(ratios > 1)),
            "largest": float(ratios.max()),
            "accuracy": float(np.mean(solution.outputs["output"].argmax(1) == labels)),
            "accuracy adaptive": float(np.mean(models["adaptive"](images).argmax(1) == labels)),
        }
    found["estimate"] = cost_of_estimate(folder / "bounded", x, (1, 64))
    return found


def measure_estimate(folder: Path) -> dict[str, Any]:
    """What the estimate costs where a field is cheap."""
    x = ring(256, (0.5, 1.5), 0).astype(np.float32)
    out = folder / "net"
    export(Net(), (torch.from_numpy(x[:8]),), out, form="bounded", calibration={"y0": x}, dynamic={"y0": BATCH})
    return {"steps": odelet.load(out).card.solves[0].steps, "estimate": cost_of_estimate(out, x, (1, 256))}


def tables(found: dict[str, Any]) -> str:
    """The page's part, from the results."""
    one = found["digits"]
    lines = [
        "Digits ODE-Net, rtol = atol = 1e-3, 360 held-out digits, one at a time:",
        "",
        "| form | digits right | field calls, mean | ms for one | ms for 64 |",
        "|---|---|---|---|---|",
    ]
    for form in ("adaptive", "bounded"):
        its = one[form]
        told = [f"{its['accuracy']:.1%}", f"{its['evaluations']:.1f}"]
        told += [f"{its['milliseconds'][batch]:.2f}" for batch in ("1", "64")]
        lines.append(f"| {form} | {' | '.join(told)} |")
    lines += [
        "",
        "| images | guarded | largest `error_ratio` | right, bounded | right, adaptive |",
        "|---|---|---|---|---|",
    ]
    for name, its in one["guarded"].items():
        told = [
            f"{its['share']:.1%}",
            f"{its['largest']:.2g}",
            f"{its['accuracy']:.1%}",
            f"{its['accuracy adaptive']:.1%}",
        ]
        lines.append(f"| {name} | {' | '.join(told)} |")
    net = found["net"]
    costs = [("digits, batch " + b, one["steps"], x) for b, x in one["estimate"].items()]
    costs += [("MLP 2-64-64-2, batch " + b, net["steps"], x) for b, x in net["estimate"].items()]
    lines += ["", "| model | steps | time that the estimate takes | one field call of all |", "|---|---|---|---|"]
    lines += [f"| {name} | {steps} | {share:.1%} | {1 / (1 + 6 * steps):.1%} |" for name, steps, share in costs]
    heads = " | ".join(f"error above {told}: caught" for told in OFF.values())
    lines += ["", f"| problem | tolerance, steps | radius | guarded of 1000 | median error | of dopri5 | {heads} |"]
    lines.append("|" + "---|" * (6 + len(OFF)))
    for its in found["guard"]:
        for name, some in its["sets"].items():
            low, high = some["radius"]
            caught = [f"{some['off'][key]['caught']} of {some['off'][key]['samples']}" for key in OFF]
            told = [its["name"], f"{its['tolerance']:g}, {its['steps']}", f"{low:g} to {high:g}, {name}"]
            told += [
                str(some["guarded"]),
                f"{some['median error']:.2g}",
                f"{some['median error of dopri5']:.2g}",
                *caught,
            ]
            lines.append(f"| {' | '.join(told)} |")
    return "\n".join(lines) + "\n"


def page(text: str, found: dict[str, Any]) -> str:
    """The page with its measured part made anew."""
    before, rest = text.split(START)
    return f"{before}{START}{tables(found)}{END}{rest.split(END)[1]}"


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        found: dict[str, Any] = {"digits": measure_digits(Path(name)), "net": measure_estimate(Path(name)), "guard": []}
    for kind, calibrated, where in CASES.values():
        for tolerance in TOLERANCES:
            told = guard(kind, calibrated, where, tolerance)
            found["guard"].append({"name": kind.name, "tolerance": tolerance, "calibrated": calibrated, **told})
    packages = ("torch", "torchdiffeq", "onnxruntime", "numpy")
    found["machine"] = {"processor": platform.machine(), **{name: version(name) for name in packages}}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=2), encoding="utf-8")
    if PAGE.exists():
        PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8")
    print(tables(found))


if __name__ == "__main__":
    main()
