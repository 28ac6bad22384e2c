"""Traces a model at several sizes of its dynamic axes, and makes one graph of the traces.

torch.func and other parts of torch ask for sizes as plain numbers, which a trace with symbols cannot give. Here the
sizes are numbers in each trace. The graphs of the traces must be alike but for numbers; a number that differs among
them is computed from the sizes, by the shortest formula that gives it in every trace.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.utils._pytree import tree_flatten, tree_unflatten

from odelet_export.capture.size_constants import constant_of, fold, rows_of
from odelet_export.errors import ExportError
from odelet_export.model.axes import Dynamic, resize

aten = torch.ops.aten
_LARGEST_DIVISOR = 8
_MOST_FACTORS = 3


class Unlike(Exception):
    """Raised where traces at several sizes differ in more than numbers. The text says what came at the sizes."""


@dataclass(frozen=True)
class _Formula:
    """(factor * product of the sizes of some axes + offset) // divisor; labels: the axes, one of them maybe twice."""

    labels: tuple[str, ...]
    factor: int
    offset: int
    divisor: int

    def length(self) -> tuple[int, int]:
        """How long the formula is to write. A quotient that is rounded down or up is shorter than any other."""
        rounded = self.offset not in (0, self.divisor - 1)
        return self.divisor + rounded, len(self.labels) + abs(self.factor) + abs(self.offset)


@dataclass(frozen=True)
class AtSizes:
    """The traces of a model at sizes other than the example's.

    sizes: those of the dynamic axes in each trace, by label, the example's first. traces: all but that of the example.
    names: the model's inputs. dynamic: their dynamic axes.
    """

    sizes: Sequence[Mapping[str, int]]
    traces: Sequence[GraphModule]
    names: Sequence[str]
    dynamic: Dynamic

    @classmethod
    def of(
        cls,
        traced: Callable[[Sequence[torch.Tensor]], GraphModule],
        example: Sequence[torch.Tensor],
        names: Sequence[str],
        dynamic: Dynamic,
    ) -> AtSizes:
        """The traces by `traced`, a function of the inputs."""
        tensors = dict(zip(names, example, strict=True))
        first = {label: tensors[name].shape[axis] for name, axes in dynamic.items() for axis, label in axes.items()}
        sizes = _several_sizes(first, [size for tensor in example for size in tensor.shape])
        resized = (
            [
                resize(tensor, {axis: other[label] for axis, label in dynamic.get(name, {}).items()})
                for name, tensor in tensors.items()
            ]
            for other in sizes[1:]
        )
        try:
            return cls(sizes, [traced(tensors) for tensors in resized], names, dynamic)
        except ExportError:
            raise
        except Exception as error:  # the model's code may raise anything at sizes that it does not take
            raise Unlike(f"{type(error).__name__} at other sizes: {error}") from error

    def united(self, first: GraphModule) -> GraphModule:
        """The trace of the example, in place, with sizes read off its inputs where its numbers differ from those of the
        other traces. Raises Unlike where more differs than numbers."""
        traces = [first, *self.traces]
        for trace in traces:
            fold(trace)
        nodes = [[*trace.graph.nodes] for trace in traces]
        if len({len(graph) for graph in nodes}) > 1:
            raise Unlike(f"{' and '.join(str(len(graph)) for graph in nodes)} operators")
        numbers = _Numbers(first, self.sizes, self.names, self.dynamic)
        for same in zip(*nodes, strict=True):
            node = same[0]
            if node.op == "get_attr":
                numbers.unite_constants([constant_of(*each) for each in zip(traces, same, strict=True)], node)
                continue
            if len({(other.op, str(other.target)) for other in same}) > 1:
                raise Unlike(" and ".join(str(other.target) for other in same))
            rows = [tree_flatten((other.args, dict(other.kwargs))) for other in same]
            if len({len(leaves) for leaves, _ in rows}) > 1:
                raise Unlike(f"{node.target} with other arguments")
            merged = [numbers.of(values, node) for values in zip(*(leaves for leaves, _ in rows), strict=True)]
            node.args, node.kwargs = tree_unflatten(merged, rows[0][1])
        first.graph.lint()
        first.recompile()
        return first


