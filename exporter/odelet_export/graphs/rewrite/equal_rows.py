"""Products of equal rows: what a model computes for one time, repeated for each batch row, is computed for one row.

Flow models often give their network a time for each batch row, t.expand(len(x)), and so compute the embedding of one
time once for each row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from odelet_export.graphs.mapped import ELEMENTWISE
from odelet_export.graphs.nodes import PRODUCTS, constant_of
from odelet_export.graphs.rewrite.rule import Pass
from odelet_export.graphs.scope import Scope, Value


@dataclass(frozen=True)
class _Row:
    """What stands for a value of equal rows. one: the row, with an axis of size 1 in the place of the rows. count: the
    number of rows, (1,). costs: whether a product made the row."""

    one: Value
    count: Value
    costs: bool


def compute_equal_rows_once(model: ir.Model) -> int:
    """Compute products of equal rows for one row, in place. Returns the number of these products."""
    graph = model.graph
    nodes = list(graph)
    rows = _EqualRows(Scope.of(graph))
    for node in nodes:
        rows.look_at(node)
    if rows.products:
        graph.sort()
    else:
        graph.remove(list(graph)[len(nodes) :], safe=True)
    return rows.products


class _EqualRows:
    """The values of equal rows among those of the nodes that were looked at, and the number of products of such."""

    def __init__(self, scope: Scope) -> None:
        self.scope, self.products = scope, 0
        self._found: dict[ir.Value, _Row] = {}

    def look_at(self, node: ir.Node) -> None:
        """Note the outputs of a node if their rows are equal. If not, let the node read single rows where they
        broadcast, and their repeats elsewhere."""
        shapes = [output.shape for output in node.outputs]
        if node.domain or not shapes or any(not shape or shape[0] == 1 for shape in shapes):
            made = False
        elif node.op_type in _SOURCES:
            made = self._source(node)
        else:
            made = any(value in self._found for value in node.inputs) and self._computed(node)
        if not made:
            self._read_all(node)

    def _source(self, node: ir.Node) -> bool:
        """Note a repetition along the first axis alone: by an Expand, or of one constant."""
        value, shape = node.outputs[0], node.inputs[-1]
        assert value.shape is not None
        rest = _sizes(list(value.shape)[1:])
        if shape is None or rest is None:
            return False
        if node.op_type == "Expand":
            one = self._once(node.inputs[0], rest)
        else:
            filler = node.attributes["value"].as_tensor().numpy() if "value" in node.attributes else np.zeros(1, "f")
            sizes = [size for size in rest if isinstance(size, int)]
            same = len(sizes) == len(rest)
            one = self.scope.constant(np.full((1, *sizes), filler.reshape(()), filler.dtype)) if same else None
        if one is None:
            return False
        count = self.scope.call("Slice", Value(shape, self.scope), *map(self._index, ([0], [1])))
        count.ir.type, count.ir.shape = ir.TensorType(ir.DataType.INT64), ir.Shape([1])
        self._note(value, one, count, costs=False)
        return True

    def _once(self, x: ir.Value | None, rest: Sequence[int | str]) -> Value | None:
        """One row of what a value is expanded to, or None where its rows differ or their size is not known."""
        dims = None if x is None or x.shape is None else _sizes(x.shape)
        if x is None or dims is None:
            return None
        missing = 1 + len(rest) - len(dims)
        if [1] * missing + dims == [1, *rest]:
            axes = list(range(missing))
            return self.scope.call("Unsqueeze", x, self._index(axes)) if axes else Value(x, self.scope)
        sizes = [size for size in rest if isinstance(size, int)]
        if len(sizes) < len(rest) or (not missing and dims[0] != 1):
            return None
        return self.scope.call("Expand", x, self._index([1, *sizes]))

    def _computed(self, node: ir.Node) -> bool:
        """Compute a node for one row, if each row of its outputs is computed from the same row of what it reads."""
        known = [None if value is None else self._found.get(value) for value in node.inputs]
        rule = RULES.get(node.op_type)
        if rule is None or not rule(node, [row is not None for row in known]):
            return False
        inputs = [value if row is None else row.one for value, row in zip(node.inputs, known, strict=True)]
        if node.op_type == "Reshape":
            sizes = [size for size in list(node.outputs[0].shape or ())[1:] if isinstance(size, int)]
            inputs[1] = self._index([1, *sizes])
        attributes = {name: one.value for name, one in node.attributes.items()}
        made = self.scope.call(node.op_type, *inputs, outputs=len(node.outputs), **attributes)
        found = [row for row in known if row is not None]
        costs = node.op_type in PRODUCTS or any(row.costs for row in found)
        for output, value in zip(node.outputs, [made] if isinstance(made, Value) else made, strict=True):
            self._note(output, value, found[0].count, costs=costs)
        self.products += node.op_type in PRODUCTS
        return True

    def _note(self, value: ir.Value, one: Value, count: Value, *, costs: bool) -> None:
        if one.ir.producer() is not None:
            one.ir.type, one.ir.shape = value.type, ir.Shape([1, *list(value.shape or ())[1:]])
        self._found[value] = _Row(one, count, costs)

    def _read_all(self, node: ir.Node) -> None:
        """Let a node that needs all rows read those that products made."""
        for place, value in enumerate(node.inputs):
            row = None if value is None else self._found.get(value)
            if value is not None and row is not None and row.costs:
                new = row.one if self._broadcasts(node, value) else self._repeated(value, row)
                node.replace_input_with(place, new.ir)

    def _broadcasts(self, node: ir.Node, value: ir.Value) -> bool:
        """Whether another input of a node has all rows, so that one row of a value is enough."""
        if node.domain or node.op_type not in ELEMENTWISE or _rank(value) != _rank(node.outputs[0]):
            return False
        others = [one for one in node.inputs if one is not None and one not in self._found]
        return any(_rank(one) == _rank(value) and _same_rows(one, value) for one in others)

    def _repeated(self, value: ir.Value, row: _Row) -> Value:
        ones = self._index([1] * (_rank(value) - 1))
        repeated = self.scope.call("Expand", row.one, self.scope.call("Concat", row.count, ones, axis=0))
        repeated.ir.type, repeated.ir.shape = value.type, value.shape
        return repeated

    def _index(self, numbers: Sequence[int]) -> Value:
        return self.scope.constant(np.array(numbers, np.int64))


_SOURCES = ("Expand", "ConstantOfShape")


def _rank(value: ir.Value | None) -> int:
    """The number of axes, or -1 where it is not known."""
    return -1 if value is None or value.shape is None else len(value.shape)


def _sizes(dims: ir.Shape | Sequence[int | ir.SymbolicDim]) -> list[int | str] | None:
    """Sizes and names of sizes; None where one is not known."""
    named = [dim if isinstance(dim, int) else dim.value for dim in dims]
    return None if None in named else [one for one in named if one is not None]


def _stored(rest: Sequence[int | str]) -> bool:
    return all(isinstance(size, int) for size in rest)


def _same_rows(one: ir.Value, other: ir.Value) -> bool:
    """Whether two values are known to have the same number of rows."""
    rows = [_sizes(list(value.shape or ())[:1]) for value in (one, other)]
    return bool(rows[0]) and rows[0] == rows[1]


# Whether a node computes each row of its outputs from the same row of the inputs that have equal rows.
_Rule = Callable[[ir.Node, Sequence[bool]], bool]


def _one_row(value: ir.Value | None, rank: int) -> bool:
    """Whether an input is the same for all rows of an output of a rank, by broadcasting."""
    if value is None:
        return True
    return 0 <= _rank(value) < rank or (_rank(value) == rank and value.shape is not None and value.shape[0] == 1)


def _elementwise(node: ir.Node, equal: Sequence[bool]) -> bool:
    rank = _rank(node.outputs[0])
    return all(
        _rank(value) == rank if rows else _one_row(value, rank) for value, rows in zip(node.inputs, equal, strict=True)
    )


def _gemm(node: ir.Node, equal: Sequence[bool]) -> bool:
    turned = "transA" in node.attributes and node.attributes["transA"].as_int() != 0
    return equal[0] and not any(equal[1:]) and not turned and all(_one_row(one, 2) for one in node.inputs[2:])


def _product(node: ir.Node, equal: Sequence[bool]) -> bool:
    return list(equal) == [True, False] and _rank(node.inputs[0]) >= 2 and _rank(node.inputs[1]) == 2


def _axis(node: ir.Node, default: int) -> int:
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else default
    return axis % max(_rank(node.inputs[0]), 1)


def _concat(node: ir.Node, equal: Sequence[bool]) -> bool:
    return all(equal) and _axis(node, 0) != 0


def _along(default: int) -> _Rule:
    return lambda node, equal: equal[0] and not any(equal[1:]) and _axis(node, default) != 0


def _with_axes(place: int, *, of_output: bool = False) -> _Rule:
    """The rule of an operator whose input of a place is a list of axes. of_output: whether they are the output's."""

    def with_axes(node: ir.Node, equal: Sequence[bool]) -> bool:
        value = node.inputs[place] if place < len(node.inputs) else None
        axes = None if value is None else constant_of(value)
        rank = _rank(node.outputs[0] if of_output else node.inputs[0])
        return axes is not None and equal[0] and not any(equal[1:]) and all(axis % rank != 0 for axis in axes)

    return with_axes


