"""The reference for `per_sample`: the torch model run on each batch row alone. The law here: one row a run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import torch

from odelet.artifact.card import Card
from odelet_export.capture.captured import Captured
from odelet_export.errors import FormError
from odelet_export.lowering.hole import Hole
from odelet_export.model.axes import Dynamic
from odelet_export.model.callee import Callee
from odelet_export.model.overrides import Overrides
from odelet_export.model.random_draws import drawing
from odelet_export.model.random_sources import ReplayedSource
from odelet_export.model.reference import SolveCount, run_reference


@dataclass(frozen=True)
class SampleAxes:
    """The axes of the inputs, outputs and base draws that count batch rows; None for a tensor that all rows share."""

    inputs: tuple[int | None, ...]
    outputs: tuple[int, ...]
    noise: tuple[int | None, ...] = ()


def run_alone(
    callee: Callee,
    tensors: Sequence[torch.Tensor],
    overrides: Overrides,
    samples: SampleAxes,
    noise: Sequence[torch.Tensor | None] = (),
    *,
    most_calls: int | None = None,
) -> tuple[list[np.ndarray], list[SolveCount]]:
    """Run the torch model on each batch row alone. Returns the outputs, joined along the batch axis, and the counts of
    each solve, summed over the rows.

    samples: the batch axes. noise: the base draws of the whole batch; None for a draw that nothing uses. most_calls:
    how often the run of one row may call fields.
    """

    def of_sample(x: Any, axis: int | None, i: int) -> Any:
        return x if axis is None or x is None else x.narrow(axis, i, 1)

    axes = samples.inputs
    count = next(tensor.shape[axis] for tensor, axis in zip(tensors, axes, strict=True) if axis is not None)
    runs = []
    for i in range(count):
        drawn = [of_sample(x, axis, i) for x, axis in zip(noise, samples.noise, strict=True)]
        with drawing(ReplayedSource(drawn)) if noise else nullcontext():
            row_tensors = [of_sample(x, axis, i) for x, axis in zip(tensors, axes, strict=True)]
            runs.append(run_reference(callee, row_tensors, overrides, most_calls=most_calls))
    outputs = [
        np.concatenate(arrays, axis=axis)
        for *arrays, axis in zip(*(outputs for outputs, _ in runs), samples.outputs, strict=True)
    ]
    # In a batch, one call of the field serves all rows, so that the sum of the evaluations has no meaning.
    totals = [
        SolveCount(sum(c.steps or 0 for c in counts), sum(c.accepted or 0 for c in counts), None)
        for counts in zip(*(counts for _, counts in runs), strict=True)
    ]
    return outputs, totals


def batch_axes(holes: Sequence[Hole], dynamic: Dynamic, callee: Callee, card: Card, captured: Captured) -> SampleAxes:
    """The axes of the model's inputs, outputs and base draws that count batch rows.

    Raises FormError where the solves do not share one dynamic batch axis, or an output lacks it.
    """
    labels = set()
    for hole in holes:
        if hole.spec.per_sample:
            dim = hole.y0[0].shape[0] if hole.y0[0].shape is not None else None
            labels.add(dim.value if isinstance(dim, ir.SymbolicDim) else dim)
    (label, *others) = labels
    dynamic_names = {name for axes in dynamic.values() for name in axes.values()}
    if others or label not in dynamic_names:
        raise FormError(
            "per_sample needs one dynamic axis that is the first of every state; the states have "
            f"{', '.join(sorted(map(str, labels)))}, the dynamic axes are {', '.join(sorted(dynamic_names)) or 'none'}"
        )
    inputs = [
        next((axis for axis, name in dynamic.get(tensor, {}).items() if name == label), None) for tensor in callee.names
    ]
    outputs = [tensor.shape.index(label) if label in tensor.shape else None for tensor in card.outputs]
    for tensor, axis in zip(card.outputs, outputs, strict=True):
        if axis is None:
            raise FormError(
                f"per_sample: in the output {tensor.name} {tensor} samples mix, as it has no axis {label!r}"
            )
    shapes = {tensor.name: tensor.shape for tensor in card.inputs}
    noise: list[int | None] = [None] * captured.draw_count
    for one in captured.noise:
        noise[one.draw.index] = shapes[one.name].index(label) if label in shapes[one.name] else None
    return SampleAxes(tuple(inputs), tuple(axis for axis in outputs if axis is not None), tuple(noise))
