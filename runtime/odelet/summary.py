"""What a card says, as text for people.

The law here: it is read from the card alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from odelet.card import Card, SolveCard


def summary_of(card: Card) -> str:
    """Return what a person wants to know of an artifact, as a screen of text."""
    lines = [f"{card.name}: form {card.form}, written by odelet {card.odelet}, format {card.format}"]
    for kind, tensors in (("inputs", card.inputs), ("outputs", card.outputs)):
        lines += [kind, *(f"  {tensor.name}: {tensor}" for tensor in tensors)]
    lines += ["solves", *(f"  {_solve_line(solve)}" for solve in card.solves)] if card.solves else []
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
