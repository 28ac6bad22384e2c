"""`torch.gradient`, central differences along an axis, by slices: torch's own function fixes the size of the axis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch


def gradient(
    args: Sequence[Any], kwargs: Mapping[str, Any], _numbers: object
) -> Callable[[], list[torch.Tensor]] | None:
    """A rewrite of torch.gradient along an axis whose size may change; None for a call that can be traced as it is."""
    x = args[0] if args else kwargs["input"]
    spacing, order = kwargs.get("spacing", 1), kwargs.get("edge_order", 1)
    given = kwargs.get("dim")
    axes = [given] if isinstance(given, int) else list(range(x.ndim) if given is None else given)
    if len(args) > 1 or not any(isinstance(x.shape[axis], torch.SymInt) for axis in axes):
        return None
    spacings = list(spacing) if isinstance(spacing, (list, tuple)) else [spacing] * len(axes)
    if len(spacings) != len(axes) or order not in (1, 2):
        return None  # torch says what is wrong
    return lambda: [slopes(x, axis, step, order) for axis, step in zip(axes, spacings, strict=True)]


def slopes(x: torch.Tensor, axis: int, spacing: Any, order: int) -> torch.Tensor:
    """The slopes of the values along an axis. spacing: the distance of neighbours, or the coordinates of all values.
    order: 1 or 2, the order of accuracy at the two ends."""
    x = x if x.is_floating_point() or x.is_complex() else x.to(torch.get_default_dtype())
    size: Any = x.shape[axis]
    below, middle, above = (x.narrow(axis, start, size - 2) for start in (0, 1, 2))
    first, last = [x.narrow(axis, i, 1) for i in range(3)], [x.narrow(axis, size - 1 - i, 1) for i in range(3)]
    if isinstance(spacing, torch.Tensor) and spacing.ndim:
        shape = [-1, *[1] * (x.ndim - 1 - axis % x.ndim)]
        gaps = (spacing.narrow(0, 1, size - 1) - spacing.narrow(0, 0, size - 1)).reshape(shape)
        before, after = gaps.narrow(0, 0, size - 2), gaps.narrow(0, 1, size - 2)
        start, end = ([gaps.narrow(0, i, 1) for i in row] for row in ((0, 1), (size - 2, size - 3)))
    else:
        before = after = spacing
        start = end = [spacing, spacing]
    inner = _at_the_middle((below, middle, above), before, after)
    ends = (_at_an_end(row, gap, order) for row, gap in ((first, start), (last, end)))
    low, high = ends
    return torch.cat([low, inner, -high], axis)


def _at_the_middle(values: Sequence[torch.Tensor], before: Any, after: Any) -> torch.Tensor:
    below, middle, above = values
    both = before + after
    if before is after:
        return (above - below) / both
    return (
        middle * ((after - before) / (before * after))
        + above * (before / (after * both))
        - below * (after / (before * both))
    )


def _at_an_end(values: Sequence[torch.Tensor], gaps: Sequence[Any], order: int) -> torch.Tensor:
    """The slope at the first of three values, away from the end."""
    near, far = gaps
    if order == 1:
        return (values[1] - values[0]) / near
    both = near + far
    return (
        values[1] * (both / (near * far))
        - values[0] * ((near + both) / (near * both))
        - values[2] * (near / (far * both))
    )
