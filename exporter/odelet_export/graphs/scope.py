"""A graph under construction, and its values with Python's operators.

A node goes into the innermost scope of its operands, so that a value that does not change inside a loop is computed
outside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, overload

import numpy as np
import onnx
import onnx_ir as ir
from onnxscript import GraphBuilder
from onnxscript._internal.param_manipulation import separate_input_attributes_from_arguments

Number = int | float | bool | np.generic | np.ndarray


class Builder(GraphBuilder):
    """onnxscript's builder, which here makes the signature of an operator once and not for each node."""

    def _partition_inputs_attributes(
        self, schema: onnx.defs.OpSchema | None, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> tuple[Sequence[Any], dict[str, Any]]:
        if schema is None:
            return args, kwargs
        signature = _signature(schema.domain, schema.name, schema.since_version)
        return separate_input_attributes_from_arguments(
            signature, list(args), kwargs, fill_defaults=False, allow_extra_args=False
        )


@cache
def _signature(domain: str, name: str, version: int) -> ir.schemas.OpSignature:
    return ir.schemas.OpSignature.from_op_schema(onnx.defs.get_schema(name, version, domain))


class Scope:
    """A graph under construction: the main graph, or the body of a loop inside another scope."""

    def __init__(self, builder: Builder, parent: Scope | None = None) -> None:
        self.builder = builder
        self.parent = parent
        self.depth: int = 0 if parent is None else parent.depth + 1
        self._constants: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}
        self._made: dict[Any, Any] = {}

    @classmethod
    def of(cls, graph: ir.Graph) -> Scope:
        """The scope of a main graph; nodes are appended to it."""
        return cls(Builder(graph))

    @property
    def graph(self) -> ir.Graph:
        return self.builder.graph

    @overload
    def call(self, op_type: str, *inputs: Any, outputs: int, **attributes: Any) -> Any: ...

    @overload
    def call(self, op_type: str, *inputs: Any, **attributes: Any) -> Value: ...

    def call(self, op_type: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node, or find an equal node that is there already. inputs: Values, ir.Values or None. Returns a Value,
        or a list of Values."""
        raw = [x.ir if isinstance(x, Value) else x for x in inputs]
        if any(isinstance(x, ir.Graph) for x in attributes.values()):
            return self._add(op_type, raw, outputs, attributes)
        key = (op_type, *raw, outputs, repr(sorted(attributes.items())))
        if key not in self._made:
            self._made[key] = self._add(op_type, raw, outputs, attributes)
        return self._made[key]

    def _add(self, op_type: str, raw: Sequence[Any], outputs: int, attributes: Any) -> Any:
        result = getattr(self.builder.op, op_type)(*raw, _outputs=outputs, **attributes)
        if outputs == 1:
            return Value(result[0] if isinstance(result, (list, tuple)) else result, self)
        return [Value(value, self) for value in result]

    def constant(self, x: Number, dtype: Any = None) -> Value:
        """A constant of the graph; equal constants are stored once."""
        array = np.ascontiguousarray(np.asarray(x, dtype=dtype)).reshape(np.shape(x))
        root = self.root
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in root._constants:
            number = len(root._constants)
            # Another scope of the same graph, or a graph whose values came into this one, has constants too.
            while f"odelet.constant_{number}" in root.graph.initializers:
                number += 1
            name = f"odelet.constant_{number}"
            value = root.builder.initializer(ir.tensor(array, name=name), name, qualify=False)
            root._constants[key] = value
        return Value(root._constants[key], root)

    def passed(self, value: Value) -> Value:
        """A value from outside, or an input, as a value that this graph makes.

        An Identity would not do: onnx_ir's elimination of Identity nodes makes a subgraph return a value that it does
        not make.
        """
        copied: Value = self._add("Cast", [value.ir], 1, {"to": value.ir.dtype})
        return copied

    @property
    def root(self) -> Scope:
        return self if self.parent is None else self.parent.root

    def loop(
        self,
        body: Callable[..., tuple[Any, Sequence[Any], Sequence[Any]]],
        limit: Value,
        condition: Value | None,
        carried: Sequence[Value],
    ) -> tuple[list[Value], list[Value]]:
        """Emit a Loop.

        body: called with the inner scope, the iteration number and the carried values; returns the condition to
        go on (or None), the carried values after the iteration, and values to collect. Returns the final
        carried values and the collected ones, stacked along a new first axis.
        """
        inputs = [ir.val("iteration", ir.DataType.INT64, []), ir.val("go", ir.DataType.BOOL, [])]
        inputs += [ir.val(f"carried_{i}", x.ir.dtype, x.ir.shape) for i, x in enumerate(carried)]
        graph = ir.Graph(inputs, [], nodes=[], opset_imports=dict(self.graph.opset_imports), name="loop_body")
        inner = Scope(Builder(graph, parent=self.builder), self)
        iteration, go, *state = [Value(value, inner) for value in inputs]
        again, after, collect = body(inner, iteration, *state)
        # A body may not return its own input, nor a value from outside it, without a node between.
        graph.outputs.extend(
            value.ir if (maker := value.ir.producer()) is not None and maker.graph is graph else inner.passed(value).ir
            for value in [go if again is None else again, *after, *collect]
        )
        total = len(carried) + len(collect)
        stored = limit.ir.const_value
        turns = None if stored is None or limit.ir.is_graph_input() or again is not None else int(stored.numpy())
        result = self.call("Loop", limit, condition, *carried, body=graph, outputs=total)
        values = result if isinstance(result, list) else [result]
        for value, inner_value in zip(values, graph.outputs[1:], strict=True):
            value.ir.type = inner_value.type
        for value, start in zip(values, carried, strict=False):
            value.ir.shape = start.ir.shape
        for value, inner_value in zip(values[len(carried) :], graph.outputs[1 + len(carried) :], strict=True):
            if inner_value.shape is not None:
                value.ir.shape = ir.Shape([turns, *inner_value.shape])
        return values[: len(carried)], values[len(carried) :]

    def branch(
        self,
        condition: Value,
        then: Callable[..., Any],
        otherwise: Callable[..., Any],
        operands: Sequence[Value],
    ) -> Any:
        """Emit an If, each branch computed from the operands; see `odelet.numerics.backend.Backend.branch`."""
        graphs = []
        single = True
        for name, function in (("then", then), ("else", otherwise)):
            graph = ir.Graph([], [], nodes=[], opset_imports=dict(self.graph.opset_imports), name=f"{name}_branch")
            inner = Scope(Builder(graph, parent=self.builder), self)
            # A value computed from an operand belongs in the branch, though the operand itself is outside.
            results = function(*(Value(x.ir, inner) for x in operands))
            single = isinstance(results, Value)
            for result in [results] if single else results:
                node = result.ir.producer()
                inside = node is not None and node.graph is graph and result.ir not in graph.outputs
                graph.outputs.append(result.ir if inside else inner.passed(result).ir)
            graphs.append(graph)
        count = len(graphs[0].outputs)
        outputs = self.call("If", condition, then_branch=graphs[0], else_branch=graphs[1], outputs=count)
        values = outputs if isinstance(outputs, list) else [outputs]
        for value, result in zip(values, graphs[0].outputs, strict=True):
            value.ir.type, value.ir.shape = result.type, result.shape
        return values[0] if single else tuple(values)


class Value:
    """An array in a graph, with Python's operators. Python and numpy numbers join in as constants."""

    __slots__ = ("ir", "scope")
    __array_ufunc__ = None  # numpy scalars on the left must leave the operation to us

    def __init__(self, value: ir.Value, scope: Scope) -> None:
        self.ir = value
        self.scope = scope

    @property
    def dtype(self) -> np.dtype[Any]:
        assert self.ir.dtype is not None, f"no dtype for {self.ir.name}"
        return self.ir.dtype.numpy()

    @property
    def dims(self) -> list[int | str | None] | None:
        """The shape: integers, names of axes, or None where it is not known."""
        if self.ir.shape is None:
            return None
        return [dim if isinstance(dim, int) else dim.value for dim in self.ir.shape]

    def __add__(self, other: Any) -> Value:
        return self if _is(other, 0) else binary("Add", self, other)

    def __radd__(self, other: Any) -> Value:
        return self if _is(other, 0) else binary("Add", other, self)

    def __sub__(self, other: Any) -> Value:
        return self if _is(other, 0) else binary("Sub", self, other)

    def __rsub__(self, other: Any) -> Value:
        return binary("Sub", other, self)

    def __mul__(self, other: Any) -> Value:
        if _is(other, 1):
            return self
        return -self if _is(other, -1) else binary("Mul", self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Value:
        return self if _is(other, 1) else binary("Div", self, other)

    def __rtruediv__(self, other: Any) -> Value:
        return binary("Div", other, self)

    def __pow__(self, other: Any) -> Value:
        return self if _is(other, 1) else binary("Pow", self, other)

    def __neg__(self) -> Value:
        return self.scope.call("Neg", self)

    def __abs__(self) -> Value:
        return self.scope.call("Abs", self)

    def __lt__(self, other: Any) -> Value:
        return binary("Less", self, other)

    def __le__(self, other: Any) -> Value:
        return binary("LessOrEqual", self, other)

    def __gt__(self, other: Any) -> Value:
        return binary("Greater", self, other)

    def __ge__(self, other: Any) -> Value:
        return binary("GreaterOrEqual", self, other)

    def __or__(self, other: Any) -> Value:
        return binary("Or", self, other)

    def __and__(self, other: Any) -> Value:
        return binary("And", self, other)

    def __invert__(self) -> Value:
        return self.scope.call("Not", self)

    def __getitem__(self, key: int | slice | Value) -> Value:
        """x[i] with an integer, constant or not, or x[a:b], along the first axis."""
        scope = self.scope
        if not isinstance(key, slice):
            index = scope.constant(key, np.int64) if isinstance(key, int) else key
            return deepest(self, index).call("Gather", self, index, axis=0)
        assert key.step is None
        start, stop = key.start or 0, np.iinfo(np.int64).max if key.stop is None else key.stop
        bounds = [scope.constant(np.array([bound], np.int64)) for bound in (start, stop, 0)]
        return scope.call("Slice", self, *bounds)


def _is(x: Any, number: int) -> bool:
    return isinstance(x, (int, float, np.generic)) and bool(x == number)


def deepest(*xs: Any) -> Scope:
    scopes = [x.scope for x in xs if isinstance(x, Value)]
    return max(scopes, key=lambda scope: scope.depth)


def binary(op_type: str, a: Any, b: Any) -> Value:
    scope = deepest(a, b)
    dtype = a.dtype if isinstance(a, Value) else b.dtype
    a, b = (x if isinstance(x, Value) else scope.constant(x, dtype) for x in (a, b))
    assert a.dtype == b.dtype, f"{op_type} of {a.dtype} and {b.dtype}"
    return scope.call(op_type, a, b)
