"""Reads from the bytes of an ONNX file what must be known before ONNX Runtime sees them.

The law here: this module needs no onnx package and copies no weight; whatever the bytes are, the answer is facts or an
ArtifactError. Field numbers are those of onnx/onnx.proto.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from odelet.artifact.nodes import Graph, Node, Place, Port
from odelet.artifact.wire import Malformed, fields, pair, placed_pair, text_at, varint
from odelet.errors import ArtifactError

# ONNX Runtime allows 32 levels of subgraphs as well.
MAX_DEPTH = 32

_STRING = 8  # among the types of elements, TensorProto.DataType


@dataclass(frozen=True, kw_only=True)
class ExternalTensor:
    """A tensor whose numbers lie in another file.

    kind: its type, as a number of onnx.proto. location: the file. offset: of its first byte. length: its size in bytes,
    None where the tensor does not say it.
    """

    name: str
    kind: int
    shape: tuple[int, ...]
    location: str
    offset: int = 0
    length: int | None = None


@dataclass
class ModelFacts:
    """What a model file needs of the program that runs it.

    operators: each operator that a node uses, in subgraphs and functions too, after its domain. opsets: version by
    domain. texts: the length of the longest text, by the operator and the attribute that holds it. extras: what a model
    of numbers does without, in words that follow "it has", such as a tensor of strings; with the name of one of them.
    external: locations of tensors that are kept in other files. weights: those of the tensors that are initializers of
    the model's graph itself. elsewhere: locations of the others, which lie in subgraphs and attributes. metadata: the
    model's own key-value pairs. places: where, in the bytes, each value of the metadata lies. graph: the model's own,
    with its subgraphs.
    """

    graph: Graph = field(default_factory=Graph)
    operators: set[tuple[str, str]] = field(default_factory=set)
    texts: dict[tuple[str, str], int] = field(default_factory=dict)
    extras: dict[str, str] = field(default_factory=dict)
    opsets: dict[str, int] = field(default_factory=dict)
    external: set[str] = field(default_factory=set)
    weights: list[ExternalTensor] = field(default_factory=list)
    elsewhere: set[str] = field(default_factory=set)
    metadata: dict[str, str] = field(default_factory=dict)
    places: dict[str, tuple[int, int]] = field(default_factory=dict)


def scan(data: bytes, *, name: str) -> ModelFacts:
    """Return the facts of a model file that is given as bytes. name: the file's name in messages.

    Raises ArtifactError when the bytes are not an ONNX model, or when subgraphs nest too deep.
    """
    facts = ModelFacts()
    try:
        _scan_model(data, facts)
    except Malformed as error:
        raise ArtifactError(
            f"{name} is not a readable ONNX file ({error}); it may be truncated or damaged: copy it again"
        ) from None
    return facts


def _scan_model(data: bytes, facts: ModelFacts) -> None:
    graphs = []
    for number, start, stop in fields(data, 0, len(data)):
        if stop < 0:
            continue
        if number == 7:  # graph
            graphs.append(_scan_graph(data, start, stop, facts, 0, whole=True))
        elif number == 8:  # opset_import
            _scan_opset(data, start, stop, facts)
        elif number == 14:  # metadata_props
            key, value, place = placed_pair(data, start, stop)
            if key in facts.metadata:
                raise Malformed(f"metadata key {key[:40]!r} is there twice")
            facts.metadata[key], facts.places[key] = value, place
        elif number == 20:  # training_info, which the runtime does not run and nevertheless checks
            facts.extras["a graph for training"] = "training_info"
            for inner, begin, finish in fields(data, start, stop):
                if finish >= 0 and inner in (1, 2):
                    _scan_graph(data, begin, finish, facts, 0)
        elif number == 25:  # functions
            _scan_function(data, start, stop, facts)
    if len(graphs) != 1:  # protobuf would join several into one
        raise Malformed(f"it holds {len(graphs) or 'no'} graph{'s' * (len(graphs) > 1)}")
    facts.graph = graphs[0]


def _scan_opset(data: bytes, at: int, end: int, facts: ModelFacts) -> None:
    domain, version = "", 0
    for number, start, stop in fields(data, at, end):
        if number == 1 and stop >= 0:
            domain = text_at(data, start, stop)
        elif number == 2 and stop < 0:
            version = start
    facts.opsets[domain] = version


def _scan_function(data: bytes, at: int, end: int, facts: ModelFacts) -> None:
    facts.extras["a function of its own"] = ""
    for number, start, stop in fields(data, at, end):
        if stop < 0:
            continue
        if number == 1:
            facts.extras["a function of its own"] = text_at(data, start, stop)
        elif number == 7:  # node
            _scan_node(data, start, stop, facts, 0)
        elif number == 9:  # opset_import
            _scan_opset(data, start, stop, facts)
        elif number == 11:  # attribute_proto: defaults
            _scan_attribute(data, start, stop, facts, 0, Node())


def _scan_graph(data: bytes, at: int, end: int, facts: ModelFacts, depth: int, *, whole: bool = False) -> Graph:
    """Add the facts of a graph, and return it. whole: whether it is the model's own, and not a subgraph."""
    graph = Graph()
    if depth > MAX_DEPTH:
        raise Malformed(f"subgraphs nest deeper than {MAX_DEPTH}")
    for number, start, stop in fields(data, at, end):
        if stop < 0:
            continue
        if number == 1:  # node
            graph.nodes.append(_scan_node(data, start, stop, facts, depth))
        elif number == 5:  # initializer
            graph.initializers.append(Place(start, stop))
            _scan_tensor(data, start, stop, facts, initializer=whole)
        elif number in (11, 12):  # input, output
            (graph.inputs if number == 11 else graph.outputs).append(_scan_port(data, start, stop, facts))
        elif number == 15:  # sparse_initializer
            _scan_sparse(data, start, stop, facts)
    return graph


