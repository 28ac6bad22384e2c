"""Folds constants that ONNX has no operators for: torch computes them at export, and the graph keeps their values.

Weights under a parametrisation (an orthogonal matrix as a product of reflections), the frequencies of a Fourier
transform, the factors of a constant matrix: none of them depends on an input, so no operator is needed for them.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, InputSpec, TensorArgument
from torch.fx import Node
from torch.fx.node import map_arg

# Kinds of placeholders whose values are known at export and do not change.
_STORED = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)


def fold_constants(program: ExportedProgram, translated: Collection[object]) -> list[Node]:
    """Put values in place of constants whose operators have no translation, in the program, and return the other nodes
    whose operators have none.

    translated: the operators with a translation. Folded are the constant nodes without a translation, and the constant
    nodes that depend on them.
    """
    graph = program.graph_module.graph
    stored = _stored(program)
    constant, folded, left = set(stored), set[Node](), list[Node]()
    for node in graph.nodes:
        if node.op != "call_function":
            continue
        known = _is_deterministic(node) and all(read in constant for read in node.all_input_nodes)
        lacks = not _is_translated(node, translated)
        if known:
            constant.add(node)
        if known and (lacks or any(read in folded for read in node.all_input_nodes)):
            folded.add(node)
        elif lacks and node.users:  # torch leaves out assertions, which nothing uses, before it translates
            left.append(node)
    values = _Values(stored)
    for node in [node for node in graph.nodes if node in folded]:
        if any(user not in folded for user in node.users) and isinstance(value := values.of(node), torch.Tensor):
            placeholder = _stored_as(program, value, node)
            node.replace_all_uses_with(placeholder, lambda user: user not in folded)
            program.graph_signature.replace_all_uses(node.name, placeholder.name)
    graph.eliminate_dead_code()
    program.graph_module.recompile()
    return left


def _stored(program: ExportedProgram) -> dict[Node, torch.Tensor]:
    """The values of a program's weights and constants, by their placeholders."""
    placeholders = (node for node in program.graph_module.graph.nodes if node.op == "placeholder")
    tensors = {**program.constants, **program.state_dict}
    return {
        node: tensors[str(spec.target)]
        for node, spec in zip(placeholders, program.graph_signature.input_specs, strict=True)
        if spec.kind in _STORED
    }


def _is_translated(node: Node, translated: Collection[object]) -> bool:
    """Whether torch's translation knows a node: it has a translation of its own, or takes no tensor operator at all."""
    target: Any = node.target
    return not isinstance(target, torch._ops.OpOverload) or target.namespace == "onnx_symbolic" or target in translated


def _is_deterministic(node: Node) -> bool:
    """Whether a node computes the same in each run, from its arguments alone."""
    target: Any = node.target
    if target is operator.getitem:
        return True
    if not isinstance(target, torch._ops.OpOverload) or target.namespace not in ("aten", "prims"):
        return False
    drawn = torch.Tag.nondeterministic_seeded in target.tags
    return not drawn and not target._schema.is_mutable


class _Values:
    """The values of constant nodes, each computed when it is first needed. stored: those of the placeholders."""

    def __init__(self, stored: Mapping[Node, torch.Tensor]) -> None:
        self._values: dict[Node, Any] = {node: tensor.detach() for node, tensor in stored.items()}

    def of(self, node: Node) -> Any:
        """The value of a constant node: a tensor, or a tuple of them."""
        waiting = [node]
        while waiting:
            lacking = [read for read in waiting[-1].all_input_nodes if read not in self._values]
            if lacking:
                waiting += lacking
                continue
            last = waiting.pop()
            if last not in self._values:
                target: Any = last.target
                with torch.no_grad():
                    self._values[last] = target(
                        *map_arg(last.args, self._values.__getitem__), **map_arg(last.kwargs, self._values.__getitem__)
                    )
        return self._values[node]


def _stored_as(program: ExportedProgram, value: torch.Tensor, node: Node) -> Node:
    """A new placeholder of a program that stands for the value of a constant node."""
    graph, signature = program.graph_module.graph, program.graph_signature
    kinds = [spec.kind for spec in signature.input_specs]
    place = kinds.index(InputKind.USER_INPUT) if InputKind.USER_INPUT in kinds else len(kinds)
    nodes = [*graph.nodes]  # placeholders come first, in the order of their specs
    with graph.inserting_before(nodes[place]):
        placeholder = graph.placeholder(f"folded_{node.name}")
    placeholder.meta = dict(node.meta)
    name = placeholder.name
    spec = InputSpec(InputKind.CONSTANT_TENSOR, TensorArgument(name=name), name, persistent=None)
    signature.input_specs.insert(place, spec)
    program.constants[name] = value.contiguous()
    return placeholder
