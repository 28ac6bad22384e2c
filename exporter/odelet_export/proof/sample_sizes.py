"""The sizes of sample inputs: each label has one size in a sample, in all inputs that share it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product

import torch

from odelet.artifact.formulas import Formula
from odelet_export.model.axes import Dynamic, axis_size

# A size of 1 shows mistakes of broadcasting. Beside it and the traced size, a label takes two of these.
_USUAL = (4, 9, 2)
# Beside a small traced size, the largest of the four sizes takes most of the time. A model may take multiples only.
_OTHERS = {2: (4, 5), 3: (4, 6), 4: (5, 2)}
# Where conditions are to be met, sizes up to four times the traced one are tried, or up to four times this.
_LARGEST = 16
_MOST_PRODUCTS = 20_000


def sizes_of(names: Sequence[str], tensors: Sequence[torch.Tensor], dynamic: Dynamic) -> dict[str, int]:
    """The sizes of the dynamic axes of some inputs, by label."""
    by_name = dict(zip(names, tensors, strict=True))
    return {label: axis_size(by_name[name], axis) for name, axes in dynamic.items() for axis, label in axes.items()}


def sample_sizes(traced: Mapping[str, int], conditions: Sequence[Formula] = ()) -> Iterator[dict[str, int]]:
    """Yield the sizes by label of fresh samples, without end.

    traced: the sizes with which the model was traced. conditions: what the model needs of sizes, which these meet if
    any sizes beside the traced ones are found that do. In any four samples in a row, each label takes the size 1, its
    traced size and two others, as far as conditions allow. Two labels meet in other pairs of sizes in each four, as a
    model may take a size of one axis only beside some sizes of another.
    """
    choices = {label: _choices(label, size, conditions) for label, size in traced.items()}
    # Conditions on several labels are met by chance; these sizes are a supply for the samples that do not meet them.
    several = [formula for formula in conditions if len(formula.names) > 1]
    supply = [sizes for sizes in _products(traced, conditions) if _holds(several, sizes)] if several else []
    turn = 0
    while True:
        for number in range(4):
            sizes = {
                label: sizes[(number + place * (1 + turn)) % len(sizes)]
                for place, (label, sizes) in enumerate(choices.items())
            }
            if supply and not _holds(several, sizes):
                sizes = supply[(4 * turn + number) % len(supply)]
            yield sizes
        turn += 1


def _choices(label: str, traced: int, conditions: Sequence[Formula]) -> tuple[int, ...]:
    """The sizes of a label in four samples: those without conditions, or the nearest that meet them."""
    first, second = _OTHERS.get(traced, [other for other in _USUAL if other != traced])[:2]
    usual = (1, first, traced if traced > 1 else 3, second)
    allowed = _allowed(label, traced, conditions)
    if not allowed:
        return usual
    chosen: list[int] = []
    for wanted in usual:
        fresh = [size for size in allowed if size not in chosen] or allowed
        chosen.append(min(fresh, key=lambda size: abs(size - wanted)))
    return tuple(chosen)


def _allowed(label: str, traced: int, conditions: Sequence[Formula]) -> list[int]:
    """The sizes of a label that meet the conditions on it alone."""
    alone = [formula for formula in conditions if formula.names == {label}]
    return [size for size in range(1, 4 * max(traced, _LARGEST) + 1) if _holds(alone, {label: size})]


def _products(traced: Mapping[str, int], conditions: Sequence[Formula]) -> Iterator[dict[str, int]]:
    """Sizes of all labels together, the nearest to the usual ones first; a bounded number."""
    pools = []
    for label, size in traced.items():
        allowed = _allowed(label, size, conditions)
        pools.append(sorted({*allowed[:_LARGEST], *(one for one in allowed if one % size == 0)})[: 2 * _LARGEST])
    for sizes in islice(product(*pools), _MOST_PRODUCTS):
        yield dict(zip(traced, sizes, strict=True))


def _holds(conditions: Sequence[Formula], sizes: Mapping[str, int]) -> bool:
    return all(formula.value(sizes) for formula in conditions)
