"""Elements at an index that is a size, `x[n // 2]` with n the size of an axis: slices of one element.

torch's own indexing would fix the size below autograd. As other rewrites do, this one returns a function that computes
the result, or None for a call that can be traced as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch


def element_at_size(
    args: Sequence[Any], _kwargs: Mapping[str, Any], _numbers: object
) -> Callable[[], torch.Tensor] | None:
    """A rewrite of x[i] with sizes among the indices."""
    x, key = args[0], args[1]
    parts = key if isinstance(key, tuple) else (key,)
    if not any(isinstance(part, torch.SymInt) for part in parts):
        return None
    if any(isinstance(part, (torch.Tensor, list)) for part in parts):
        return None  # beside masks and rows of indices torch orders the axes by rules of its own

    def select() -> torch.Tensor:
        element: torch.Tensor = x[tuple(slice(None) if isinstance(part, torch.SymInt) else part for part in parts)]
        for axis, index in reversed(_axes(x, parts)):
            element = element.select(axis, index)
        return element

    return select


def _axes(x: torch.Tensor, parts: Sequence[Any]) -> list[tuple[int, torch.SymInt]]:
    """The sizes in an index, each with its axis where slices take the places of the sizes."""
    axis, found = 0, []
    for part in parts:
        if isinstance(part, torch.SymInt):
            found.append((axis, part))
        if part is Ellipsis:
            axis += x.ndim - sum(one is not None and one is not Ellipsis for one in parts)
        elif not isinstance(part, int):
            axis += 1
    return found
