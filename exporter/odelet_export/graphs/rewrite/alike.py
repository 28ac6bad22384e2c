"""Finds calls of one network: nodes that are alike, read the same weights, and do not depend on each other."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

import onnx_ir as ir

from odelet_export.graphs.mapped import RULES
from odelet_export.graphs.nodes import DOMAIN, PRODUCTS, bodies, constant_of, read_by
from odelet_export.graphs.rewrite.shapes import dims_of

# So many rows of one call may a product have. Reading its weights takes much of its time for so few rows alone.
ROWS = 8
# Larger constants than of so many elements are not made by torch's folding.
FOLDED = 2**16

# Nodes that are alike, one of each call, in the order of the calls; and values, in the same way.
Alike = tuple[ir.Node, ...]
Values = tuple[ir.Value, ...]


def pieces_of(nodes: Sequence[ir.Node]) -> list[list[Alike]]:
    """The pieces of calls of one network that read its weights for few rows: nodes of all calls, in order.

    What depends on a time and not on a state is left out, as a form may compute it for many times at once. nodes: of a
    main graph, in order.
    """
    groups = _products_of_one_weight(nodes)
    if not groups:
        return []
    depends = _Dependencies.of(nodes, [node for group in groups for node in group])
    seeds = [alike for group in groups for alike in _independent(group, depends)]
    pieces = _Growth(nodes, depends, seeds).pieces()
    return [piece for piece in pieces if not depends.of_time(alike[0] for alike in piece)]


def _products_of_one_weight(nodes: Sequence[ir.Node]) -> list[list[ir.Node]]:
    """The products of few rows, by their weight, for each weight with more than one.

    torch folds the transposition of a small weight into a constant, and makes one for each product. Of equal constants
    all products read the first.
    """
    found: dict[object, list[ir.Node]] = defaultdict(list)
    for node in nodes:
        weight = weight_of(node)
        rows, sizes = (None, None) if weight is None else (fixed_sizes(node.inputs[0]), fixed_sizes(weight))
        if weight is not None and rows and sizes and math.prod(rows[:-1]) <= ROWS:
            array = constant_of(weight) if math.prod(sizes) <= FOLDED else None
            found[weight if array is None else (array.dtype, *sizes, array.tobytes())].append(node)
    groups = [group for group in found.values() if len(group) > 1]
    for first, *others in groups:
        for node in others:
            node.replace_input_with(1, first.inputs[1])
    return groups


def weight_of(node: ir.Node) -> ir.Value | None:
    """The matrix that a product multiplies rows with."""
    value = node.inputs[1] if node.op_type in PRODUCTS and not node.domain else None
    return value if value is not None and value.shape is not None and len(value.shape) == 2 else None


def fixed_sizes(value: ir.Value | None) -> list[int] | None:
    """The sizes of a value, if all of them are fixed."""
    dims = None if value is None else dims_of(value)
    sizes = [dim for dim in dims or () if dim is not None]
    return None if dims is None or len(sizes) < len(dims) else sizes


@dataclass(frozen=True)
class _Dependencies:
    """What each node depends on, in bits. bits: a bit for each product of few rows. products: those that a node depends
    on, and itself. marks: a bit for each time and each part of a state that a function of a solve takes, for the nodes
    of the function. times: those of the marks that stand for times.
    """

    bits: Mapping[ir.Node, int]
    products: Mapping[ir.Node, int]
    marks: Mapping[ir.Node, int]
    times: int

    @classmethod
    def of(cls, nodes: Sequence[ir.Node], products: Sequence[ir.Node]) -> _Dependencies:
        bits = {node: 1 << i for i, node in enumerate(products)}
        by_product: dict[ir.Node, int] = {}
        by_mark: dict[ir.Node, int] = {}
        given: dict[ir.Value, int] = {}
        of_solve: dict[int, int] = defaultdict(int)
        times = 0
        for node in nodes:
            before, marks = bits.get(node, 0), 0
            for value in read_by(node):
                maker = value.producer()
                if maker is not None:
                    before |= by_product[maker]
                    marks |= given.get(value, by_mark[maker])
            if node.domain == DOMAIN:
                solve = node.attributes["solve"].as_int()
                if node.op_type == "End":
                    marks &= ~of_solve[solve]
                else:
                    times |= 1 << len(given)
                    for output in node.outputs:
                        mark = 1 << len(given)
                        given[output] = marks | mark
                        of_solve[solve] |= mark
            by_product[node], by_mark[node] = before, marks
        return cls(bits, by_product, by_mark, times)

    def of_time(self, nodes: Iterable[ir.Node]) -> bool:
        """Whether nodes depend on a time and not on a state, so that a form may compute them for many times at once."""
        marks = 0
        for node in nodes:
            marks |= self.marks[node]
        return marks != 0 and not marks & ~self.times

    def apart(self, nodes: Alike, own: Sequence[int]) -> bool:
        """Whether nodes depend on the same marks, and none depends on a product of another. own: the products of
        each."""
        return len({self.marks[node] for node in nodes}) == 1 and not any(
            self.products[node] & other for i, node in enumerate(nodes) for j, other in enumerate(own) if i != j
        )


def _independent(group: Sequence[ir.Node], depends: _Dependencies) -> Iterator[Alike]:
    """Parts of a group of products, in each of which no product depends on another."""
    rest = list(group)
    while len(rest) > 1:
        part: Alike = (rest[0],)
        for node in rest[1:]:
            more = (*part, node)
            if _look_alike(*more) and depends.apart(more, [depends.bits[one] for one in more]):
                part = more
        rest = [node for node in rest if node not in part]
        if len(part) > 1:
            yield part


def _look_alike(first: ir.Node, *others: ir.Node) -> bool:
    """Whether nodes have the same operator and attributes, and inputs and outputs of the same fixed sizes."""
    rule = None if first.domain or bodies(first) else RULES.get(first.op_type)
    return rule is not None and all(_look(other) == _look(first) is not None for other in others)


def _look(node: ir.Node) -> object:
    values = [*node.inputs, *node.outputs]
    sizes = [None if value is None else fixed_sizes(value) for value in values]
    if any(value is not None and size is None for value, size in zip(values, sizes, strict=True)):
        return None
    if any(value.is_graph_output() for value in node.outputs):
        return None
    types = [None if value is None else value.dtype for value in values]
    attributes = sorted((name, repr(one.value)) for name, one in node.attributes.items())
    return node.domain, node.op_type, len(node.inputs), sizes, types, attributes


class _Growth:
    """Grows pieces from products of few rows: in the order of the graph, nodes that are alike and read what nodes
    before them in the same calls made.

    A piece ends before values that are larger than all that these products write. A product of more rows gains nothing,
    and large values take time to stack and to take apart.
    """

    def __init__(self, nodes: Sequence[ir.Node], depends: _Dependencies, seeds: Sequence[Alike]) -> None:
        self._depends = depends
        self._seeds = {alike[0]: alike for alike in seeds}
        self._places = {node: i for i, node in enumerate(nodes)}
        self._nodes = nodes
        self._largest = max((_elements(alike[0]) for alike in seeds), default=0)
        # By what the first call reads or makes: what all calls read or make in its place.
        self._values: dict[ir.Value, Values] = {}
        # By a value of the first call: the products of each call, and the number of the piece that made it.
        self._own: dict[ir.Value, list[int]] = {}
        self._piece: dict[ir.Value, int] = {}
        self._taken: set[ir.Node] = set()

    def pieces(self) -> list[list[Alike]]:
        """The pieces, each with its nodes in order."""
        found: list[list[Alike]] = []
        waiting = [self._places[node] for node in self._seeds]
        heapify(waiting)
        seen = set(waiting)
        while waiting:
            node = self._nodes[heappop(waiting)]
            alike = self._grown(node) or self._accepted(self._seeds.get(node, ()))
            for place in self._add(alike, found) if alike else ():
                if place not in seen:
                    seen.add(place)
                    heappush(waiting, place)
        return [sorted(piece, key=lambda alike: self._places[alike[0]]) for piece in found if piece]

    def _grown(self, node: ir.Node) -> Alike:
        """The node and those of the other calls, by a value that one of them made; () if there are none."""
        for index, value in enumerate(node.inputs):
            if value is None or value not in self._own:
                continue
            users = [
                [use.node for use in other.uses() if use.idx == index and use.node in self._places]
                for other in self._values[value][1:]
            ]
            alike = [node]
            for some in users:
                some = [one for one in some if one not in alike and one not in self._taken and _look_alike(node, one)]
                alike += sorted(some, key=lambda one: (_differing(node, one), self._places[one]))[:1]
            if len(alike) == len(users) + 1:
                return self._accepted(tuple(alike))
        return ()

    def _accepted(self, alike: Alike) -> Alike:
        """The nodes, if they may be joined; if not, ()."""
        if not alike or not self._taken.isdisjoint(alike) or not _look_alike(*alike):
            return ()
        weights = {weight_of(node) for node in alike}
        if _elements(alike[0]) > self._largest or len(weights) > 1:
            return ()
        if alike[0] not in self._depends.bits and weights != {None}:
            return ()
        read = read_by_all(alike)
        if any(self._values.get(values[0], values) != values for values in read):
            return ()
        return alike if self._depends.apart(alike, self._products(alike, read)) else ()

    def _products(self, alike: Alike, read: Sequence[Values]) -> list[int]:
        """The products of the piece that each node depends on, and itself."""
        own = [self._depends.bits.get(node, 0) for node in alike]
        for values in read:
            for i, more in enumerate(self._own.get(values[0], ())):
                own[i] |= more
        return own

    def _add(self, alike: Alike, found: list[list[Alike]]) -> Iterator[int]:
        """Add nodes to a piece, in which the pieces are joined that they read. Returns the places of what reads
        them."""
        read = read_by_all(alike)
        own = self._products(alike, read)
        before = {self._piece[values[0]] for values in read if values[0] in self._piece}
        number = len(found)
        found.append([one for piece in before for one in found[piece]] + [alike])
        for piece in before:
            found[piece] = []
        for values in read:
            self._values[values[0]] = values
        self._taken.update(alike)
        for values in zip(*(node.outputs for node in alike), strict=True):
            self._values[values[0]], self._own[values[0]] = values, own
        for one in found[number]:
            self._piece.update(dict.fromkeys(one[0].outputs, number))
        for output in alike[0].outputs:
            yield from (self._places[use.node] for use in output.uses() if use.node in self._places)


def read_by_all(alike: Alike) -> list[Values]:
    """What nodes read in each place."""
    return [values for values in zip(*(node.inputs for node in alike), strict=True) if values[0] is not None]


def _differing(one: ir.Node, other: ir.Node) -> int:
    return sum(a is not b for a, b in zip(one.inputs, other.inputs, strict=True))


def _elements(node: ir.Node) -> int:
    return max(math.prod(fixed_sizes(value) or [0]) for value in node.outputs)
