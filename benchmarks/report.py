"""Writes the tables of docs/performance.md and docs/embedded.md and draws the plots, from benchmarks/results alone.

Nothing is measured here. Each figure stands beside its target, and the table says whether it was reached or missed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from plots import DOCS, draw_all
from report_speed import behind, floor, speed, targets
from tables import TITLES, Row, find, read, table, verdict
from zoo_page import sections

# The SDE whose speed-up over torchsde has a target, as part and batch.
STOCHASTIC_CLAIM, STOCHASTIC_TARGET = ("euler-1000", 1), 20.0
# The largest share of diffrax's time that a library may take, by part and batch.
NATIVE_TARGETS = {("spiral", 1): 0.4, ("spiral", 16): 0.8}
# The largest share of the time of ONNX Runtime's `adaptive` that a library may take, by part and batch.
ADAPTIVE_TARGETS = {("readme", 1): 0.02}


def claims() -> str:
    """The table of claims about outputs, imports, memory, exports and sizes."""
    lines = []
    for row in read("outputs")["rows"]:
        claim = f"reading out {row['read_outs']} times over once, `{row['part']}`, batch {row['batch']}"
        lines.append([claim, verdict(row["ratio"], 1.5)])
    weight, exporting = read("weight")["rows"], read("exporting")["rows"]
    row = find(weight, module="odelet")
    lines.append(["`import odelet` over `import onnxruntime`", verdict(row and row["ratio"], 1.1)])
    row = find(weight, module="odelet, to load")
    lines.append(["`import odelet; odelet.load` over `import onnxruntime`", f"{row['ratio']:.2f}" if row else ""])
    for row in weight:
        if row["part"] == "memory":
            peak = row["megabytes"]["peak"]
            lines.append([f"resident MB, digits loaded and solved once, `{row['form']}`", verdict(peak, 75, digits=1)])
    for row in exporting:
        if row["part"] == "stages":
            lines.append(
                [f"seconds of `odelet export`, digits, `{row['form']}`", verdict(row["whole_process"], 12, digits=1)]
            )
            lines.append(["seconds of its lift, lower and check", verdict(row["lift_lower_check"], 1)])
        if row["part"] == "transformer" and row["model"] == "sampler":
            claim = "seconds of `odelet export`, a sampler with a transformer of 12 layers"
            lines.append([claim, verdict(row["whole_process"], 35, digits=1)])
    for row in exporting:
        if row["part"] == "sizes":
            more = verdict(row["more_kB"], 60, digits=1)
            lines.append([f"kB of graphs beyond {row['weights_kB']:.0f} kB of weights, digits, `{row['form']}`", more])
    row = find(exporting, part="loading", what="session")
    lines.append(["seconds to open a session of 128 unrolled rk4 steps", verdict(row and row["ms"]["p50"] / 1e3, 0.5)])
    return table(["claim", "measured (target)"], lines)


def stochastic() -> str:
    """The table of solves of SDEs beside torchsde."""
    rows, lines = read("stochastic")["rows"], []
    for row in rows:
        times = [f"{row[way]['ms']['p50']:.3g}" for way in ("odelet", "given", "torchsde")]
        claimed = (row["part"], row["batch"]) == STOCHASTIC_CLAIM
        ratio = verdict(row["ratio"], STOCHASTIC_TARGET, at_least=True, digits=1) if claimed else f"{row['ratio']:.1f}"
        method, steps = row["part"].split("-")
        lines.append([f"{method}, {steps} steps", row["batch"], f"`{row['form']}`", *times, ratio])
    loads, cores = [row["load"] for row in rows], read("stochastic")["machine"]["cores"]
    head = ["solve", "batch", "form", "ms", "ms, noise given", "ms, torchsde", "times as fast as torchsde"]
    load = f"The load of the machine was {min(loads):g} to {max(loads):g} on {cores} cores."
    return f"{table(head, lines)}\n\n{load}"


def native() -> str:
    """The table of libraries beside ONNX Runtime and diffrax."""
    rows, lines = read("native")["rows"], []
    for row in rows:
        times = [f"{row['ms'][way]:.3g}" if way in row["ms"] else "" for way in ("native", "adaptive", "diffrax")]
        ratio, target = row["ratio"].get("diffrax"), NATIVE_TARGETS.get((row["part"], row["batch"]))
        beside = "" if ratio is None else f"{ratio:.2f}" if target is None else verdict(ratio, target)
        share, most = row["ratio"]["adaptive"], ADAPTIVE_TARGETS.get((row["part"], row["batch"]))
        engine = f"{share:.3f}" if most is None else verdict(share, most, digits=3)
        numbers = [f"{row[key]:,}" for key in ("arena", "weights")]
        lines.append([TITLES[row["part"]], row["batch"], *times, engine, beside, *numbers])
    loads, cores = [row["load"] for row in rows], read("native")["machine"]["cores"]
    head = ["model", "batch", "ms", "ms, ONNX Runtime", "ms, diffrax", "of ONNX Runtime's", "of diffrax's"]
    load = f"The load of the machine was {min(loads):g} to {max(loads):g} on {cores} cores."
    return f"{table([*head, 'bytes of arena', 'bytes of weights'], lines)}\n\n{load}"


def rewrites() -> str:
    """The table of layers as they are and rewritten, beside torch's."""
    lines = []
    for row in read("rewrites")["rows"]:
        over = row["over torch"]
        cells = [
            "" if way not in row else f"{1e3 * row[way]['ms']['p50']:.3g}" for way in ("as it is", "rewritten", "torch")
        ]
        before, after = over["as it is"], over.get("rewritten")
        lines.append([row["part"], row["batch"], *cells, f"{before:.2f}", "" if after is None else f"{after:.2f}"])
    head = [
        "four times",
        "batch",
        "µs as it is",
        "µs rewritten",
        "µs torch",
        "as it is, of torch's",
        "rewritten, of torch's",
    ]
    return table(head, lines)


