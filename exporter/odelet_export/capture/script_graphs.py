"""TorchScript modules and functions, run operator by operator while a model is traced.

TorchScript runs its own interpreter, which gets sizes as plain numbers: a trace would hold the sizes of the example.
Here the graph of a scripted or traced function runs in Python, so that a tracer sees each operator, symbolic sizes stay
symbols, and a decision on a value is answered as any other of the model's. A function with a node that is not known
here runs as it did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from odelet_export.capture.script_operators import FUNCTIONS, SCALAR_FUNCTIONS

Values = dict[str, Any]


class _UnknownNode(Exception):
    """A node that this interpreter does not have."""


@contextmanager
def interpreted_scripts() -> Iterator[None]:
    """Run TorchScript functions and methods in Python in the `with` block, where all their nodes are known."""
    kinds: list[Any] = [torch._C.ScriptFunction, torch._C.ScriptMethod]
    originals = [kind.__call__ for kind in kinds]

    def calling(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(function: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return _run(function, args, kwargs)
            except _UnknownNode:
                return original(function, *args, **kwargs)

        return call

    try:
        for kind, original in zip(kinds, originals, strict=True):
            kind.__call__ = calling(original)
        yield
    finally:
        for kind, original in zip(kinds, originals, strict=True):
            kind.__call__ = original


def _run(function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """The result of a ScriptFunction or ScriptMethod."""
    graph = function.graph.copy()
    torch._C._jit_pass_inline(graph)
    _check_known(graph)
    arguments = ([function.owner] if isinstance(function, torch._C.ScriptMethod) else []) + list(args)
    for argument in function.schema.arguments[len(arguments) :]:
        if argument.name not in kwargs and not argument.has_default_value():
            raise _UnknownNode  # the original names what is missing
        arguments.append(kwargs.get(argument.name, argument.default_value))
    values = {value.debugName(): given for value, given in zip(graph.inputs(), arguments, strict=True)}
    (result,) = _block(graph, values)
    return result


def _check_known(block: Any) -> None:
    """Raise _UnknownNode for a graph with a node that cannot run here, before anything of it has run."""
    for node in block.nodes():
        kind, known = node.kind(), node.kind() in _NODES or node.kind() in FUNCTIONS
        if not known and (
            not kind.startswith("aten::") or (_overload(node) is None and _name(node) not in SCALAR_FUNCTIONS)
        ):
            raise _UnknownNode(kind)
        for inner in node.blocks():
            _check_known(inner)


def _block(block: Any, values: Values) -> list[Any]:
    """Run the nodes of a graph or block. Returns its results."""
    for node in block.nodes():
        outputs = [value.debugName() for value in node.outputs()]
        results = _node(node, [values.get(value.debugName()) for value in node.inputs()], values)
        values.update(zip(outputs, results, strict=True))
    return [values[value.debugName()] for value in block.outputs()]


def _node(node: Any, inputs: Sequence[Any], values: Values) -> Sequence[Any]:
    """The results of one node."""
    if node.kind() in _NODES:
        return _NODES[node.kind()](node, inputs, values)
    function = FUNCTIONS.get(node.kind())
    if function is None and not any(isinstance(value, torch.Tensor) for value in inputs):
        function = SCALAR_FUNCTIONS.get(_name(node))
    if function is not None:
        result = function(*inputs)
        return [] if node.outputsSize() == 0 else [result]
    overload = _overload(node)
    if overload is None:
        raise _UnknownNode(node.kind())
    arguments = torch._C.parse_schema(node.schema()).arguments
    positional = [value for argument, value in zip(arguments, inputs, strict=True) if not argument.kwarg_only]
    named = {argument.name: value for argument, value in zip(arguments, inputs, strict=True) if argument.kwarg_only}
    result = overload(*positional, **named)
    return list(result) if node.outputsSize() > 1 else [result][: node.outputsSize()]


def _name(node: Any) -> str:
    return str(node.kind()).removeprefix("aten::")


def _overload(node: Any) -> Any:
    """The operator of torch that a node calls, or None."""
    packet = getattr(torch.ops.aten, _name(node), None)
    if packet is None:
        return None
    return getattr(packet, torch._C.parse_schema(node.schema()).overload_name or "default", None)


def _constant(node: Any, inputs: Sequence[Any], values: Values) -> Sequence[Any]:
    del inputs, values
    # The constants of functions that are inlined are no values, and nothing reads them.
    return [node.output().toIValue() if node.output().type().kind() != "FunctionType" else None]


def _attribute(node: Any, inputs: Sequence[Any], values: Values) -> Sequence[Any]:
    del values
    return [inputs[0].getattr(node.s("name"))]


def _if(node: Any, inputs: Sequence[Any], values: Values) -> Sequence[Any]:
    first, second = node.blocks()
    return _block(first if inputs[0] else second, values)


def _loop(node: Any, inputs: Sequence[Any], values: Values) -> Sequence[Any]:
    (block,) = node.blocks()
    names = [value.debugName() for value in block.inputs()]
    limit, goes_on, *carried = inputs
    turn = 0
    while goes_on and turn < limit:
        values.update(zip(names, [turn, *carried], strict=True))
        goes_on, *carried = _block(block, values)
        turn += 1
    return carried


def _raise(node: Any, inputs: Sequence[Any], values: Values) -> Sequence[Any]:
    del node, values
    raise RuntimeError(inputs[0])


def _dict(node: Any, inputs: Sequence[Any], values: Values) -> Sequence[Any]:
    del node, values
    return [dict(zip(inputs[::2], inputs[1::2], strict=True))]


# The nodes that are no functions of their inputs alone, or that give several values.
_NODES: dict[str, Callable[[Any, Sequence[Any], Values], Sequence[Any]]] = {
    "prim::Constant": _constant,
    "prim::GetAttr": _attribute,
    "prim::If": _if,
    "prim::Loop": _loop,
    "prim::RaiseException": _raise,
    "prim::ListConstruct": lambda node, inputs, values: [list(inputs)],
    "prim::TupleConstruct": lambda node, inputs, values: [tuple(inputs)],
    "prim::DictConstruct": _dict,
    "prim::ListUnpack": lambda node, inputs, values: list(inputs[0]),
    "prim::TupleUnpack": lambda node, inputs, values: list(inputs[0]),
    "prim::Uninitialized": lambda node, inputs, values: [None],
    "prim::Print": lambda node, inputs, values: [],
    "aten::warn": lambda node, inputs, values: [],
}
