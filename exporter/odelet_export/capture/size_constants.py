"""Constants of a trace at fixed sizes: what is computed from constants alone, and constants that repeat along an axis.

The edges of a batch of graphs, `torch.cat([edges + i * nodes for i in range(batch)])`, are a constant at each size of
the batch: a row of numbers for each graph, and a step from one graph to the next.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_arg

# Larger constants are left as they were computed.
_LARGEST = 1 << 22


@dataclass(frozen=True)
class Rows:
    """A constant of which an axis is made of rows: base + i * step for each i below the size of a dynamic axis.

    label: that dynamic axis. axis: the axis of the constant. base, step: the first row and the step to the next. inner:
    whether the numbers of a place in the rows come together, as in repeat_interleave.
    """

    label: str
    axis: int
    base: torch.Tensor
    step: torch.Tensor
    inner: bool

    def at(self, size: int) -> torch.Tensor:
        """The constant at a size of the dynamic axis."""
        return self.laid_out(self.base, self.step, torch.arange(size))

    def laid_out(self, base: Any, step: Any, count: Any) -> Any:
        """The constant from its rows, by functions that tensors and the nodes of a graph have. count: 0, 1, 2, ..."""
        at = self.axis + 1 if self.inner else self.axis
        ahead = count.reshape([-1, *[1] * (self.base.ndim - at)])
        return (base.unsqueeze(at) + ahead * step.unsqueeze(at)).flatten(self.axis, self.axis + 1)


def rows_of(values: Sequence[torch.Tensor], sizes: Sequence[Mapping[str, int]]) -> Rows | None:
    """The rows of a constant that has the given values in traces of the given sizes; None where it is not made so."""
    first = values[0]
    if any(x.ndim != first.ndim or x.dtype != first.dtype for x in values) or first.dtype == torch.bool:
        return None
    differ = [axis for axis in range(first.ndim) if len({x.shape[axis] for x in values}) > 1]
    if len(differ) != 1:
        return None
    (axis,) = differ
    for label in sizes[0]:
        counts = [trace[label] for trace in sizes]
        lengths = {x.shape[axis] / count for x, count in zip(values, counts, strict=True)}
        if len(lengths) != 1 or not (length := lengths.pop()).is_integer():
            continue
        for inner in (False, True):
            split = (int(length), counts[0]) if inner else (counts[0], int(length))
            parts = first.unflatten(axis, split).unbind(axis + inner)
            rows = Rows(label, axis, parts[0].clone(), parts[1] - parts[0], inner)
            if all(torch.equal(rows.at(count), x) for x, count in zip(values, counts, strict=True)):
                return rows
    return None


def fold(graph_module: GraphModule) -> None:
    """Compute what a trace computes from constants of whole numbers alone, in place.

    Without that, a loop over the rows of a batch leaves as many operators as the batch has rows.
    """
    graph = graph_module.graph
    known: dict[Node, Any] = {}
    with torch.no_grad():
        for node in graph.nodes:
            value = _value(graph_module, node, known)
            if value is not None:
                known[node] = value
    if any(node in known for node in _written(graph)):
        return  # its views would have to change with it
    for node in [*graph.nodes]:
        used = node in known and isinstance(known[node], torch.Tensor) and any(user not in known for user in node.users)
        if used and node.op == "call_function":
            name = f"_folded_{node.name}"
            graph_module.register_buffer(name, known[node], persistent=False)
            with graph.inserting_before(node):
                node.replace_all_uses_with(graph.get_attr(name), delete_user_cb=lambda user: user not in known)
    for node in reversed([*graph.nodes]):
        if node in known and not node.users:
            graph.erase_node(node)


def constant_of(graph_module: GraphModule, node: Node) -> Any:
    """The value of a node `get_attr`."""
    value: Any = graph_module
    for name in str(node.target).split("."):
        value = getattr(value, name)
    return value


def _value(graph_module: GraphModule, node: Node, known: Mapping[Node, Any]) -> Any:
    """The value of a node, a tensor of whole numbers or several; None where it is no constant of that kind."""
    if node.op == "get_attr":
        value = constant_of(graph_module, node)
        return value if _is_whole(value) else None
    inputs = node.all_input_nodes
    if node.op != "call_function" or not inputs or any(x not in known for x in inputs):
        return None
    if node.target is not operator.getitem and not _is_pure(node):
        return None
    args, kwargs = map_arg(node.args, known.__getitem__), map_arg(node.kwargs, known.__getitem__)
    assert callable(node.target)
    value = node.target(*args, **kwargs)
    if isinstance(value, (tuple, list)):
        return value if all(map(_is_whole, value)) else None
    return value if _is_whole(value) else None


def _is_whole(value: object) -> bool:
    if not isinstance(value, torch.Tensor) or isinstance(value, torch.nn.Parameter):
        return False
    return not value.is_floating_point() and not value.is_complex() and value.numel() <= _LARGEST


def _is_pure(node: Node) -> bool:
    """Whether a node always gives the same numbers, and changes none of its arguments."""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload) or target.namespace != "aten":
        return False
    return not target._schema.is_mutable and torch.Tag.nondeterministic_seeded not in target.tags


def _written(graph: Graph) -> Iterator[Node]:
    """The nodes whose tensors some operator writes into."""
    for node in graph.nodes:
        if isinstance(node.target, torch._ops.OpOverload):
            for argument, given in zip(node.target._schema.arguments, node.args, strict=False):
                if argument.alias_info is not None and argument.alias_info.is_write and isinstance(given, Node):
                    yield given