def shared_work(*, guided: bool, joined: bool = False) -> str:
    """The table of fields that compute from the time alone, or (guided) of networks called twice, whose calls the
    export joins (joined) or the model."""
    lines = []
    for row in read("shared_work")["rows"]:
        if row["guided"] is guided and row.get("joined", False) is joined:
            times = [f"{row[way]['ms']['p50']:.3g}" for way in ("apart", "together")]
            form = [] if guided else [f"`{row['form']}`"]
            lines.append([row["title"], *form, row["batch"], *times, f"{row['over']:.2f}"])
    if joined:
        return table(["network", "batch", "ms, two calls", "ms, joined", "joined, of two calls"], lines)
    if guided:
        return table(["network", "batch", "ms, two calls", "ms, one call", "one call, of two"], lines)
    return table(["field", "form", "batch", "ms as it is", "ms rewritten", "rewritten, of as it is"], lines)


def stored_weights() -> str:
    """The table of artifacts whose weights are stored in fewer bits."""
    lines = []
    for row in read("stored_weights")["rows"]:
        metric = "" if row["metric"] is None else f"{row['metric']:.4f}"
        cells = [f"{row['bytes'] / 1e3:,.0f}", f"{row['ms']['p50']:.3g}", f"{row['over']:.2f}", f"{row['error']:.1e}"]
        lines.append([row["title"], row["batch"], f"`{row['weights']}`", *cells, metric])
    head = ["model", "batch", "weights", "kB", "ms", "of the time before", "relative error", "accuracy"]
    return table(head, lines)


