"""The sizes of sample inputs: each label has one size in a sample, in all inputs that share it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch

from odelet_export.model.axes import Dynamic, axis_size

# A size of 1 shows mistakes of broadcasting. Beside it and the traced size, a label takes two of these.
_OTHERS = (4, 9, 2, 6)


def sizes_of(names: Sequence[str], tensors: Sequence[torch.Tensor], dynamic: Dynamic) -> dict[str, int]:
    """The sizes of the dynamic axes of some inputs, by label."""
    by_name = dict(zip(names, tensors, strict=True))
    return {label: axis_size(by_name[name], axis) for name, axes in dynamic.items() for axis, label in axes.items()}


def sample_sizes(traced: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """Yield the sizes by label of fresh samples, without end.

    traced: the sizes with which the model was traced. In any four samples in a row, each label takes the size 1, its
    traced size and two others. Two labels meet in other pairs of sizes in each four, as a model may take a size of one
    axis only beside some sizes of another.
    """
    choices = {}
    for label, size in traced.items():
        first, second = [other for other in _OTHERS if other != size][:2]
        choices[label] = (1, first, size if size > 1 else 3, second)
    turn = 0
    while True:
        for number in range(4):
            yield {
                label: sizes[(number + place * (1 + turn)) % 4] for place, (label, sizes) in enumerate(choices.items())
            }
        turn += 1
