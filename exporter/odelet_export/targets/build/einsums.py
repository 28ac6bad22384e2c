"""An Einsum as products of matrices, two arrays at a time, where no index stands twice in one array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import helper

from odelet_export.targets.build.operators import Array


def as_products(equation: str, names: Sequence[str], shapes: Sequence[Sequence[int]], out: str) -> _Made | None:
    """The nodes of an Einsum, and the constants that they read. names, shapes: of the arrays. out: the result's name.

    None for an equation with an ellipsis, and for one with an index twice in one array or in the result.
    """
    left, arrow, result = equation.replace(" ", "").partition("->")
    parts = left.split(",")
    if not arrow:
        result = "".join(sorted(one for one in set(left) - {","} if left.count(one) == 1))
    if "." in equation or any(len(set(one)) < len(one) for one in (*parts, result)):
        return None
    sizes = {
        one: size for part, shape in zip(parts, shapes, strict=True) for one, size in zip(part, shape, strict=True)
    }
    made = _Made(out, sizes)
    arrays = [(name, part) for name, part in zip(names, parts, strict=True)]
    while len(arrays) > 1:
        # The pair with the fewest products comes first.
        pair = min(combinations(arrays, 2), key=lambda two: prod(sizes[one] for one in {*two[0][1], *two[1][1]}))
        arrays = [one for one in arrays if one not in pair]
        wanted = {*result, *(one for _, part in arrays for one in part)}
        first, second = pair
        first = made.summed(first, {*wanted, *second[1]})
        second = made.summed(second, {*wanted, *first[1]})
        arrays.append(made.product(first, second, wanted))
    name, part = made.summed(arrays[0], set(result))
    made.nodes.append(helper.make_node("Identity", [made.turned(name, part, result)], [out]))
    return made


# The name of an array, and the index of each of its axes.
_Indexed = tuple[str, str]


@dataclass
class _Made:
    """The nodes of an Einsum, and the constants that they read. out: begins their names. sizes: of the indices."""

    out: str
    sizes: Mapping[str, int]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)

    def summed(self, array: _Indexed, wanted: set[str]) -> _Indexed:
        """An array without the indices that nothing else has."""
        name, part = array
        axes = [place for place, one in enumerate(part) if one not in wanted]
        if not axes:
            return array
        return self._node("ReduceSum", name, axes, keepdims=0), "".join(one for one in part if one in wanted)

    def product(self, first: _Indexed, second: _Indexed, wanted: set[str]) -> _Indexed:
        """The product of two arrays, summed over the indices of both that are not wanted."""
        shared = [one for one in first[1] if one in second[1]]
        both, summed = ([one for one in shared if (one in wanted) is kept] for kept in (True, False))
        rows, columns = ([one for one in part if one not in shared] for _, part in (first, second))
        matrices = [
            self._matrix(array, groups)
            for array, groups in ((first, (both, rows, summed)), (second, (both, summed, columns)))
        ]
        product = self._name("product")
        self.nodes.append(helper.make_node("MatMul", matrices, [product]))
        made = [*both, *rows, *columns]
        return self._node("Reshape", product, [self.sizes[one] for one in made]), "".join(made)

    def _matrix(self, array: _Indexed, groups: Sequence[Sequence[str]]) -> str:
        """An array whose axes are groups of its indices."""
        name, part = array
        turned = self.turned(name, part, [one for group in groups for one in group])
        return self._node("Reshape", turned, [prod(self.sizes[one] for one in group) for group in groups])

    def turned(self, name: str, part: str, order: Sequence[str]) -> str:
        """An array with its indices in another order."""
        places = [part.index(one) for one in order]
        if places == sorted(places):
            return name
        made = self._name("turned")
        self.nodes.append(helper.make_node("Transpose", [name], [made], perm=places))
        return made

    def _node(self, kind: str, name: str, numbers: Sequence[int], **attributes: Any) -> str:
        """Append a node that reads whole numbers. Returns its result."""
        made = self._name(kind.lower())
        self.constants[f"{made}.numbers"] = np.array(numbers, np.int64)
        self.nodes.append(helper.make_node(kind, [name, f"{made}.numbers"], [made], **attributes))
        return made

    def _name(self, kind: str) -> str:
        return f"{self.out}.{kind}_{len(self.nodes)}"
