"""The table of trial exports, as text for a terminal and as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any

PACKAGES = ("torch", "torchdiffeq", "onnx", "onnxscript", "onnxruntime")
GOOD = ("works", "frozen")


def line(row: Any) -> str:
    """The row of one trial as a line for a terminal."""
    error = f"{row.error:.1e}" if row.error is not None else ""
    reason = " ".join(part for part in (row.reason, f"DO: {row.rewrite}" if row.rewrite else "") if part)
    columns = f"{row.source:24} {row.model:28} {row.form:9} {row.result:9} {row.tracer:13} {error:8}"
    return f"{columns} {row.seconds:5.1f} s {reason}"


def page(rows: Sequence[Any], tried: Iterable[tuple[str, str]]) -> str:
    """The text of docs/compatibility.md, made from the rows of all trials.

    tried: for each source its name, and a phrase that says which of its code was tried.
    """
    counts = Counter(row.result for row in rows)
    lines = [
        "# Models that others wrote",
        "",
        "This page says what public models do when they are exported unchanged, with the code of their examples",
        "around them. `tests/thirdparty/try_models.py` makes it, and says how to run it. None of that code is in",
        "this repository. Weights are random, and sizes are small. Each export runs in a process of its own and is",
        "compared with torch and torchdiffeq at the example and at fresh inputs, with other batch sizes and times",
        "where these may change. `error` is the largest error of any output, relative to the largest element of",
        "that output. Where it is far above float32 rounding, torch's own answer changes as much when its inputs",
        "change in their last places, because the solver then takes one step more or less. `assumptions` counts",
        "decisions of the model's own, such as an `assert`, that are checked in each call. Rows of sources that were",
        "not at hand in the last run are those of an earlier one.",
        "",
        "Made with " + ", ".join(f"{name} {version(name)}" for name in PACKAGES) + ".",
        "",
        *(f"- {name}: {what}" for name, what in tried),
        "",
        f"**{sum(counts[name] for name in GOOD)} of {len(rows)} exports work.** "
        + ", ".join(f"{name}: {count}" for name, count in counts.most_common())
        + ".",
        "",
        "| source | model | exercises | form | result | solves | tracer | assumptions | error | seconds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        result = "works " + row.reason if row.result == "frozen" else row.result
        error = f"{row.error:.1e}" if row.error is not None else ""
        cells = (
            row.source,
            row.model,
            row.exercises,
            row.form,
            result,
            _shortened(row.solves),
            row.tracer,
            str(row.assumptions or ""),
            error,
        )
        lines.append("| " + " | ".join(map(_cell, cells)) + f" | {row.seconds:.0f} |")
    bad = [row for row in rows if row.result not in GOOD]
    if bad:
        lines += [
            "",
            "## What does not work, and why",
            "",
            "| model | form | why | what to write instead |",
            "|---|---|---|---|",
        ]
        lines += ["| " + " | ".join(map(_cell, (r.model, r.form, r.reason, r.rewrite))) + " |" for r in bad]
    return "\n".join(lines) + "\n"


def _shortened(solves: str) -> str:
    """The list of solves with equal entries counted ("8 x ..."), as a flow or a recurrent encoder has many."""
    counts = Counter(part for part in solves.split(", ") if part)
    return ", ".join(f"{count} x {name}" if count > 1 else name for name, count in counts.items())


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
