"""The sections of docs/zoo.md, one for each family: from the records of the families and from results/zoo.json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from odelet_models import FAMILIES, load_family

Row = dict[str, Any]


def sections(rows: Sequence[Row]) -> str:
    """The sections of all families. rows: of the results."""
    return "\n\n".join(section(name, [row for row in rows if row["part"] == name]) for name in FAMILIES)


def section(name: str, rows: Sequence[Row]) -> str:
    """The section of a family: what it is for, a picture, a table of its members, and the ratios to its twins."""
    family = load_family(name)
    members = [f"- `{key}`: {member.about}" for key, member in family.members.items()]
    better = "higher" if family.higher else "lower"
    baseline = f"Baseline: {family.baseline[0]}, {family.metric} {rows[0]['baseline']:.4g} ({better} is better)."
    parts = [
        f"## {family.title}",
        f"{family.about} Source: {family.source}. `odelet demo {name}` shows it.",
        "\n".join(members),
        f"![{family.title}](zoo/{name}.png)",
        _table(family.metric, rows),
        " ".join([baseline, *_ratios(family.metric, rows)]),
    ]
    return "\n\n".join(parts)


def _table(metric: str, rows: Sequence[Row]) -> str:
    """A table with a line for each use of each member."""
    batches = [at["batch"] for at in rows[0]["batches"]]
    head = ["member", "use", "form", metric, "largest error", "kB", "field calls"]
    for batch in batches:
        head += [f"ms at batch {batch}: torch", "ONNX Runtime", "native code"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        calls = row["batches"][0]["evaluations"]
        line = [f"`{row['member']}`", row["use"], f"`{row['form']}`" if row["form"] else "no solve"]
        line += [_number(row["score_of_artifact"]), f"{row['error']:.0e}", f"{row['kilobytes']:.0f}", _number(calls)]
        for at in row["batches"]:
            line += [_number(at["ms"].get(way), 3) for way in ("torch", "onnxruntime", "native")]
        lines.append(line)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _ratios(metric: str, rows: Sequence[Row]) -> list[str]:
    """A sentence for each discrete twin: its time, size and score beside those of the family's first member."""
    first, sentences = rows[0], []
    scored = [row for row in rows if row["score_of_artifact"] is not None]
    for twin in (row for row in scored if row["discrete"]):
        times = [
            f"{_best(b) / _best(a):.2g} of the time of `{first['member']}` at batch {a['batch']}"
            for a, b in zip(first["batches"], twin["batches"], strict=True)
        ]
        sentences.append(
            f"`{twin['member']}` takes {' and '.join(times)}, each by its fastest way, has "
            f"{twin['parameters'] / first['parameters']:.2g} times as many weights, and reaches {metric} "
            f"{twin['score_of_artifact']:.4g} against {first['score_of_artifact']:.4g}."
        )
    return sentences


def _best(at: Row) -> float:
    """The milliseconds of the fastest of odelet's ways."""
    return min(value for way, value in at["ms"].items() if way != "torch")


def _number(value: float | None, digits: int = 4) -> str:
    return "" if value is None else f"{value:.{digits}g}"