def _reshape(node: ir.Node, equal: Sequence[bool]) -> bool:
    """Whether the rows stay what they are: their number is the same, and the size of each is."""
    before, after = node.inputs[0], node.outputs[0]
    if equal[1] or before is None or not _same_rows(before, after):
        return False
    rests = [_sizes(list(value.shape or ())[1:]) for value in (before, after)]
    sizes = [[size for size in rest if isinstance(size, int)] for rest in rests if rest is not None and _stored(rest)]
    return len(sizes) == 2 and math.prod(sizes[0]) == math.prod(sizes[1])


def _transpose(node: ir.Node, equal: Sequence[bool]) -> bool:
    return "perm" in node.attributes and node.attributes["perm"].as_ints()[0] == 0


def _gather(node: ir.Node, equal: Sequence[bool]) -> bool:
    """Whether all rows take the same elements, or the same row of a table."""
    axis = _axis(node, 0)
    return list(equal) == [True, False] and axis != 0 or list(equal) == [False, True] and axis == 0


RULES: dict[str, _Rule] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(("Squeeze", "ReduceMean", "ReduceSum", "ReduceMax"), _with_axes(1)),
    "Unsqueeze": _with_axes(1, of_output=True),
    "Slice": _with_axes(3),
    "Gemm": _gemm,
    "MatMul": _product,
    "Concat": _concat,
    "Split": _along(0),
    "Softmax": _along(-1),
    "LayerNormalization": _along(-1),
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Gather": _gather,
}


EQUAL_ROWS = Pass(
    name="products of equal rows",
    about="what is computed from one time, repeated for each batch row, is computed for one row",
    apply=compute_equal_rows_once,
)
