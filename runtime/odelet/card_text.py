"""A card as text: JSON, and a screen for people.

The law here: it is read from the card alone.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from odelet.errors import ArtifactError

if TYPE_CHECKING:
    from odelet.card import Card, SolveCard


def summary_of(card: Card) -> str:
    """Return what a person wants to know of an artifact, as a screen of text."""
    lines = [f"{card.name}: form {card.form}, written by odelet {card.odelet}, format {card.format}"]
    for kind, tensors in (("inputs", card.inputs), ("outputs", card.outputs)):
        lines += [kind, *(f"  {tensor.name}: {tensor}" for tensor in tensors)]
    lines += ["solves", *(f"  {_solve_line(solve)}" for solve in card.solves)] if card.solves else []
    if card.fallback is not None:
        each = f"each sample ({card.fallback.axis}) by itself" if card.fallback.axis else "the whole call"
        lines.append(f"fallback: where error_ratio is above 1, {each} is solved again, driven")
    if card.noise:
        lines += ["noise, drawn where it is not given"]
        lines += [f"  {noise.name}: {noise.distribution}, {noise.source}" for noise in card.noise]
    if card.assumptions:
        lines += ["assumptions, checked in each call", *(f"  {assumption}" for assumption in card.assumptions)]
    if card.files:
        lines += ["files", *(f"  {name}: {entry.bytes:,} bytes" for name, entry in card.files.items())]
    if card.parity is not None:
        lines += ["parity", *(f"  {key}: {value}" for key, value in card.parity.items())]
    if card.versions:
        lines.append("versions " + ", ".join(f"{key} {value}" for key, value in card.versions.items()))
    return "\n".join(lines)


def _solve_line(solve: SolveCard) -> str:
    told = [solve.form, *(["each sample on its own"] if solve.per_sample else [])]
    told += [solve.source] if solve.source else []
    for key in ("rtol", "atol", "max_steps", "steps"):
        value = getattr(solve, key)
        numbers = value if isinstance(value, tuple) else () if value is None else (value,)
        told += [f"{key} {'/'.join(f'{x:g}' if isinstance(x, float) else str(x) for x in numbers)}"] if numbers else []
    if solve.settings:
        told.append(f"can be set: {', '.join(solve.settings)}")
    return f"{solve.index}: {solve.method}, " + "\n     inside it: ".join([", ".join(told), *solve.nested])


def encode(card: Card, *, drop: tuple[str, ...]) -> str:
    """Return a card as JSON, without some of its keys."""
    data = {key: value for key, value in asdict(card).items() if key not in drop}
    if data["fallback"] is None:
        del data["fallback"]
    for solve in [*data["solves"], *data.get("fallback", {}).get("solves", ())]:
        for key in [key for key in ("drive", "piece") if solve[key] is None]:
            del solve[key]
    try:
        return json.dumps(data, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ArtifactError(f"card: it holds something that JSON cannot ({error})") from None