def sizes() -> str:
    """The table of what solves take on devices without an engine."""
    lines = []
    for row in read("embedded")["rows"]:
        small, times = row["cortex_m4"], [f"{row['us'][way] / 1000:.3g} ms" for way in ("c", "onnxruntime")]
        cells = ["not measured"] * 4
        if small is not None:
            cells = [_bytes(small[key]) for key in ("flash", "ram", "stack")]
            cells.append(f"{small['instructions'] / 1e6:.3g} million" if small["instructions"] else "")
        lines.append([TITLES[row["part"]], *map(_bytes, (row["arena"], row["weights"])), *cells, row["steps"], *times])
    head = ["model, batch 1", "arena", "weights", "flash", "RAM", "stack", "instructions", "steps", "C", "ONNX Runtime"]
    return table(head, lines)


def _bytes(count: int) -> str:
    return f"{count:,} B" if count < 10_000 else f"{count / 1024:,.0f} kB"


def stages() -> str:
    """The table of the seconds that each stage of an export takes."""
    rows = [row for row in read("exporting")["rows"] if row["part"] == "stages"]
    head = ["form", *rows[0]["seconds"], "whole process"]
    return table(
        head, [[f"`{r['form']}`", *(f"{x:.2f}" for x in r["seconds"].values()), r["whole_process"]] for r in rows]
    )


def scaling() -> str:
    """The table of slopes of time against steps, batch and state."""
    lines = [
        [row["part"], f"`{row['form']}`", f"from {row['from']}", f"{row['slope']:.2f}"]
        for row in read("scaling")["rows"]
        if "slope" in row
    ]
    return table(["time against", "form", "fitted", "slope (1 is linear)"], lines)


def threads() -> str:
    """The table of times on several threads, on the machine of the page."""
    rows = read("threads")["rows"]
    counts = sorted({row["threads"] for row in rows})
    lines = []
    for row in rows:
        if row["threads"] == 1:
            same = {key: row[key] for key in ("part", "form", "batch")}
            others = [find(rows, threads=count, **same) for count in counts[1:]]
            cells = [f"{other['over_one']:.2f}" if other else "" for other in others]
            lines.append([TITLES[row["part"]], row["batch"], f"`{row['form']}`", f"{row['ms']['p50']:.3g}", *cells])
    return table(["workload", "batch", "form", "ms, 1 thread", *(f"{n} threads over 1" for n in counts[1:])], lines)


def _by_batch(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (list(TITLES).index(row["workload"]), row["batch"]))


def cores() -> str:
    """The table of times on several threads, on a machine with many cores."""
    rows, lines = _by_batch(read("cuda")["rows"]), []
    ways = list(dict.fromkeys(row["way"] for row in rows))
    for name, batch in dict.fromkeys((row["workload"], row["batch"]) for row in rows):
        by_way = {
            way: find(rows, workload=name, batch=batch, way=way) for way in ways if way.startswith("adaptive, cpu")
        }
        lines.append([TITLES[name], batch, *(f"{row['ms']['p50']:.3g}" for row in by_way.values() if row)])
    counts = [way.split(", ")[2] if way.count(", ") == 2 else "1 thread" for way in by_way]
    return table(["workload", "batch", *(f"ms, {count}" for count in counts)], lines)


def cuda() -> str:
    """The table of times on a GPU, beside one core and torchdiffeq on the GPU."""
    data = read("cuda")
    rows, lines = _by_batch(data["rows"]), []
    ways = ("adaptive, cpu", "driven, cuda", "adaptive, cuda", "unrolled, cuda", "torchdiffeq, cuda")
    for name, batch in dict.fromkeys((row["workload"], row["batch"]) for row in rows):
        cells = [find(rows, workload=name, batch=batch, way=way) for way in ways]
        lines.append([TITLES[name], batch, *(f"{row['ms']['p50']:.3g}" if row else "" for row in cells)])
    gpu = ["`driven`", "`adaptive`", "`unrolled`, rk4, 128 steps", "torchdiffeq, dopri5"]
    head = ["one core: `adaptive`", *(f"GPU: {way}" for way in gpu)]
    return f"{data['card']}; milliseconds.\n\n" + table(["workload", "batch", *head], lines)