def _scan_port(data: bytes, at: int, end: int, facts: ModelFacts) -> Port:
    """Return an input or output, and look for a type that is not a tensor of numbers."""
    name, kinds, other = b"", [], False
    for number, start, stop in fields(data, at, end):
        if number == 1 and stop >= 0:
            name = data[start:stop]
        elif number == 2 and stop >= 0:  # type
            for part, begin, finish in fields(data, start, stop):
                if part == 1 and finish >= 0:  # tensor_type
                    kinds += [value for key, value, after in fields(data, begin, finish) if key == 1 and after < 0]
                elif part != 6:  # denotation
                    other = True
    if _STRING in kinds:
        facts.extras["an input or output of strings"] = text_at(name, 0, len(name))
    if other:
        facts.extras["an input or output that is no tensor"] = text_at(name, 0, len(name))
    return Port(name, kinds[0] if len(kinds) == 1 else 0)


def _scan_node(data: bytes, at: int, end: int, facts: ModelFacts, depth: int) -> Node:
    node, domain = Node(), ""
    texts: list[tuple[str, int]] = []
    for number, start, stop in fields(data, at, end):
        if stop < 0:
            continue
        if number == 1:
            node.inputs.append(data[start:stop])
        elif number == 2:
            node.outputs.append(data[start:stop])
        elif number == 4:
            node.operator = text_at(data, start, stop)
        elif number == 5:
            node.attributes.append(Place(start, stop))
            texts += _scan_attribute(data, start, stop, facts, depth, node)
        elif number == 7:
            domain = text_at(data, start, stop)
    facts.operators.add((domain, node.operator))
    for attribute, size in texts:
        facts.texts[node.operator, attribute] = max(size, facts.texts.get((node.operator, attribute), 0))
    return node


