"""Elements repeated side by side, `repeat_interleave`, where a size decides how often, in other operators.

torch's translation to ONNX expands a count that is a traced number to a shape that ONNX Runtime refuses. As other
rewrites do, this returns a function that computes the result, or None for a call that can be traced as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch


def repeated(args: Sequence[Any], kwargs: Mapping[str, Any], _numbers: object) -> Callable[[], torch.Tensor] | None:
    """A rewrite of x.repeat_interleave(repeats, dim) with one count for all elements, a traced whole number."""
    names = ("input", "repeats", "dim")
    given = dict(zip(names, args, strict=False)) | dict(kwargs)
    x, repeats, axis = given.get("input"), given.get("repeats"), given.get("dim")
    if not isinstance(x, torch.Tensor) or not isinstance(repeats, torch.SymInt):
        return None

    def repeat() -> torch.Tensor:
        row = x.reshape(-1) if axis is None else x
        place = 0 if axis is None else axis % row.ndim
        sizes = [*row.shape[: place + 1], repeats, *row.shape[place + 1 :]]
        return row.unsqueeze(place + 1).expand(sizes).flatten(place, place + 1)

    return repeat
