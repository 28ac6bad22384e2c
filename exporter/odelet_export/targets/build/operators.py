"""One operator of a graph with what it depends on: attributes, types and shapes, and constants that shape its result.

Two nodes with equal operators need one piece of code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Array: TypeAlias = np.ndarray[Any, Any]
Shape: TypeAlias = tuple[int, ...]

# Inputs that say what an operator does rather than what with, by place: where they are constant, they belong to the
# operator. A negative place counts those from -place on.
_SHAPING: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("Reshape", "Expand", "Tile", "Unsqueeze", "Squeeze", "Split", "TopK", "CumSum", "Trilu"), (1,)),
    **{f"Reduce{kind}": (1,) for kind in ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSumExp")},
    **dict.fromkeys(("Slice", "Pad", "Resize", "DFT", "Clip"), (-1,)),
    **dict.fromkeys(("OneHot",), (-1,)),
    **dict.fromkeys(("ConstantOfShape", "Range"), (0, 1, 2)),
}

# Larger constants are no shapes and the like.
_MOST_READ = 64


@dataclass(frozen=True)
class Port:
    """The type of an input or output of an operator."""

    dtype: np.dtype[Any]
    shape: Shape


@dataclass(frozen=True)
class Operator:
    """An operator: its node with plain names, the types of its inputs (None where an optional one is not there), and
    the inputs that belong to it, by place. opset: of each domain.
    """

    node: bytes
    inputs: tuple[Port | None, ...]
    own: tuple[tuple[int, bytes], ...]
    opset: tuple[tuple[str, int], ...]
    label: str = field(compare=False, default="")

    @classmethod
    def of(
        cls,
        node: onnx.NodeProto,
        inputs: Sequence[Port | None],
        constants: Mapping[int, Array],
        opset: Mapping[str, int],
        *,
        label: str = "",
    ) -> Operator:
        """The operator of a node. constants: the inputs that are constant, by place. label: where the node is."""
        plain = onnx.NodeProto()
        plain.CopyFrom(node)
        plain.name, plain.doc_string = "", ""
        del plain.metadata_props[:]
        plain.ClearField("input")
        plain.ClearField("output")
        plain.input.extend([f"i{place}" if port is not None else "" for place, port in enumerate(inputs)])
        plain.output.extend([f"o{place}" if name else "" for place, name in enumerate(node.output)])
        shaping = _SHAPING.get(node.op_type, ())
        own = [place for place in constants if any(place == x or 0 < -x <= place for x in shaping)]
        return cls(
            plain.SerializeToString(deterministic=True),
            tuple(inputs),
            tuple((place, numpy_helper.from_array(constants[place]).SerializeToString()) for place in sorted(own)),
            tuple(sorted(opset.items())),
            label,
        )

    @cached_property
    def proto(self) -> onnx.NodeProto:
        """The node, whose inputs are named i0, i1 and so on, and its outputs o0, o1 and so on."""
        node: onnx.NodeProto = onnx.NodeProto.FromString(self.node)
        return node

    @property
    def kind(self) -> str:
        """The operator's name in ONNX."""
        return str(self.proto.op_type)

    @cached_property
    def own_places(self) -> frozenset[int]:
        """The places of the inputs that belong to the operator."""
        return frozenset(place for place, _ in self.own)

    def model(self, outputs: Sequence[Port] | None = None, *, prefix: str = "") -> onnx.ModelProto:
        """A model of this node alone. outputs: their types, where they are known. prefix: of all names."""
        node = onnx.NodeProto()
        node.CopyFrom(self.proto)
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                names[place] = prefix + name if name else ""
        inputs, stored = [], []
        own = dict(self.own)
        for place, port in enumerate(self.inputs):
            if port is None:
                continue
            name = f"{prefix}i{place}"
            if place in own:
                tensor = TensorProto.FromString(own[place])
                tensor.name = name
                stored.append(tensor)
            else:
                inputs.append(helper.make_tensor_value_info(name, type_of(port.dtype), port.shape))
        names = [name for name in node.output if name]
        results = (
            [
                helper.make_tensor_value_info(name, type_of(port.dtype), port.shape)
                for name, port in zip(names, outputs, strict=True)
            ]
            if outputs is not None
            else [onnx.ValueInfoProto(name=name) for name in names]
        )
        graph = helper.make_graph([node], "operator", inputs, results, stored)
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid(*pair) for pair in self.opset], ir_version=10
        )


def type_of(dtype: np.dtype[Any]) -> int:
    """ONNX's number of a type of elements."""
    return int(helper.np_dtype_to_tensor_dtype(dtype))


def inferred(operator: Operator, constants: Mapping[int, Array]) -> list[Port | None]:
    """The types of the results of an operator, those that are there; None where its size depends on numbers.

    constants: the inputs that are constant, by place, whether they belong to the operator or not.
    """
    own = operator.own_places
    small = {place: x for place, x in constants.items() if place not in own and x.size <= _MOST_READ}
    return list(_inferred(operator)) if not small else _of_model(operator.model(), small)


@lru_cache(maxsize=2**12)
def _inferred(operator: Operator) -> tuple[Port | None, ...]:
    return tuple(_of_model(operator.model(), {}))


def _of_model(model: onnx.ModelProto, constants: Mapping[int, Array]) -> list[Port | None]:
    """The types of the outputs of a model. constants: inputs to take as constant, by place."""
    model.graph.initializer.extend([numpy_helper.from_array(x, f"i{place}") for place, x in constants.items()])
    try:
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError:
        return [None for _ in model.graph.output]
    return [_port(value) for value in model.graph.output]


def _port(value: onnx.ValueInfoProto) -> Port | None:
    kind = value.type.tensor_type
    if not kind.HasField("shape") or not all(dim.HasField("dim_value") for dim in kind.shape.dim):
        return None
    dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
    return Port(np.dtype(dtype), tuple(int(dim.dim_value) for dim in kind.shape.dim))


def evaluated(operator: Operator, inputs: Sequence[Array | None]) -> list[Array]:
    """The results of an operator whose inputs are all known. Raises what onnx's reference raises where it has none."""
    from onnx.reference import ReferenceEvaluator

    own = operator.own_places
    feeds = {f"i{place}": x for place, x in enumerate(inputs) if x is not None and place not in own}
    return [np.asarray(x) for x in ReferenceEvaluator(operator.model()).run(None, feeds)]
