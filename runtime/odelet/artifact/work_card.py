"""What a card says of the work in the operators of its graphs.

The law here: the dataclass is the format, as in `card`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

from odelet.artifact.checks import check


@dataclass(frozen=True, kw_only=True)
class ProductCard:
    """The largest matrix products and convolutions whose work grows with the same axes.

    work: number of multiplications in the largest of them, with these axes counted as 1. axes: names of dynamic axes of
    the inputs, each as often as the work is in proportion to its size.
    """

    work: int
    axes: tuple[str, ...]

    def __post_init__(self) -> None:
        check(self.work >= 1, f"products: work is {self.work}")
        check(len(self.axes) >= 1, "products: an entry has no axes")


def work_of(products: Iterable[ProductCard], sizes: Mapping[str, int]) -> int:
    """The number of multiplications in the largest product of a call. sizes: of the dynamic axes."""
    return max((product.work * prod(sizes[axis] for axis in product.axes) for product in products), default=0)