def machine() -> str:
    """A line about the machine and the versions, and a warning about quick runs."""
    computer = read("speed")["machine"]
    packages = ", ".join(f"{name} {v}" for name, v in computer["versions"].items() if v is not None)
    absent = [name for name, v in computer["versions"].items() if v is None]
    quick = [claim for claim in CLAIMS if read(claim)["quick"]]
    lines = [
        f"{computer['processor']}, {computer['cores']} cores, {computer['system']}, "
        f"Python {computer['python']}; {packages}."
    ]
    lines += [f"Not installed: {', '.join(absent)}."] if absent else []
    lines += [f"The results of {', '.join(quick)} are from a quick run with few repeats; do not quote them."] * bool(
        quick
    )
    return " ".join(lines)


CLAIMS = (
    "speed",
    "rewrites",
    "shared_work",
    "stored_weights",
    "stochastic",
    "native",
    "embedded",
    "outputs",
    "scaling",
    "weight",
    "exporting",
    "threads",
)
PERFORMANCE: dict[str, Callable[[], str]] = {
    "machine": machine,
    "targets": targets,
    "behind": behind,
    "floor": floor,
    "speed": speed,
    "rewrites": rewrites,
    "of_time": partial(shared_work, guided=False),
    "guidance": partial(shared_work, guided=True),
    "joined": partial(shared_work, guided=True, joined=True),
    "stochastic": stochastic,
    "native": native,
    "claims": claims,
    "stages": stages,
    "scaling": scaling,
    "threads": threads,
    "cores": cores,
    "cuda": cuda,
}


def trained(part: str) -> list[Row]:
    """The rows of a part of the trainings."""
    return [row for row in read("training")["rows"] if row["part"] == part]


def trained_digits() -> str:
    """The table of ODE-Nets on digits."""
    rows = [[r["kind"], r["calls"], f"{r['accuracy']:.3f}", r["training"][1]] for r in trained("digits")]
    return table(["training", "calls on the device", "accuracy", "calls of the last training step, at 1e-4"], rows)


def trained_moons() -> str:
    """The table of flows on moons."""
    rows = [[r["kind"], r["calls"], f"{r['nats']:.3f}"] for r in trained("moons")]
    return table(["training", "calls on the device", "nats"], rows)


def trained_memory() -> str:
    """The table of peak memory."""
    cells = {(r["kind"], r["steps"]): f"{r['MiB']:.0f} MiB" for r in trained("memory")}
    steps = sorted({step for _, step in cells})
    names = {"odeint": "`odeint`", "adjoint": "`adjoint=True`"}
    rows = [[title, *(cells[kind, step] for step in steps)] for kind, title in names.items()]
    return table(["gradients by", *(f"{step} steps" for step in steps)], rows)


# The parts of each page, by the names of their marks.
PAGES = {
    DOCS / "performance.md": PERFORMANCE,
    DOCS / "embedded.md": {"sizes": sizes},
    DOCS / "weights.md": {"stored_weights": stored_weights},
    DOCS / "training.md": {"digits": trained_digits, "moons": trained_moons, "memory": trained_memory},
    DOCS / "zoo.md": {"zoo": lambda: sections(read("zoo")["rows"])},
}


def filled(page: Path, text: str) -> str:
    """The text of a page, with each part between its marks written again. Raises ValueError for a missing mark."""
    for name, part in PAGES[page].items():
        pattern = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"{page.name} has no marks <!-- begin {name} --> and <!-- end {name} -->; put them back")
        content = part()
        text = pattern.sub(lambda match, content=content: f"{match[1]}{content}\n{match[2]}", text)
    return text


def main() -> None:
    for page in PAGES:
        page.write_text(filled(page, page.read_text(encoding="utf-8")), encoding="utf-8")
    draw_all(read)


if __name__ == "__main__":
    main()
