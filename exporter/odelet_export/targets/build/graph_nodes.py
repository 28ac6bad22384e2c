"""Reads the nodes of a graph into instructions, with the shape of each value; what is constant is computed here.

The law here: as in `translate`.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from odelet_export.targets.build.built import BuildError
from odelet_export.targets.build.equal_nodes import equal_nodes
from odelet_export.targets.build.instructions import Block, Bounded, Call, Choice, Constant, Copy, Seen, Stored, Value
from odelet_export.targets.build.look_ups import chosen_among
from odelet_export.targets.build.operators import Array, Operator, Port, evaluated, inferred
from odelet_intercept.user_code import place_in_trace, short

# Operators that give their input in another shape, or as it is.
_VIEWS = ("Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten")
_RANDOM = ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial")
_TRACE = "pkg.torch.onnx.stack_trace"
# Larger results of constants are computed in each call, as they would take memory where there may be little.
_MOST_FOLDED = 2**16


class Names(ChainMap[str, Seen]):
    """The values that nodes and steps may name: those of a block, and of the blocks around it."""

    def __init__(self, around: Names | None = None) -> None:
        super().__init__({}, *(around.maps if around is not None else ()))


class Reader:
    """Reads one graph. file: its name. dtypes: the types that the target has. profile: for advice."""

    def __init__(self, file: str, proto: onnx.ModelProto, dtypes: Sequence[str], profile: str) -> None:
        self._file, self._dtypes, self._profile = file, dtypes, profile
        self._opset = {one.domain: one.version for one in proto.opset_import}
        self._types: dict[tuple[object, ...], list[Port | None]] = {}

    def read(self, graph: onnx.GraphProto, names: Names, block: Block) -> list[Seen]:
        """Append the instructions of a graph to a block. Returns the graph's outputs. names: what it may read."""
        for tensor in graph.initializer:
            if tensor.name not in names.maps[0]:
                array = numpy_helper.to_array(tensor)
                names[tensor.name] = Seen(Constant(tensor.name, array), array.shape)
        for node in graph.node:
            self._node(node, names, block)
        return [names[value.name] for value in graph.output]

    def _node(self, node: onnx.NodeProto, names: Names, block: Block) -> None:
        if node.op_type == "If" and node.domain == "":
            self._choice(node, names, block)
            return
        if any(attribute.type in (attribute.GRAPH, attribute.GRAPHS) for attribute in node.attribute):
            raise self._refusal(node, "is a loop inside a graph", f"with --profile {self._profile}")
        if node.op_type == "Constant":
            array = numpy_helper.to_array(_constant(node))
            names[node.output[0]] = Seen(Constant(node.output[0], array), array.shape)
            return
        inputs = [names[name] if name else None for name in node.input]
        results = self._known(node, inputs)
        if results is not None:
            for name, array in zip([name for name in node.output if name], results, strict=True):
                names[name] = Seen(Constant(name, array), array.shape)
            return
        inputs = self._bounded(node, inputs, block)
        others = equal_nodes(node, inputs)
        if others is not None:
            names.update({name: Seen(Constant(name, array), array.shape) for name, array in others[1].items()})
            for other in others[0]:
                self._node(other, names, block)
            return
        for name, seen in zip(node.output, self._made(node, inputs, block), strict=True):
            if seen is not None:
                names[name] = seen

    def _bounded(self, node: onnx.NodeProto, inputs: list[Seen | None], block: Block) -> list[Seen | None]:
        """The inputs of a node, with the numbers that choose in a table checked in each call."""
        sizes = chosen_among(node, inputs) if node.domain == "" else None
        indices = inputs[1] if sizes is not None else None
        if sizes is None or indices is None or indices.constant is not None:
            return inputs
        if not all(sizes):
            raise self._refusal(node, "chooses in a table without rows", "with a table that has some")
        value = Value(f"{node.input[1]}.bounded", indices.dtype, indices.stored.size)
        block.append(Bounded(indices.stored, value, sizes))
        return [inputs[0], Seen(value, indices.shape), *inputs[2:]]

    def _known(self, node: onnx.NodeProto, inputs: Sequence[Seen | None]) -> list[Array] | None:
        """The results of a node, where no input of the model has a part in them."""
        if node.op_type == "Shape":
            assert inputs[0] is not None
            ends = {attribute.name: attribute.i for attribute in node.attribute}
            return [np.array(inputs[0].shape, np.int64)[ends.get("start") : ends.get("end")]]
        if node.op_type == "Size":
            assert inputs[0] is not None
            return [np.array(inputs[0].stored.size, np.int64)]
        arrays = [None if seen is None else seen.constant for seen in inputs]
        if node.op_type in _RANDOM or any(
            x is None and seen is not None for x, seen in zip(arrays, inputs, strict=True)
        ):
            return None
        try:
            results = evaluated(self._operator(node, inputs), arrays)
        except Exception:  # onnx's reference does not have all that the target has; then each call computes it
            return None
        return results if sum(x.size for x in results) <= _MOST_FOLDED else None

    def _operator(self, node: onnx.NodeProto, inputs: Sequence[Seen | None]) -> Operator:
        ports = [None if seen is None else Port(seen.dtype, seen.shape) for seen in inputs]
        constants = {place: x.constant for place, x in enumerate(inputs) if x is not None and x.constant is not None}
        return Operator.of(node, ports, constants, self._opset, label=self._place(node))

    def _made(self, node: onnx.NodeProto, inputs: Sequence[Seen | None], block: Block) -> list[Seen | None]:
        """Append the instruction of a node. Returns its results; None for optional ones that are not there."""
        operator = self._operator(node, inputs)
        constants = {place: x.constant for place, x in enumerate(inputs) if x is not None and x.constant is not None}
        ports = iter(inferred(operator, constants))
        results: list[Seen | None] = []
        for name in node.output:
            port = next(ports) if name else None
            if name and port is None:
                raise self._refusal(
                    node, "makes an array whose size depends on the numbers in it", f"with --profile {self._profile}"
                )
            if port is not None and port.dtype.name not in self._dtypes:
                raise self._refusal(node, f"makes {port.dtype.name}", f"with {', '.join(self._dtypes)} alone")
            results.append(None if port is None else Seen(Value(name, port.dtype, _size(port.shape)), port.shape))
        if node.op_type in _VIEWS:
            seen, result = inputs[0], results[0]
            assert seen is not None and result is not None
            return [Seen(seen.stored, result.shape)]
        there = [x for x in results if x is not None]
        made = [x.stored for x in there if isinstance(x.stored, Value)]
        read: list[Stored | None] = [
            None if seen is None or place in operator.own_places else seen.stored for place, seen in enumerate(inputs)
        ]
        block.append(Call(operator, read, made, tuple(Port(x.dtype, x.shape) for x in there)))
        return results

    def _choice(self, node: onnx.NodeProto, names: Names, block: Block) -> None:
        """Append the instructions of an If."""
        branches = {attribute.name: attribute.g for attribute in node.attribute}
        condition = names[node.input[0]]
        if condition.constant is not None:
            chosen = branches["then_branch" if bool(condition.constant) else "else_branch"]
            for name, seen in zip(node.output, self.read(chosen, Names(names), block), strict=True):
                names[name] = seen
            return
        bodies: list[Block] = [[], []]
        both = [
            self.read(branches[branch], Names(names), body)
            for branch, body in zip(("then_branch", "else_branch"), bodies, strict=True)
        ]
        for name, first, second in zip(node.output, *both, strict=True):
            if first.shape != second.shape or first.dtype != second.dtype:
                raise self._refusal(node, "makes arrays of two shapes", "with branches that give equal shapes")
            result = Value(name, first.dtype, first.stored.size)
            for body, seen in zip(bodies, (first, second), strict=True):
                body.append(Copy(seen.stored, result))
            names[name] = Seen(result, first.shape)
        block.append(Choice(condition.stored, *bodies))

    def _place(self, node: onnx.NodeProto) -> str:
        """Where a node is: its graph's file, its name or that of its result, and the user's line where it is known."""
        line = short(place_in_trace(next((one.value for one in node.metadata_props if one.key == _TRACE), None)))
        return f"{self._file}: {node.op_type} {(node.name or node.output[0])!r}" + (f", from {line}" if line else "")

    def _refusal(self, node: onnx.NodeProto, what: str, way: str) -> BuildError:
        return refuse(self._place(node), what, way)


def refuse(place: str, what: str, way: str) -> BuildError:
    """The refusal of a node. place: as the label of an operator. what, way: clauses that end a sentence."""
    lines = "" if ", from " in place else "; --keep-debug-info makes this message name the line of the model"
    return BuildError(f"{place} {what}, which this target does not have; export the model again {way}{lines}")


def _constant(node: onnx.NodeProto) -> onnx.TensorProto:
    """The tensor of a Constant."""
    (attribute,) = node.attribute
    if attribute.type == attribute.TENSOR:
        tensor: onnx.TensorProto = attribute.t
        return tensor
    value = onnx.helper.get_attribute_value(attribute)
    kinds = {attribute.FLOAT: np.float32, attribute.FLOATS: np.float32}
    return numpy_helper.from_array(np.array(value, kinds.get(attribute.type, np.int64)))


def _size(shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64))
