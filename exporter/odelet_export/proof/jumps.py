"""Finds jumps of a field between the evaluations of a solve, by halving the distance between two of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

# Neighbouring evaluations between which a jump is looked for: so many, those with the largest changes first.
_PAIRS = 64
# A change is looked into from this share of the largest slope on. It is a jump if half of it is left after so many
# halvings: what is continuous loses all but a small part of it.
_CHANGE, _HALVINGS = 0.02, 12


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of a field. state, slope: flat float64 tensors of all parts. like: the state as it was given."""

    time: torch.Tensor
    state: torch.Tensor
    slope: torch.Tensor
    like: Any

    @classmethod
    def of(cls, t: torch.Tensor, y: Any, slope: Any) -> Evaluation:
        """The evaluation of a field at (t, y), a tensor or a tuple of tensors."""
        return cls(t.detach(), _flat(y), _flat(slope), y)


@dataclass(frozen=True)
class Jumps:
    """The jumps of a field along a solution. times: where it jumps while the state stands still. in_state: whether it
    jumps elsewhere, where the state moves."""

    times: Sequence[float] = ()
    in_state: bool = False


def find_jumps(func: Callable[..., Any], evaluations: Sequence[Evaluation]) -> Jumps:
    """The jumps of a field between its evaluations in one solve.

    func: the field. Raises what the field raises at times and states between those of the evaluations.
    """
    known = sorted(evaluations, key=lambda one: float(one.time))
    if len(known) < 2:
        return Jumps()
    largest = max(float(one.slope.abs().max()) for one in known if one.slope.numel())
    pairs = [(_change(a, b), a, b) for a, b in zip(known, known[1:], strict=False) if float(a.time) < float(b.time)]
    pairs = sorted((pair for pair in pairs if pair[0] > _CHANGE * largest), key=lambda pair: -pair[0])[:_PAIRS]
    times: list[float] = []
    in_state = False
    for _, a, b in pairs:
        if any(float(a.time) <= time <= float(b.time) for time in times):
            continue  # several steps were tried across this jump
        still = Evaluation.of(b.time, a.like, func(b.time, a.like))
        if _change(a, still) > _CHANGE * largest:
            place = _narrowed(func, a, still)
            times += [] if place is None else [place]
            if place is not None:
                continue
        in_state |= _narrowed(func, still, b) is not None
    return Jumps(tuple(times), in_state)


def _narrowed(func: Callable[..., Any], a: Evaluation, b: Evaluation) -> float | None:
    """The time of a jump on the straight line between two evaluations; None where the field changes continuously."""
    whole = _change(a, b)
    for _ in range(_HALVINGS):
        time = (a.time + b.time) / 2
        state = _between(a.like, b.like)
        middle = Evaluation.of(time, state, func(time, state))
        a, b = (a, middle) if _change(a, middle) >= _change(middle, b) else (middle, b)
    return float(b.time) if _change(a, b) > whole / 2 and whole > 0 else None


def _change(a: Evaluation, b: Evaluation) -> float:
    """The largest change of the slope from one evaluation to another."""
    return float((b.slope - a.slope).abs().max()) if a.slope.numel() else 0.0


def _between(a: Any, b: Any) -> Any:
    """The state in the middle between two states."""
    return tuple((one + other) / 2 for one, other in zip(a, b, strict=True)) if isinstance(a, tuple) else (a + b) / 2


def _flat(parts: Any) -> torch.Tensor:
    tensors = parts if isinstance(parts, (tuple, list)) else (parts,)
    return torch.cat([torch.as_tensor(part).detach().reshape(-1).double() for part in tensors])
