"""Maps nodes over a new first axis: what they compute for each of many values, in one call for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from odelet_export.graphs.nodes import bodies, constant_of
from odelet_export.graphs.scope import Scope, Value


def mapped_values(
    nodes: Sequence[ir.Node],
    inputs: Mapping[ir.Value, Value],
    outside: Mapping[ir.Value, ir.Value],
    scope: Scope,
    *,
    size: int,
) -> dict[ir.Value, Value]:
    """Put the nodes that can be mapped into a scope. Returns what stands for each value, with the new first axis.

    nodes: in order. inputs: for values that the nodes read, the same with a first axis. outside: for other values that
    the nodes may read, the value in the scope, which is the same for all. size: of the new axis. A node that reads
    anything else, or none of the inputs, or whose operator is not in the roster, is left out.
    """
    found = dict(inputs)
    for node in nodes:
        known = all(value is None or value in found or value in outside for value in node.inputs)
        known = known and any(value in found for value in node.inputs)
        rule = None if node.domain or bodies(node) else RULES.get(node.op_type)
        if rule is None or not known or any(value is not None and value.shape is None for value in node.inputs):
            continue
        if any(output.shape is None or output.dtype is None for output in node.outputs):
            continue
        made = rule(_Place(node, found, outside, scope, size))
        for output, value in zip(node.outputs, [made] if isinstance(made, Value) else made or [], strict=False):
            assert output.shape is not None
            value.ir.type, value.ir.shape = output.type, ir.Shape([size, *output.shape])
            found[output] = value
    return found


@dataclass(frozen=True)
class _Place:
    """A node to map. found: what stands for the values that have been mapped. outside: for the others. size: of the
    new axis."""

    node: ir.Node
    found: Mapping[ir.Value, Value]
    outside: Mapping[ir.Value, ir.Value]
    scope: Scope
    size: int

    @property
    def count(self) -> Value:
        """The size of the new axis, as a shape begins."""
        return self.scope.constant(np.array([self.size], np.int64))

    def mapped(self, i: int) -> bool:
        """Whether the input of an index has the new axis."""
        return self.given(i) and self.node.inputs[i] in self.found

    def given(self, i: int) -> bool:
        return i < len(self.node.inputs) and self.node.inputs[i] is not None

    def rank(self, i: int) -> int:
        """The number of axes of an input, without the new one."""
        value = self.node.inputs[i]
        assert value is not None and value.shape is not None
        return len(value.shape)

    def input(self, i: int) -> Value | None:
        value = self.node.inputs[i]
        return None if value is None else self.found.get(value) or Value(self.outside[value], self.scope)

    def inputs(self, start: int = 0) -> list[Value | None]:
        return [self.input(i) for i in range(start, len(self.node.inputs))]

    def constant(self, i: int) -> np.ndarray | None:
        value = self.node.inputs[i] if self.given(i) else None
        return None if value is None else constant_of(value)

    def attribute(self, name: str, default: Any = None) -> Any:
        return self.node.attributes[name].value if name in self.node.attributes else default

    def aligned(self, i: int, rank: int) -> Value | None:
        """An input that broadcasts with others of a rank: axes of size 1 follow the new axis."""
        value = self.input(i)
        if value is None or not self.mapped(i) or self.rank(i) >= rank:
            return value
        axes = np.arange(1, 1 + rank - self.rank(i), dtype=np.int64)
        return self.scope.call("Unsqueeze", value, self.scope.constant(axes))

    def rows(self, i: int) -> Value | None:
        """An input of two axes, its first and the new one as one axis; None where that would take a node."""
        value = self.input(i)
        node = value.ir.producer() if value is not None and self.mapped(i) and self.rank(i) == 2 else None
        flat = node.inputs[0] if node is not None and node.op_type == "Reshape" else None
        if value is None or flat is None or flat.shape is None or value.dims is None:
            return None
        sizes = [_size(dim) for dim in value.ir.shape or ()]
        known = 0 not in sizes and list(flat.shape) == [sizes[0] * sizes[1], sizes[2]]
        return Value(flat, self.scope) if known else None

    def of_rows(self, rows: Value, width: int) -> Value:
        """An output of two axes, from rows (new axis * first axis, width)."""
        output = self.node.outputs[0]
        dims = output.shape
        assert dims is not None
        count = self.size * _size(dims[0])
        rows.ir.type, rows.ir.shape = output.type, ir.Shape([count or None, width])
        return self.scope.call("Reshape", rows, self.scope.constant(np.array([self.size, -1, width], np.int64)))

    def again(self, *inputs: Value | None, **changed: Any) -> Any:
        """The node on other inputs. changed: attributes that differ."""
        attributes = {name: one.value for name, one in self.node.attributes.items()} | changed
        return self.scope.call(self.node.op_type, *inputs, outputs=len(self.node.outputs), **attributes)


def _later(axis: int) -> int:
    """An axis after the new first one."""
    return axis if axis < 0 else axis + 1


def _elementwise(place: _Place) -> Any:
    given = [i for i in range(len(place.node.inputs)) if place.given(i)]
    rank = max(place.rank(i) for i in given)
    rows = _elementwise_of_rows(place, given)
    if rows is not None:
        return rows
    return place.again(*(place.aligned(i, rank) for i in range(len(place.node.inputs))))


def _elementwise_of_rows(place: _Place, given: Sequence[int]) -> Value | None:
    """The node on rows, so that no reshape stands between two Gemm; None where not all of its inputs are rows."""
    dims = place.node.outputs[0].shape
    assert dims is not None
    rows = {i: place.rows(i) for i in given if place.mapped(i)}
    fitting = all(one is not None and one.dims == [place.size * _size(dims[0]), dims[-1]] for one in rows.values())
    if len(dims) != 2 or not fitting or any(place.rank(i) > 1 for i in given if i not in rows):
        return None
    made = place.again(*(rows.get(i) or place.input(i) for i in range(len(place.node.inputs))))
    return place.of_rows(made, _size(dims[1]))


def _size(dim: int | ir.SymbolicDim) -> int:
    """A size; 0 where it is not fixed."""
    return dim if isinstance(dim, int) else 0


def _gemm(place: _Place) -> Any:
    """The product of all rows: Gemm takes two axes."""
    weight = place.node.inputs[1]
    assert weight is not None and weight.shape is not None
    width = weight.shape[0 if place.attribute("transB", 0) else 1]
    if place.mapped(1) or place.attribute("transA", 0) or not isinstance(width, int):
        return None
    if place.given(2) and (place.mapped(2) or place.rank(2) > 1):
        return None
    rows = place.rows(0) or place.scope.call("Flatten", place.input(0), axis=2)
    return place.of_rows(place.again(rows, *place.inputs(1)), width)


def _product(place: _Place) -> Any:
    ranks = place.rank(0), place.rank(1)
    if place.mapped(0) and not place.mapped(1) and ranks[0] == 1:
        return place.again(*place.inputs()) if ranks[1] <= 2 else None
    if any(place.mapped(i) and ranks[i] < 2 for i in (0, 1)):
        return None
    return place.again(*(place.aligned(i, max(ranks)) for i in (0, 1)))


def _along_axis(default: int) -> Callable[[_Place], Any]:
    def along(place: _Place) -> Any:
        if any(place.mapped(i) for i in range(1, len(place.node.inputs))):
            return None
        return place.again(*place.inputs(), axis=_later(place.attribute("axis", default)))

    return along


def _concat(place: _Place) -> Any:
    parts = []
    for i in range(len(place.node.inputs)):
        part = place.input(i)
        if not place.mapped(i):
            shape = np.array([place.size, *[1] * place.rank(i)], np.int64)
            part = place.scope.call("Expand", part, place.scope.constant(shape))
        parts.append(part)
    return place.again(*parts, axis=_later(place.attribute("axis")))


def _with_axes(i: int) -> Callable[[_Place], Any]:
    """The rule of an operator whose input of index i is a list of axes."""

    def with_axes(place: _Place) -> Any:
        axes = place.constant(i)
        if axes is None or any(place.mapped(j) for j in range(1, len(place.node.inputs))):
            return None
        inputs = place.inputs()
        inputs[i] = place.scope.constant(np.array([_later(int(axis)) for axis in axes], np.int64))
        return place.again(*inputs)

    return with_axes


def _reshape(place: _Place) -> Any:
    if place.mapped(1):
        return None
    known = place.constant(1)
    if known is not None:
        return place.again(place.input(0), place.scope.constant(np.array([place.size, *known], np.int64)))
    return place.again(place.input(0), place.scope.call("Concat", place.count, place.input(1), axis=0))


def _expand(place: _Place) -> Any:
    shape = place.node.outputs[0].shape
    assert shape is not None
    return None if place.mapped(1) else place.again(place.aligned(0, len(shape)), place.input(1))


def _transpose(place: _Place) -> Any:
    order = place.attribute("perm", range(place.rank(0))[::-1])
    return place.again(place.input(0), perm=[0, *(axis + 1 for axis in order)])


def _gather(place: _Place) -> Any:
    axis = place.attribute("axis", 0)
    if place.mapped(0):
        return None if place.mapped(1) else place.again(*place.inputs(), axis=_later(axis))
    return place.again(*place.inputs()) if axis == 0 else None


# fmt: off
ELEMENTWISE = (
    "Abs", "Add", "And", "Cast", "Ceil", "Celu", "Clip", "Cos", "Div", "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu",
    "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Less", "LessOrEqual", "Log",
    "Max", "Min", "Mish", "Mul", "Neg", "Not", "Or", "PRelu", "Pow", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid",
    "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Sub", "Tanh", "Where",
)
# fmt: on
# The rule of each operator. It returns what stands for the outputs of a node, or None where it cannot be mapped.
RULES: dict[str, Callable[[_Place], Any]] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(("Unsqueeze", "Squeeze", "ReduceMean", "ReduceSum", "ReduceMax"), _with_axes(1)),
    "Gemm": _gemm,
    "MatMul": _product,
    "Concat": _concat,
    "Reshape": _reshape,
    "Expand": _expand,
    "Transpose": _transpose,
    "Gather": _gather,
    "Slice": _with_axes(3),
    "Split": _along_axis(0),
    "Softmax": _along_axis(-1),
    "LayerNormalization": _along_axis(-1),
}
