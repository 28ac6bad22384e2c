"""A tuning as text: the table of rows, as Markdown and on the screen, and the choice."""

from __future__ import annotations

import json
from math import inf

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from odelet.artifact.array_files import replace_file
from odelet_export.tuning.pareto import PICTURE
from odelet_export.tuning.record import Row
from odelet_export.tuning.result import Tuning

PAGE = "tune.md"
# The screen shows at most this many rows; tune.md has all of them.
MOST_SHOWN = 24
HEADS = ("method", "setting", "form", "error", "mean error", "metric", "evaluations", "ms", "slowest", "kB")
# Columns of text are aligned to the left. The screen has no room for the columns in NARROW.
TEXTS, NARROW = HEADS[:3], ("mean error", "slowest")


def heads_of(tuning: Tuning) -> tuple[str, ...]:
    """The heads of the table's columns; there is a column of the metric only where there is a metric."""
    has_metric = tuning.record.reference.get("metric") is not None
    return tuple(head for head in HEADS if head != "metric" or has_metric)


def cells(row: Row, heads: tuple[str, ...]) -> list[str]:
    """The cells of a row, one for each head; empty where nothing was measured."""

    def number(value: float | None, digits: int) -> str:
        return "" if value is None else f"{value:.{digits}g}"

    texts = {
        "method": row.candidate.method or "its own",
        "setting": row.candidate.setting,
        "form": row.candidate.way,
        "error": number(row.error, 2),
        "mean error": number(row.mean_error, 2),
        "metric": number(row.metric, 4),
        "evaluations": number(row.evaluations, 4),
        "ms": number(row.milliseconds, 3),
        "slowest": number(row.slowest, 3),
        "kB": "" if row.bytes is None else f"{row.bytes / 1000:.0f}",
    }
    return [texts[head] for head in heads]


def markdown(tuning: Tuning, *, picture: str | None = None) -> str:
    """The page tune.md. picture: the name of a file to show, or None."""
    record, heads = tuning.record, heads_of(tuning)
    chosen = tuning.choice
    lines = [f"# Tuned for an error of at most {record.target:g}", "", *_verdict(tuning), ""]
    if record.command:
        lines += ["```sh", record.command, *([record.build] if record.build else []), "```", ""]
    if record.build:
        lines += [
            "Load it with `odelet.load(..., engine='native')`, which runs the library that the second one makes.",
            "",
        ]
    if picture is not None:
        lines += [f"![Error against milliseconds of a call]({picture})", ""]
    lines += ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in tuning.complete:
        mark = "**" if row == chosen else ""
        lines.append("| " + " | ".join(f"{mark}{cell}{mark}" if cell else "" for cell in cells(row, heads)) + " |")
    part = [row for row in tuning.rows if row.calls < tuning.calls and row.worst < inf]
    if part:
        lines += ["", "Not measured on all calls, as other candidates were better on the calls given here:", ""]
        lines += ["| calls | " + " | ".join(heads) + " |", "|" + "---|" * (len(heads) + 1)]
        lines += [f"| {row.calls} | " + " | ".join(cells(row, heads)) + " |" for row in part]
    failed = [row for row in tuning.rows if row.worst == inf]
    if failed:
        lines += ["", "Not possible:", "", *(f"- {row.candidate}: {row.note}" for row in failed)]
    lines += ["", "## How it was measured", "", *_how(tuning)]
    return "\n".join(lines) + "\n"


def _verdict(tuning: Tuning) -> list[str]:
    """Lines about the choice, or about the row that is nearest to a choice."""
    record, row = tuning.record, tuning.choice
    within = "" if record.budget is None else f" and at most {record.budget:g} ms"
    if row is None:
        near = tuning.nearest
        nearest = "" if near is None else f" The nearest: {near.candidate}, error {near.worst:.2g}, {near.time:.3g} ms."
        return [f"Nothing that was tried has an error of at most {record.target:g}{within}.{nearest}"]
    metric = "" if row.metric is None else f", metric {row.metric:.4g}"
    return [
        f"Chosen: {row.candidate}: error {row.worst:.2g}{metric}, {row.time:.3g} ms a call, "
        f"{row.ratio:.2f} times the model as it is."
    ]


def _how(tuning: Tuning) -> list[str]:
    """Lines about how the numbers of the table were measured."""
    record, reference = tuning.record, tuning.record.reference
    identity = record.identity
    machine, versions = identity["machine"], identity["versions"]
    metric = "" if reference["metric"] is None else f" Its metric is {reference['metric']:.4g}."
    return [
        f"- error: of the outputs of {tuning.complete[0].samples if tuning.complete else 0} samples in {tuning.calls} "
        "calls, the largest of any sample, relative to the largest element of that output.",
        f"- reference: the model in {reference['dtype']}, its solves by {reference['method']} at rtol = atol = "
        f"{reference['tolerance']:g}, with steps that end at the output times. At {reference['compared']:g} it differs "
        f"by {reference['uncertainty']:.1e}; smaller errors are not told apart.{metric}",
        "- ms: of a call, beside the model as it is, in turns; for each input the shortest time (of the thread, where "
        "there is one), and the mean over inputs. slowest: of the input that takes longest. The model as it is takes "
        f"{record.milliseconds:.3g} ms.",
        *([f"- native code: {record.native}."] if record.native else []),
        f"- machine: {machine['processor']}, {machine['cores']} cores, {machine['system']}; "
        f"{identity['settings']['threads']} thread{'s' * (identity['settings']['threads'] > 1)}.",
        f"- versions: {', '.join(f'{name} {text}' for name, text in versions.items())}. Seed {record.seed}.",
    ]


def write_page(tuning: Tuning) -> None:
    """Write tune.md into the tuning's folder, with the picture if there is one."""
    path = tuning.folder / PAGE
    picture = PICTURE if (tuning.folder / PICTURE).exists() else None
    text = markdown(tuning, picture=picture).encode()
    replace_file(path, lambda file: file.write(text))


def show(tuning: Tuning, console: Console) -> None:
    """Print the table of the rows on all data, and the choice."""
    heads = tuple(head for head in heads_of(tuning) if head not in NARROW)
    chosen = tuning.choice or tuning.nearest
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for head in heads:
        table.add_column(
            "calls of f" if head == "evaluations" else head, justify="left" if head in TEXTS else "right", no_wrap=True
        )
    shown = [row for row in tuning.complete if row in tuning.front or row == chosen or row.candidate.method is None]
    shown = shown if len(tuning.complete) > MOST_SHOWN else tuning.complete
    for row in shown:
        good = row.worst <= tuning.record.target and row.time <= tuning.record.most
        style = "bold green" if row == tuning.choice else "" if good else "dim"
        table.add_row(*cells(row, heads), style=style)
    console.print(table)
    if len(shown) < len(tuning.complete):
        console.print(
            f"the Pareto front of {len(tuning.complete)} rows on all data; {PAGE} has the other rows", style="dim"
        )
    if tuning.record.native:
        console.print(f"native code: {tuning.record.native}", soft_wrap=True, style="dim")
    if tuning.choice is not None:
        console.print(_verdict(tuning)[0], soft_wrap=True, style="bold")


def to_json(tuning: Tuning) -> str:
    """The record, the choice and its command as one JSON object, for scripts."""
    row = tuning.choice
    data = json.loads(tuning.record.to_json())
    return json.dumps({"choice": None if row is None else data["chosen"], "command": tuning.record.command, **data})