def _scan_attribute(data: bytes, at: int, end: int, facts: ModelFacts, depth: int, node: Node) -> list[tuple[str, int]]:
    """Scan what an attribute of a node holds. Returns its name and the length of its text if it holds text."""
    name, size, strings, bodies, single = b"", -1, False, list[Graph](), 0
    for number, start, stop in fields(data, at, end):
        if stop < 0:
            strings = strings or (number == 3 and start == _STRING)  # i
        elif number == 1:
            name = data[start:stop]
        elif number in (4, 9):  # s, strings
            size = max(size, 0) + stop - start
        elif number in (5, 10):  # t, tensors
            single += number == 5
            _scan_tensor(data, start, stop, facts)
        elif number in (6, 11):  # g, graphs
            single += number == 6
            bodies.append(_scan_graph(data, start, stop, facts, depth + 1))
        elif number in (14, 15):  # tp, type_protos
            facts.extras["a type as an attribute"] = text_at(name, 0, len(name))
        elif number in (22, 23):  # sparse_tensor, sparse_tensors
            _scan_sparse(data, start, stop, facts)
    if single > 1:  # protobuf would join several into one
        raise Malformed(f"the attribute {name[:40]!r} holds {single} graphs or tensors")
    node.bodies += [(name, body) for body in bodies]
    if strings and name == b"to":
        facts.extras["a cast to strings"] = "Cast"
    if size < 0:
        return []
    if name.startswith(b"value_string"):  # of Constant
        facts.extras["a tensor of strings"] = "Constant"
    return [(text_at(name, 0, len(name)), size)]


def _scan_sparse(data: bytes, at: int, end: int, facts: ModelFacts) -> None:
    facts.extras["a sparse tensor"] = ""
    for number, start, stop in fields(data, at, end):
        if number in (1, 2) and stop >= 0:  # values, indices
            _scan_tensor(data, start, stop, facts)


def _scan_tensor(data: bytes, at: int, end: int, facts: ModelFacts, *, initializer: bool = False) -> None:
    """Add the facts of a tensor. initializer: whether it is one of the model's own graph."""
    external, where, locations = False, dict[str, str](), set[str]()
    for number, start, stop in fields(data, at, end):
        if number == 14 and stop < 0:  # data_location, 1 is EXTERNAL
            external = external or start == 1
        elif number == 2 and start == _STRING and stop < 0:  # data_type
            facts.extras["a tensor of strings"] = ""
        elif number == 13 and stop >= 0:  # external_data
            key, value = pair(data, start, stop)
            where[key] = value
            if key == "location":
                locations.add(value)
    if external and not locations:
        raise Malformed("a tensor is said to be in another file that is not named")
    facts.external |= locations
    if external and initializer and len(locations) == 1:
        facts.weights.append(_external_tensor(data, at, end, where))
    else:
        facts.elsewhere |= locations


def _external_tensor(data: bytes, at: int, end: int, where: dict[str, str]) -> ExternalTensor:
    """The tensor whose numbers lie at a place. where: its keys of the place, with their values."""
    name, kind = "", 0
    shape: list[int] = []
    for number, start, stop in fields(data, at, end):
        if number == 1 and stop < 0:  # dims
            shape.append(start)
        elif number == 1:  # dims, packed
            while start < stop:
                size, start = varint(data, start, stop)
                shape.append(size)
        elif number == 2 and stop < 0:  # data_type
            kind = start
        elif number == 8 and stop >= 0:
            name = text_at(data, start, stop)
    numbers = {key: where[key] for key in ("offset", "length") if key in where}
    for key, text in numbers.items():
        if not (text.isascii() and text.isdecimal() and len(text) < 20):
            raise Malformed(f"the {key} of the tensor {name[:40]!r} in another file is {text[:40]!r}")
    return ExternalTensor(
        name=name,
        kind=kind,
        shape=tuple(shape),
        location=where["location"],
        offset=int(numbers.get("offset", 0)),
        length=int(numbers["length"]) if "length" in numbers else None,
    )
