"""Traces a model at several sizes of its dynamic axes, and makes one graph of the traces.

torch.func and other parts of torch ask for sizes as plain numbers, which a trace with symbols cannot give. Here the
sizes are numbers in each trace. The graphs of the traces must be alike but for numbers; a number that differs among
them
is computed from the sizes, by the shortest formula that gives it in every trace.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.utils._pytree import tree_flatten, tree_unflatten

from odelet_export.model.axes import Dynamic

# As many traces as tell a product of sizes from a sum, and check the formula once.
TRACES = 3
_LARGEST_DIVISOR = 8
_MOST_FACTORS = 3


class Unlike(Exception):
    """Raised where traces at several sizes differ in more than numbers. The text says what differs."""


@dataclass(frozen=True)
class _Formula:
    """(factor * product of the sizes of some axes + offset) // divisor; labels: the axes, one of them maybe twice."""

    labels: tuple[str, ...]
    factor: int
    offset: int
    divisor: int = 1


def several_sizes(example: Mapping[str, int], fixed: Sequence[int]) -> list[dict[str, int]]:
    """The sizes of the dynamic axes in each trace, by label: those of the example first, then others.

    fixed: sizes that no axis is to have. All sizes are different.
    """
    used = {*example.values(), *fixed}
    unused = (n for n in range(5, 10**6) if all(n % d for d in range(2, int(n**0.5) + 1)) and n not in used)
    return [dict(example), *({label: next(unused) for label in example} for _ in range(TRACES - 1))]


def united(
    traces: Sequence[GraphModule], sizes: Sequence[Mapping[str, int]], names: Sequence[str], dynamic: Dynamic
) -> GraphModule:
    """The first trace, in place, with sizes read off its inputs where it has numbers that differ among the traces.

    sizes: the sizes of each trace, by label. names: the inputs, in the order of the placeholders. Raises Unlike.
    """
    first, *others = traces
    nodes = [[*trace.graph.nodes] for trace in traces]
    if len({len(graph) for graph in nodes}) > 1:
        raise Unlike(f"traces at other sizes have {', '.join(str(len(graph)) for graph in nodes)} operators")
    numbers = _Numbers(first, sizes, names, dynamic)
    for same in zip(*nodes, strict=True):
        node = same[0]
        if len({(other.op, str(other.target)) for other in same}) > 1 and node.op != "get_attr":
            raise Unlike(f"{node.target} at one size is {same[1].target} at another")
        if node.op == "get_attr":
            _check_constants([_constant(trace, other) for trace, other in zip(traces, same, strict=True)], node)
            continue
        leaves = [tree_flatten((other.args, dict(other.kwargs)))[0] for other in same]
        if len({len(row) for row in leaves}) > 1:
            raise Unlike(f"{node.target} has other arguments at another size")
        spec = tree_flatten((node.args, dict(node.kwargs)))[1]
        merged = [numbers.of(values, node) for values in zip(*leaves, strict=True)]
        node.args, node.kwargs = tree_unflatten(merged, spec)
    first.graph.lint()
    first.recompile()
    return first


def _constant(trace: GraphModule, node: Node) -> Any:
    value: Any = trace
    for name in str(node.target).split("."):
        value = getattr(value, name)
    return value


def _check_constants(values: Sequence[Any], node: Node) -> None:
    first, *others = values
    for other in others:
        if first is not other and not (
            isinstance(other, torch.Tensor) and other.shape == first.shape and torch.equal(other, first)
        ):
            raise Unlike("a tensor that the model makes of numbers is another at another size")


class _Numbers:
    """Numbers of several traces as one value of the first: a number, or a node that computes it from the sizes."""

    def __init__(
        self, graph_module: GraphModule, sizes: Sequence[Mapping[str, int]], names: Sequence[str], dynamic: Dynamic
    ) -> None:
        self._graph, self._sizes = graph_module.graph, sizes
        self._placeholders = dict(
            zip(names, (node for node in graph_module.graph.nodes if node.op == "placeholder"), strict=True)
        )
        self._axes = {label: (name, axis) for name, axes in dynamic.items() for axis, label in axes.items()}
        self._computed: dict[object, Node] = {}

    def of(self, values: Sequence[Any], node: Node) -> Any:
        """One argument of a node. values: the argument in each trace, without containers around it."""
        first = values[0]
        if isinstance(first, Node):
            if not all(isinstance(value, Node) for value in values):
                raise Unlike(f"{node.target} takes a tensor at one size and a number at another")
            return first
        if all(type(value) is type(first) and (value == first or value != value) for value in values):
            return first
        formula = None
        if all(type(value) is int for value in values):
            formula = next(_formulas(values, self._sizes), None)
        if formula is None:
            raise Unlike(f"{node.target} has {', '.join(map(str, values))} at the sizes {self._sizes}")
        return self._node(formula)

    def _node(self, formula: _Formula) -> Node:
        """The node that computes a formula, at the start of the graph."""
        node = self._size(formula.labels[0])
        for label in formula.labels[1:]:
            node = self._call(operator.mul, node, self._size(label))
        if formula.factor != 1:
            node = self._call(operator.mul, node, formula.factor)
        if formula.offset:
            node = self._call(operator.add, node, formula.offset)
        return node if formula.divisor == 1 else self._call(operator.floordiv, node, formula.divisor)

    def _size(self, label: str) -> Node:
        name, axis = self._axes[label]
        return self._call(torch.ops.aten.sym_size.int, self._placeholders[name], axis)

    def _call(self, target: Any, *args: Any) -> Node:
        key = (target, args)
        if key not in self._computed:
            # All of them come right after the inputs, in the order in which they were made.
            with self._graph.inserting_after(self._last):
                self._computed[key] = self._graph.call_function(target, args)
        return self._computed[key]

    @property
    def _last(self) -> Node:
        """The node after which the next one is put."""
        return [*self._placeholders.values(), *self._computed.values()][-1]


def _formulas(values: Sequence[int], sizes: Sequence[Mapping[str, int]]) -> Iterator[_Formula]:
    """The formulas that give a number in each trace, the shortest first."""
    labels = list(sizes[0])
    for divisor in range(1, _LARGEST_DIVISOR + 1):
        for factors in range(1, _MOST_FACTORS + 1):
            for chosen in combinations_with_replacement(labels, factors):
                products = [_product(trace, chosen) for trace in sizes]
                yield from _linear(values, products, chosen, divisor)


def _linear(
    values: Sequence[int], products: Sequence[int], labels: tuple[str, ...], divisor: int
) -> Iterator[_Formula]:
    """The formulas (factor * product + offset) // divisor through all values, of small factors first."""
    rise, run = values[1] - values[0], products[1] - products[0]
    guess = round(rise * divisor / run)
    for factor in {guess, guess - 1, guess + 1} if divisor > 1 else {guess}:
        for remainder in range(divisor):
            offset = values[0] * divisor + remainder - factor * products[0]
            if factor and all((factor * p + offset) // divisor == v for p, v in zip(products, values, strict=True)):
                yield _Formula(labels, factor, offset, divisor)


def _product(sizes: Mapping[str, int], labels: Sequence[str]) -> int:
    product = 1
    for label in labels:
        product *= sizes[label]
    return product
