"""What a model computes, as text: it does not depend on the names and the order of its nodes."""

from collections.abc import Iterator
from hashlib import sha1

import onnx_ir as ir


def fingerprints(model: ir.Model) -> list[str]:
    """A text for each output of a model: equal texts stand for equal computations, whatever nodes are called.

    Weights count by their names, other constants by their values.
    """
    known: dict[ir.Value, str] = {value: f"input {value.name}" for value in model.graph.inputs}
    for value in model.graph.initializers.values():
        known[value] = f"weight {value.name}" if value.const_value.size > 1000 else _digest(value.const_value)
    return [_fingerprint(output, known) for output in model.graph.outputs]


def _fingerprint(value: ir.Value, known: dict[ir.Value, str]) -> str:
    waiting = [value]
    while waiting:
        node = waiting[-1].producer()
        if waiting[-1] in known:
            waiting.pop()
            continue
        assert node is not None, waiting[-1]
        inner = [attribute.value for attribute in node.attributes.values() if isinstance(attribute.value, ir.Graph)]
        read = [*node.inputs, *(one for graph in inner for one in _read_from_outside(graph))]
        lacking = [one for one in read if one is not None and one not in known]
        if lacking:
            waiting += lacking
            continue
        inputs = [None if one is None else known[one] for one in node.inputs]
        attributes = sorted((name, _attribute(one, known)) for name, one in node.attributes.items())
        text = attributes[0][1] if node.op_type == "Constant" else repr((node.domain, node.op_type, inputs, attributes))
        for place, output in enumerate(node.outputs):
            known[output] = text if node.op_type == "Constant" else sha1(f"{place} {text}".encode()).hexdigest()
    return known[value]


def _read_from_outside(graph: ir.Graph) -> Iterator[ir.Value]:
    own = {output for node in graph for output in node.outputs} | {*graph.inputs}
    for node in graph:
        yield from (one for one in node.inputs if one is not None and one not in own and one.producer() is not None)


def _attribute(attribute: ir.Attr, known: dict[ir.Value, str]) -> str:
    value = attribute.value
    if isinstance(value, ir.Graph):
        inside = {**known, **{one: f"parameter {place}" for place, one in enumerate(value.inputs)}}
        return repr([_fingerprint(output, inside) for output in value.outputs])
    return _digest(value) if isinstance(value, ir.TensorProtocol) else repr(value)


def _digest(tensor: ir.TensorProtocol) -> str:
    array = tensor.numpy()
    return f"{array.dtype}{array.shape}{sha1(array.tobytes()).hexdigest()}"
