"""The graph that all graphs of an artifact are moved into, to make its floor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from odelet_export.graphs.nodes import copy_nodes, read_by
from odelet_intercept.errors import ExportError

Values = dict[str, ir.Value]  # the values of a graph by name


class FloorError(ExportError):
    """The floor of an artifact cannot be built; the message names the solve and the reason."""


class Merged:
    """The graph that all graphs of the artifact are moved into."""

    def __init__(self, opsets: Mapping[str, int]) -> None:
        self.graph = ir.Graph([], [], nodes=[], opset_imports=dict(opsets), name="floor")

    def absorb(self, graph: ir.Graph, values: Mapping[str, ir.Value]) -> Values:
        """Move a graph in, and connect its inputs to values of the same names. Returns all its values by name."""
        inner = {str(output.name): output for node in graph.all_nodes() for output in node.outputs}
        for subgraph in graph.subgraphs():
            inner |= {str(v.name): v for v in [*subgraph.inputs, *subgraph.initializers.values()]}
        inputs = list(graph.inputs)
        graph.inputs.clear()
        graph.outputs.clear()
        for name, value in list(graph.initializers.items()):
            del graph.initializers[name]
            if name not in values:
                inner[name] = self._stored(value)
        for value in inputs:
            name = str(value.name)
            inner[name] = values.get(name, value)
            if name in values:
                ir.convenience.replace_all_uses_with(value, values[name])
        nodes = list(graph)
        graph.remove(nodes)
        self.graph.extend(nodes)
        return inner

    def _stored(self, value: ir.Value) -> ir.Value:
        """Make a value an initializer of this graph, under a name that is free."""
        while value.name in self.graph.initializers:
            value.name = f"{value.name}.stored"
        self.graph.register_initializer(value)
        return value

    def hoisted(self, read: Iterable[ir.Value], index: int) -> dict[ir.Value, ir.Value]:
        """The values that the copy of a field reads, as values of this graph, by the value read. A value that lies
        inside a loop is computed outside the loop, and what a step reads by its number is what the first step reads.

        Raises FloorError for a value that changes from step to step.
        """
        moved: dict[ir.Value, ir.Value] = {}

        def hoist(value: ir.Value) -> None:
            node = value.producer()
            if value in moved or value.graph is self.graph:
                moved.setdefault(value, value)
            elif value.const_value is not None and node is None:
                copy = ir.Value(name=value.name, type=value.type, shape=value.shape, const_value=value.const_value)
                moved[value] = self._stored(copy)
            elif _counts_turns(value):
                moved[value] = self.constant(0)
            elif node is None:
                raise FloorError(f"solve {index} has no floor: its field reads {value.name!r}, which its steps change")
            else:
                for needed in read_by(node):
                    hoist(needed)
                moved.update(copy_nodes([node], node.outputs, moved, self.graph)[0])

        wanted = list(read)
        for value in wanted:
            hoist(value)
        return {value: moved[value] for value in wanted}

    def at_all_times(self, y: ir.Value, times: ir.Value | int | None) -> ir.Value:
        """A state (*shape) repeated at each output time of a solve, (times, *shape); the state itself without times."""
        if times is None:
            return y
        rows = self.constant([times]) if isinstance(times, int) else self.call("Shape", times)
        return self.call("Expand", y, self.call("Concat", rows, self.call("Shape", y), axis=0))

    def constant(self, numbers: int | Sequence[int]) -> ir.Value:
        tensor = ir.tensor(np.array(numbers, np.int64), name="floor.constant")
        value = ir.Value(name="floor.constant", type=ir.TensorType(tensor.dtype), const_value=tensor)
        return self._stored(value)

    def call(self, op: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        node = ir.Node("", op, inputs, ir.convenience.convert_attributes(attributes))
        self.graph.append(node)
        return node.outputs[0]


def _counts_turns(value: ir.Value) -> bool:
    """Whether a value is the number of the turn in the body of a loop: its first input, a whole number."""
    graph = value.graph
    first = graph is not None and len(graph.inputs) > 1 and graph.inputs[0] is value
    return first and value.dtype is ir.DataType.INT64 and value.shape is not None and len(value.shape) == 0
