"""Which of a model's dynamic axes counts the samples of a batch, and where an array has that axis."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import onnx_ir as ir

from odelet.artifact.card import Tensor
from odelet_export.lowering.hole import Hole


def first_axes(hole: Hole) -> set[str | None]:
    """The names of the first axes of the parts of a state; None for an axis of fixed size."""
    names: set[str | None] = set()
    for part in hole.y0:
        dim = part.shape[0] if part.shape is not None and len(part.shape) else None
        names.add(dim.value if isinstance(dim, ir.SymbolicDim) else None)
    return names


def axis_of_states(holes: Sequence[Hole], dynamic_axes: Collection[str]) -> str | None:
    """The name of the dynamic axis that is the first of every part of some state, or None."""
    for hole in holes:
        axes = first_axes(hole)
        if len(axes) == 1 and axes <= set(dynamic_axes):
            return next(iter(axes))
    return None


def axis_of_samples(holes: Sequence[Hole], inputs: Sequence[Tensor]) -> str | None:
    """The name of the axis that counts samples: that of the states; `batch`, where an input has an axis of this name;
    or the first axis of the first input of two axes or more, where it is dynamic. Otherwise None.

    inputs: those of the model, without its noise.
    """
    named = {size for tensor in inputs for size in tensor.shape if isinstance(size, str)}
    of_states = axis_of_states(holes, named)
    if of_states is not None or "batch" in named:
        return of_states or "batch"
    first = next((tensor.shape[0] for tensor in inputs if len(tensor.shape) > 1), None)
    return first if isinstance(first, str) else None


def place_of(axis: str | None, shape: Sequence[int | str]) -> int | None:
    """The first axis of a shape whose size is that of a named axis, or a formula of it such as "4*batch"; or None."""
    return next((place for place, size in enumerate(shape) if axis in re.findall(r"\w+", str(size))), None)
