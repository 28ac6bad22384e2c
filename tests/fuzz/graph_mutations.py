"""Mutations of a graph: of operators, attributes, names, shapes, weights and wiring, in the graph and its subgraphs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper

from fuzz.byte_mutations import mutated_bytes
from fuzz.shape_mutations import reshaped

# Operators that a stranger may try: they draw numbers, make texts or sequences, ask for memory, or end a process.
STRANGE = (
    *("RandomNormal", "RandomUniformLike", "Multinomial", "Bernoulli", "StringNormalizer", "TfIdfVectorizer", "Einsum"),
    *("SequenceConstruct", "SequenceAt", "Optional", "ConstantOfShape", "Range", "Expand", "Tile", "NonZero", "Unique"),
    *("Div", "Mod", "Loop", "Scan", "If", "Resize", "GatherND", "ScatterND", "Pad", "Slice", "TopK", "Det", "Compress"),
    *("QuantizeLinear", "DequantizeLinear", "Cast", "Reshape", "Squeeze", "Transpose", "MaxUnpool", "RoiAlign", "GRU"),
)
NUMBERS = (0, 1, -1, 2, 3, 7, 16, 100, 2**31 - 1, -(2**31), 2**31, 2**63 - 1, -(2**63))
DTYPES = (
    *(TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.INT64),
    *(TensorProto.INT32, TensorProto.BOOL, TensorProto.STRING, TensorProto.UINT8, TensorProto.COMPLEX64, 0, 99),
)


def mutated_graph(data: bytes, random: Random) -> tuple[str, bytes]:
    """Return what was done to a graph, and its bytes afterwards."""
    if random.random() < 0.12:
        return mutated_bytes(data, random)
    model = onnx.ModelProto.FromString(data)
    notes = []
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        # A tensor that an earlier mutation broke cannot be read by a later one.
        with suppress(ValueError, TypeError, KeyError):
            notes.append(random.choice(_MUTATIONS)(model, random))
    return "; ".join(notes), model.SerializeToString()


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield a graph and all its subgraphs."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


def _some_graph(model: onnx.ModelProto, random: Random) -> onnx.GraphProto:
    graphs = [graph for graph in _graphs(model.graph) if graph.node]
    return random.choice(graphs) if graphs else model.graph


def _some_node(model: onnx.ModelProto, random: Random) -> onnx.NodeProto:
    graph = _some_graph(model, random)
    return random.choice(graph.node) if graph.node else graph.node.add(op_type="Identity")


def _names(model: onnx.ModelProto) -> list[str]:
    """The names of all values, those of the subgraphs included."""
    names: dict[str, None] = {}
    for graph in _graphs(model.graph):
        names |= dict.fromkeys(value.name for value in (*graph.input, *graph.output, *graph.initializer))
        for node in graph.node:
            names |= dict.fromkeys((*node.input, *node.output))
    return [*names]


def _some_name(model: onnx.ModelProto, random: Random) -> str:
    return random.choice(("", "nowhere", "x" * 2000, *_names(model)))


def _operator(model: onnx.ModelProto, random: Random) -> str:
    node = _some_node(model, random)
    same = [other.op_type for graph in _graphs(model.graph) for other in graph.node]
    old, node.op_type = node.op_type, random.choice((*STRANGE, *same, random.choice(same or ["Neg"]).lower(), ""))
    return f"{old} becomes {node.op_type!r}"


def _attribute(model: onnx.ModelProto, random: Random) -> str:
    node = _some_node(model, random)
    if not node.attribute or random.random() < 0.2:
        name = random.choice(("axis", "to", "perm", "keepdims", "value", "equation", "then_branch", "unheard"))
        number: Any = random.choice((*NUMBERS, 1.5, "x" * 100, [1, 2, 3], [-1] * 40))
        node.attribute.append(helper.make_attribute(name, number))
        return f"{node.op_type}: new {name}"
    attribute = random.choice(node.attribute)
    note, kind = f"{node.op_type}.{attribute.name}", random.randrange(6)
    if kind == 0:
        node.attribute.remove(attribute)
    elif kind == 1:
        attribute.name = random.choice(("axis", "to", "body", "", attribute.name.upper()))
    elif kind == 2:
        attribute.type = random.choice(AttributeProto.AttributeType.values())
    elif attribute.HasField("t"):
        _change_tensor(attribute.t, random)
    elif attribute.ints:
        attribute.ints[random.randrange(len(attribute.ints))] = random.choice(NUMBERS)
    else:
        attribute.i, attribute.f = random.choice(NUMBERS), random.choice((0.0, -1.0, 1e30, float("nan")))
    return f"{note} changed ({kind})"


def _wiring(model: onnx.ModelProto, random: Random) -> str:
    node, name = _some_node(model, random), _some_name(model, random)
    names, what = random.choice(((node.input, "input"), (node.input, "input"), (node.output, "output")))
    if not names or random.random() < 0.1:
        names.append(name)
    elif random.random() < 0.15:
        del names[random.randrange(len(names))]
    else:
        names[random.randrange(len(names))] = name
    return f"{node.op_type}: an {what} becomes {name[:40]!r}"


def _nodes(model: onnx.ModelProto, random: Random) -> str:
    graph = _some_graph(model, random)
    if not graph.node:
        return "nothing"
    one, two = random.randrange(len(graph.node)), random.randrange(len(graph.node))
    kind = random.choice(("removed", "twice", "exchanged", "new"))
    if kind == "removed":
        del graph.node[one]
    elif kind == "twice":
        graph.node.add().CopyFrom(graph.node[one])
    elif kind == "exchanged":
        first = onnx.NodeProto.FromString(graph.node[one].SerializeToString())
        graph.node[one].CopyFrom(graph.node[two])
        graph.node[two].CopyFrom(first)
    else:
        inputs = [_some_name(model, random) for _ in range(random.randrange(4))]
        old = random.choice(graph.node)
        output = old.output[0] if old.output else "out"
        if old.output:
            old.output[0] = "before"
        graph.node.add(op_type=random.choice(STRANGE), input=inputs, output=[output])
    return f"a node {kind}"


def _change_tensor(tensor: onnx.TensorProto, random: Random) -> None:
    kind = random.randrange(7)
    if kind == 0:
        tensor.dims.append(random.choice(NUMBERS))
    elif kind == 1 and tensor.dims:
        tensor.dims[random.randrange(len(tensor.dims))] = random.choice(NUMBERS)
    elif kind == 2:
        tensor.data_type = random.choice(DTYPES)
    elif kind == 3:
        tensor.raw_data = tensor.raw_data[: random.randrange(len(tensor.raw_data) + 1)]
    elif kind == 4 and tensor.raw_data:
        fill = random.choice((b"\x00", b"\xff", b"\x7f", b"\x80"))
        tensor.raw_data = fill * len(tensor.raw_data)
    elif kind == 5:
        tensor.data_location = TensorProto.EXTERNAL
        places = ("weights.bin", "../weights.bin", "/etc/passwd", "odelet.json", "", "*/_ORT_MEM_ADDR_/*")
        place = random.choice(places)
        for key, text in (("location", place), ("offset", str(random.choice(NUMBERS))), ("length", "4096")):
            tensor.external_data.add(key=key, value=text)
    elif tensor.external_data:
        random.choice(tensor.external_data).value = random.choice(("0", "-1", "8", "99999999999", "x", "odelet.json"))
    else:
        tensor.name = random.choice(("", tensor.name + "_"))


def _weights(model: onnx.ModelProto, random: Random) -> str:
    graph = _some_graph(model, random)
    tensors = [*graph.initializer] or [*model.graph.initializer]
    if not tensors:
        return "nothing"
    tensor = random.choice(tensors)
    name = tensor.name
    _change_tensor(tensor, random)
    return f"weight {name!r} changed"


def _exchange(model: onnx.ModelProto, random: Random) -> str:
    """Put an operator in the place of one with as many inputs, so that the graph still loads."""
    groups = (
        ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Mod"),
        ("Neg", "Abs", "Exp", "Log", "Sqrt", "Tanh", "Sigmoid", "Reciprocal", "Floor", "Identity"),
        ("Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Equal"),
        ("And", "Or", "Xor"),
        ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceMean"),
    )
    nodes = [node for graph in _graphs(model.graph) for node in graph.node]
    known = [(node, group) for node in nodes for group in groups if node.op_type in group]
    if not known:
        return "nothing"
    node, group = random.choice(known)
    old, node.op_type = node.op_type, random.choice(group)
    return f"{old} becomes {node.op_type}"


def _numbers(model: onnx.ModelProto, random: Random) -> str:
    """Change the numbers of a weight or a constant, and nothing else of it."""
    tensors = [tensor for graph in _graphs(model.graph) for tensor in graph.initializer]
    tensors += [a.t for graph in _graphs(model.graph) for node in graph.node for a in node.attribute if a.HasField("t")]
    tensors = [tensor for tensor in tensors if not tensor.external_data and tensor.data_type != TensorProto.STRING]
    if not tensors:
        return "nothing"
    tensor = random.choice(tensors)
    array = onnx.numpy_helper.to_array(tensor)
    with np.errstate(all="ignore"):
        numbers = [
            0,
            1,
            -1,
            2,
            1000,
            *((np.nan, np.inf, 1e-30, 1e30) if array.dtype.kind == "f" else (2**31 - 1, 2**7)),
        ]
        how = random.choice(("all", "sign", "times"))
        filled = {"all": np.full_like(array, random.choice(numbers)), "sign": ~array if array.dtype == bool else -array}
        new = filled.get(how, array if array.dtype == bool else (array * random.choice((0.5, 2, 100))))
    name = tensor.name
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.asarray(new, array.dtype), name))
    return f"numbers of {name!r}: {how}"


def _ports(model: onnx.ModelProto, random: Random) -> str:
    graph = random.choice((model.graph, _some_graph(model, random)))
    ports, what = random.choice(((graph.input, "input"), (graph.output, "output"), (graph.value_info, "value")))
    if not ports:
        return "nothing"
    port, kind = (
        random.choice(ports),
        random.choice(("removed", "twice", "renamed", "dtype", "size", "rank", "sequence")),
    )
    name = port.name
    if kind == "removed":
        ports.remove(port)
    elif kind == "twice":
        ports.add().CopyFrom(port)
    elif kind == "renamed":
        port.name = _some_name(model, random)
    elif kind == "dtype":
        port.type.tensor_type.elem_type = random.choice(DTYPES)
    elif kind == "size" and port.type.tensor_type.shape.dim:
        random.choice(port.type.tensor_type.shape.dim).dim_value = random.choice(NUMBERS)
    elif kind == "sequence":
        port.type.sequence_type.elem_type.tensor_type.elem_type = TensorProto.FLOAT
    else:
        port.type.tensor_type.shape.dim.add().dim_value = random.choice(NUMBERS)
    return f"{what} {name!r}: {kind}"


def _loops(model: onnx.ModelProto, random: Random) -> str:
    """Change how long a loop runs, or what it carries."""
    loops = [node for graph in _graphs(model.graph) for node in graph.node if node.op_type in ("Loop", "Scan", "If")]
    if not loops:
        return _wiring(model, random)
    node = random.choice(loops)
    kind = random.choice(("endless", "input", "body output", "body input"))
    bodies = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    if kind == "endless" and node.op_type == "Loop" and len(node.input) > 1:
        node.input[0] = ""
        if bodies and bodies[0].output:
            bodies[0].node.append(
                helper.make_node(
                    "Constant", [], ["always"], value=helper.make_tensor("a", TensorProto.BOOL, [], [True])
                )
            )
            bodies[0].output[0].name = "always"
    elif kind == "input" and node.input:
        node.input[random.randrange(len(node.input))] = _some_name(model, random)
    elif bodies:
        ports = bodies[0].output if kind == "body output" else bodies[0].input
        if ports:
            random.choice(ports).name = _some_name(model, random)
    return f"{node.op_type}: {kind}"


def _shapes(model: onnx.ModelProto, random: Random) -> str:
    return reshaped(model.graph if random.random() < 0.6 else _some_graph(model, random), random)


def _model(model: onnx.ModelProto, random: Random) -> str:
    kind = random.choice(("opset", "domain", "ir", "card", "metadata", "function", "node domain"))
    if kind == "opset" and model.opset_import:
        model.opset_import[0].version = random.choice((*NUMBERS, 17, 18, 21, 24))
    elif kind == "domain":
        model.opset_import.add(domain=random.choice(("com.microsoft", "ai.onnx.ml", "", "x")), version=1)
    elif kind == "ir":
        model.ir_version = random.choice((*NUMBERS, 8, 11, 13))
    elif kind in ("card", "metadata") and model.metadata_props:
        entry = random.choice(model.metadata_props)
        entry.value = random.choice(("", "{}", entry.value[:-1], entry.value.replace("1", "2"), "x" * 10_000))
    elif kind == "function":
        node = helper.make_node("F", ["a"], ["b"], domain="local")
        opset = [helper.make_opsetid("", 20), helper.make_opsetid("local", 1)]
        model.functions.append(helper.make_function("local", "F", ["a"], ["b"], [node], opset))
    else:
        _some_node(model, random).domain = random.choice(("com.microsoft", "local", "ai.onnx"))
    return f"model: {kind}"


_MUTATIONS: tuple[Callable[[onnx.ModelProto, Random], str], ...] = (
    *(_exchange, _exchange, _numbers, _numbers),
    *(_operator, _attribute, _wiring, _wiring, _nodes, _weights, _weights, _ports, _loops, _model, _shapes),
)