def _several_sizes(example: Mapping[str, int], fixed: Sequence[int]) -> list[dict[str, int]]:
    """The sizes of the dynamic axes in each trace, by label: those of the example first, then others.

    fixed: sizes that no other axis is to have. No formula of the sizes in one trace is to hold in the others by chance:
    all sizes are different, those of one trace are even and those of the other odd, and the order of the labels turns.
    """
    used = {*example.values(), *fixed}
    primes = [n for n in range(5, 1000) if all(n % d for d in range(2, n))]
    even, odd = (
        [n for n in (factor * prime for prime in primes) if n not in used][: len(example)] for factor in (2, 1)
    )
    return [dict(example), *(dict(zip(example, sizes, strict=True)) for sizes in (even, reversed(odd)))]


class _Numbers:
    """Numbers of several traces as one value of the first: a number, or a node that computes it from the sizes."""

    def __init__(
        self, graph_module: GraphModule, sizes: Sequence[Mapping[str, int]], names: Sequence[str], dynamic: Dynamic
    ) -> None:
        self._module, self._graph, self._sizes = graph_module, graph_module.graph, sizes
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
                raise Unlike(f"{node.target} of a tensor and of a number")
            return first
        if all(type(value) is type(first) and (value == first or value != value) for value in values):
            return first
        formula = None
        if all(type(value) is int for value in values):
            formula = min(_formulas(values, self._sizes), key=_Formula.length, default=None)
        if formula is None:
            raise Unlike(f"{node.target} of {' and '.join(map(str, values))}")
        return self._node(formula)

    def unite_constants(self, values: Sequence[Any], node: Node) -> None:
        """Let a constant be what it is in each trace. node: its node in the first trace. values: its values."""
        first = values[0]
        if all(first is value or _equal(first, value) for value in values):
            return
        rows = rows_of(values, self._sizes) if all(isinstance(value, torch.Tensor) for value in values) else None
        if rows is None:
            raise Unlike("constants of other values")
        base, step = (self._constant(x) for x in (rows.base, rows.step))
        count = self._call(aten.arange.default, self._size(rows.label))
        node.replace_all_uses_with(rows.laid_out(*(_Calls(self._call, x) for x in (base, step, count))).node)
        self._graph.erase_node(node)

    def _constant(self, value: torch.Tensor) -> Node:
        """A node for a new constant, at the start of the graph."""
        name = f"_rows_{len(self._computed)}"
        self._module.register_buffer(name, value, persistent=False)
        with self._graph.inserting_after(self._last):
            self._computed[name] = self._graph.get_attr(name)
        return self._computed[name]

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


class _Calls:
    """A node of a graph with the functions of a tensor that `Rows.laid_out` calls, which add calls to the graph."""

    def __init__(self, call: Callable[..., Node], node: Node) -> None:
        self._call, self.node = call, node

    def __add__(self, other: _Calls) -> _Calls:
        return _Calls(self._call, self._call(aten.add.Tensor, self.node, other.node))

    def __mul__(self, other: _Calls) -> _Calls:
        return _Calls(self._call, self._call(aten.mul.Tensor, self.node, other.node))

    def reshape(self, shape: Sequence[int]) -> _Calls:
        return _Calls(self._call, self._call(aten.reshape.default, self.node, tuple(shape)))

    def unsqueeze(self, axis: int) -> _Calls:
        return _Calls(self._call, self._call(aten.unsqueeze.default, self.node, axis))

    def flatten(self, first: int, last: int) -> _Calls:
        return _Calls(self._call, self._call(aten.flatten.using_ints, self.node, first, last))


def _equal(first: Any, other: Any) -> bool:
    return isinstance(other, torch.Tensor) and other.shape == first.shape and torch.equal(other, first)


def _formulas(values: Sequence[int], sizes: Sequence[Mapping[str, int]]) -> Iterator[_Formula]:
    """The formulas that give a number in each trace."""
    for factors in range(1, _MOST_FACTORS + 1):
        for labels in combinations_with_replacement(sizes[0], factors):
            products = [math.prod(trace[label] for label in labels) for trace in sizes]
            rise, run = values[1] - values[0], products[1] - products[0]
            for divisor in range(1, _LARGEST_DIVISOR + 1):
                guess = round(rise * divisor / run)
                for factor in {guess - 1, guess, guess + 1} - {0}:
                    least = values[0] * divisor - factor * products[0]
                    for offset in range(least, least + divisor):
                        if all((factor * p + offset) // divisor == v for p, v in zip(products, values, strict=True)):
                            yield _Formula(labels, factor, offset, divisor)
