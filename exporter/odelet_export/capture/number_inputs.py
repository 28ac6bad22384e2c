"""Stand-ins of whole numbers in a captured graph become inputs that take the numbers."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir
from onnx_ir import convenience


def inputs_for_numbers(model: ir.Model, names: Collection[str]) -> None:
    """Replace each input that is a stand-in by an int64 input of shape (), in the same place, in a graph.

    model: changed in place. names: the inputs that are whole numbers. The model reads nothing of a stand-in but its
    shape, and that becomes the number.
    """
    graph = model.graph
    for place, old in enumerate(list(graph.inputs)):
        if old.name not in names:
            continue
        number = ir.Value(name=old.name, type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([]))
        old.name = f"{number.name}.stand_in"
        one = ir.Value(name=f"{number.name}.one", const_value=ir.tensor(np.array([1], np.int64)))
        one.type, one.shape = ir.TensorType(ir.DataType.INT64), ir.Shape([1])
        graph.register_initializer(one)
        reshaped = ir.Node("", "Reshape", [number, one], name=f"{number.name}.shape")
        reshaped.outputs[0].type, reshaped.outputs[0].shape = one.type, one.shape
        for use in list(old.uses()):
            assert use.node.op_type == "Shape", "a stand-in has no values that a model could read"
            convenience.replace_all_uses_with(use.node.outputs[0], reshaped.outputs[0])
            assert use.node.graph is not None
            use.node.graph.remove(use.node, safe=True)
        graph.inputs[place] = number
        graph.insert_before(graph[0], reshaped)
