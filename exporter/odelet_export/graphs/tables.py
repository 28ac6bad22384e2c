"""What guards are built of: small tables that are stored in the model's own graph, and nodes in front of another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

INT64 = ir.DataType.INT64


class Tables:
    """The small tables of a model, as initializers of its own graph; equal ones are stored once."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._values: dict[str, ir.Value] = {}

    def stored(self, numbers: float | Sequence[int], of: ir.DataType) -> ir.Value:
        """The value of a table, or of one number. of: its type."""
        array = np.array(numbers, of.numpy())
        key = repr((array.dtype, array.tolist()))
        if key not in self._values:
            number = len(self._values)
            while (name := f"odelet.guard_{number}") in self._graph.initializers:
                number += 1
            value = ir.Value(
                name=name,
                type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
                shape=ir.Shape(array.shape),
                const_value=ir.tensor(array, name=name),
            )
            self._graph.register_initializer(value)
            self._values[key] = value
        return self._values[key]


class Added:
    """Adds nodes in front of a node, in its graph."""

    def __init__(self, node: ir.Node) -> None:
        assert node.graph is not None
        self._node, self._graph, self._count = node, node.graph, 0

    def __call__(
        self, op_type: str, inputs: Sequence[ir.Value], of: ir.DataType | None, like: ir.Value | None, **to: int
    ) -> ir.Value:
        """The output of a new node. of: its type. like: a value of the same shape. to: the node's attributes."""
        made = ir.Node("", op_type, inputs, [ir.AttrInt64(name, number) for name, number in to.items()])
        # A name of its own: those that a graph gives depend on what was done to it before.
        made.outputs[0].name = f"{self._node.outputs[0].name}.guard_{self._count}"
        self._count += 1
        made.outputs[0].type = None if of is None else ir.TensorType(of)
        made.outputs[0].shape = None if like is None else like.shape
        self._graph.insert_before(self._node, made)
        return made.outputs[0]
