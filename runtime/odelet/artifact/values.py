"""What is known of the values of a graph before it runs: what makes each, the type of its elements, its constants.

The law here: what is not certain is not known. Names mean what ONNX Runtime takes them to mean: a subgraph sees its own
values first, wherever in it they are made, and then those around it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from odelet.artifact.constants import (
    Constant,
    attributes_of,
    constant_of,
    numbers_of,
    stored_constant,
    tensor_kind,
    tensor_name,
    tensor_of,
)
from odelet.artifact.element_types import BOOL, INT64, LIKE, MADE, STATED, UNTOLD
from odelet.artifact.nodes import Graph, Node, Place
from odelet.artifact.proto import ModelFacts
from odelet.artifact.weights import Weights

# Operators whose output has the type and the numbers of their first input, or some of them.
SAME_NUMBERS = ("Identity", "Reshape", "Squeeze", "Unsqueeze", "Expand", "Transpose")
# From this version of ONNX's operators on, the first input of a Scan is the first of its body.
_SCAN = 9


@dataclass(slots=True, eq=False)
class Scope:
    """A graph. outer, owner, body: the graph around it, the node there to which it belongs, and the name of the node's
    attribute. made: what makes each of its values; None until it is asked for."""

    graph: Graph
    outer: Scope | None = None
    owner: Node | None = None
    body: bytes = b""
    made: dict[bytes, Value] | None = None


@dataclass(slots=True, eq=False)
class Value:
    """A value, by what makes it: a node, as its output `index`; the graph, as its input `index`; or a tensor stored at
    a place. It is none of them where several would make it, and nothing is known of such a value then."""

    scope: Scope
    node: Node | None = None
    index: int = -1
    stored: Place | None = None
    kind: int | None = field(default=None)

    def made_by(self, operator: str) -> Node | None:
        """The node that makes the value as its first output, if it is of this operator."""
        return self.node if self.node is not None and self.node.operator == operator and self.index == 0 else None


class Values:
    """The values of a model. data: the bytes of its file. weights: its initializers that lie in another file."""

    def __init__(self, data: bytes, facts: ModelFacts, weights: Weights) -> None:
        self._data, self._weights = data, weights
        self._opset = facts.opsets.get("", facts.opsets.get("ai.onnx", 0))
        self._inner: dict[int, Scope] = {}
        self.root = Scope(facts.graph)

    def scopes(self) -> Iterator[Scope]:
        """Yield every graph, the model's own first."""
        waiting = [self.root]
        while waiting:
            scope = waiting.pop()
            yield scope
            waiting += [inner for node in scope.graph.nodes if node.bodies for inner in self.bodies(scope, node)]

    def bodies(self, scope: Scope, node: Node) -> list[Scope]:
        """Return the subgraphs of a node of a graph."""
        return [self._inner.setdefault(id(graph), Scope(graph, scope, node, name)) for name, graph in node.bodies]

    def find(self, scope: Scope | None, name: bytes) -> Value | None:
        """Return the value that a name stands for in a graph; None where there is none."""
        while scope is not None and name:
            if scope.made is None:
                scope.made = self._made(scope)
            if (value := scope.made.get(name)) is not None:
                return value
            scope = scope.outer
        return None

    def input_of(self, value: Value, index: int) -> Value | None:
        """Return an input of the node that makes a value."""
        assert value.node is not None
        names = value.node.inputs
        return self.find(value.scope, names[index]) if index < len(names) else None

    def inputs_of_choice(self, factor: Value | None) -> list[Value]:
        """Return the values by which a look-up, the output of a Gather, chooses its place: those that a Where's
        condition compares."""
        values = [factor]
        for operator, index in (("Gather", 1), ("Where", 0)):
            values = [self.input_of(one, index) for one in values if one is not None and one.made_by(operator)]
        compared = [one for one in values if one is not None and one.made_by("Equal")]
        sides = [self.input_of(one, index) for one in compared for index in (0, 1)]
        return [side for side in sides if side is not None]

    def kind(self, value: Value | None) -> int:
        """Return the type of the elements of a value; 0 where it is not known."""
        path: list[Value] = []
        kind: int | None = 0
        while value is not None:
            if value.kind is not None:
                kind = value.kind
                break
            path.append(value)
            value.kind = 0  # for a value that is made of itself
            known, value = self._kind_or_like(value)
            kind = known if known is not None else 0
            if known is not None:
                break
        for one in path:
            one.kind = kind
        return kind or 0

    def attributes(self, node: Node) -> dict[bytes, list[int]]:
        """Return the whole numbers in each attribute of a node."""
        return {name: numbers_of(self._data, place) for name, place in attributes_of(self._data, node).items()}

    def constant(self, value: Value | None) -> Constant | None:
        """Return what a value holds in each run, or None where that is not known; the shape of what operators in
        `SAME_NUMBERS` have made of a constant is not known."""
        through = False
        for _ in range(10_000):  # a value may be made of itself
            if value is None:
                return None
            if value.stored is not None:
                constant = stored_constant(self._data, value.stored, self._weights if value.scope is self.root else {})
                break
            if (node := value.made_by("Constant")) is not None:
                constant = constant_of(self._data, node)
                break
            if value.node is None or value.index != 0 or value.node.operator not in SAME_NUMBERS:
                return None
            value, through = self.input_of(value, 0), True
        else:
            return None
        if constant is None or not through:
            return constant
        return Constant(kind=constant.kind, numbers=constant.numbers, shape=None)

    def _made(self, scope: Scope) -> dict[bytes, Value]:
        graph = scope.graph
        made = {port.name: Value(scope, index=index) for index, port in enumerate(graph.inputs)}
        for place in graph.initializers:
            name = tensor_name(self._data, place)
            if name not in made:  # the value of an input may come from the caller, even where there is a default
                made[name] = Value(scope, stored=place)
            elif made[name].index < 0:
                made[name] = Value(scope)
        for node in graph.nodes:
            for index, name in enumerate(node.outputs):
                made[name] = Value(scope) if name in made else Value(scope, node, index)
        return made

    def _number(self, attribute: Place) -> int | None:
        numbers = numbers_of(self._data, attribute)
        return numbers[0] if len(numbers) == 1 else None

    def _kind_or_like(self, value: Value) -> tuple[int | None, Value | None]:
        """Return the type of a value's elements, or None and a value that has the same type."""
        node = value.node
        if value.stored is not None:
            return tensor_kind(self._data, value.stored), None
        if node is None:
            return self._input_kind(value)
        if node.bodies:
            return self._body_kind(value, node)
        operator = node.operator
        if (made := MADE.get((operator, value.index))) is not None:
            return made, None
        if operator in UNTOLD:
            return 0, None
        if operator == "Constant":
            constant = constant_of(self._data, node)
            return 0 if constant is None else constant.kind, None
        if operator in STATED:
            name, otherwise = STATED[operator]
            place = attributes_of(self._data, node).get(name)
            if place is not None:
                return (
                    tensor_kind(self._data, tensor_of(self._data, place)) if name == b"value" else self._number(place)
                ) or 0, None
            if otherwise is not None:
                return otherwise, None
        like = self.input_of(value, LIKE.get(operator, 0))
        return (0 if like is None else None), like

    def _input_kind(self, value: Value) -> tuple[int | None, Value | None]:
        """The type of an input of a graph: of a subgraph's, that of what its node hands on."""
        scope, owner = value.scope, value.scope.owner
        if value.index < 0:
            return 0, None
        if owner is None:
            return scope.graph.inputs[value.index].kind, None
        if owner.operator == "Loop":
            if value.index < 2:
                return (INT64, BOOL)[value.index], None
            return self._same_as(scope.outer, owner.inputs, value.index)
        if owner.operator == "Scan" and self._opset >= _SCAN:
            return self._same_as(scope.outer, owner.inputs, value.index)
        return 0, None

    def _body_kind(self, value: Value, node: Node) -> tuple[int | None, Value | None]:
        """The type of an output of a node with subgraphs. ONNX Runtime refuses a state of a loop whose type changes,
        and branches of different types."""
        states = len(node.inputs)
        if node.operator == "Loop":
            states -= 2
        elif node.operator == "Scan":
            count = attributes_of(self._data, node).get(b"num_scan_inputs")
            number = None if count is None or self._opset < _SCAN else self._number(count)
            if number is None:
                return 0, None
            states -= number
        if node.operator in ("Loop", "Scan") and value.index < states:
            return self._same_as(value.scope, node.inputs, value.index + (2 if node.operator == "Loop" else 0))
        body = self.bodies(value.scope, node)[0]
        outputs = [port.name for port in body.graph.outputs]
        return self._same_as(body, outputs, value.index + (1 if node.operator == "Loop" else 0))

    def _same_as(self, scope: Scope | None, names: list[bytes], index: int) -> tuple[int | None, Value | None]:
        like = self.find(scope, names[index]) if 0 <= index < len(names) else None
        return (0 if like is None else None), like
