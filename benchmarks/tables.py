"""What the tables of pages have in common: titles, results, and verdicts about targets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
Row = dict[str, Any]
TITLES = {
    "readme": "README spiral, 50 times",
    "spiral": "spiral MLP 2-64-64-2",
    "mlp": "MLP 64-512-512-64",
    "digits": "digits ODE-Net",
    "guided-50": "transformer with guidance, 50 tokens",
    "guided-200": "transformer with guidance, 200 tokens",
    "latent": "latent ODE decoder",
    "flow": "normalizing flow, exact trace",
    "unet": "U-Net, images of 4 x 16 x 16",
    "graph": "graph, its nodes as the batch",
    "cde": "neural CDE, 50 knots",
    **{f"rk4-{n}": f"spiral, rk4, {n} steps" for n in (8, 32, 128)},
    "spiral-of-one": "spiral MLP, batch fixed",
    "rk4-32-of-one": "spiral, rk4, 32 steps, batch fixed",
}


def read(claim: str) -> dict[str, Any]:
    """The results of a claim, as its benchmark wrote them."""
    return json.loads((RESULTS / f"{claim}.json").read_text(encoding="utf-8"))


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def find(rows: Iterable[Row], **wanted: Any) -> Row | None:
    """The first row with these values, or None."""
    return next((row for row in rows if all(row.get(key) == value for key, value in wanted.items())), None)


def verdict(value: float | None, target: float, *, at_least: bool = False, digits: int = 2) -> str:
    """A figure with its target, and whether the target was reached or missed."""
    if value is None:
        return "not measured"
    bound, reached = ("at least", value >= target) if at_least else ("at most", value <= target)
    return f"{value:.{digits}f} ({bound} {target:g}: {'reached' if reached else '**missed**'})"
