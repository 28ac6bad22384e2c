"""Merges nodes of a traced graph that compute the same, before the graph is traced again and translated.

A field with decisions is traced once for each of its paths, and most of a path is what it is on the others. The
translation to ONNX would merge such nodes in the end, after all its other work was done for each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import Graph, GraphModule, Node
from torch.utils._pytree import tree_flatten

from odelet_export.capture.decisions.example_values import real

# Constants up to this size are compared by value.
_SMALL = 4096


def merge_in_trace(traced: GraphModule) -> None:
    """Merge equal nodes of a graph that make_fx traced, in place; a graph that writes into tensors stays as it is."""

    def constant(node: Node) -> Any:
        return getattr(traced, str(node.target), None) if node.op == "get_attr" else None

    if _merge(traced.graph, constant):
        traced.recompile()


def merge_in_program(program: ExportedProgram) -> None:
    """Merge equal nodes of a program, in place; a program that writes into tensors stays as it is."""
    specs = {spec.arg.name: spec for spec in program.graph_signature.input_specs if hasattr(spec.arg, "name")}

    def constant(node: Node) -> Any:
        spec = specs.get(node.name) if node.op == "placeholder" else None
        is_constant = spec is not None and spec.kind is InputKind.CONSTANT_TENSOR
        return program.constants.get(str(spec.target)) if spec is not None and is_constant else None

    if _merge(program.graph_module.graph, constant, program.graph_signature.replace_all_uses):
        program.graph_module.recompile()


def _merge(graph: Graph, constant: Callable[[Node], Any], renamed: Callable[[str, str], None] | None = None) -> bool:
    """Merge equal nodes, and say whether there were any. constant: the value of a node that is a constant, or None.
    renamed: called with the name of a node and that of the node which takes its place."""
    if any(_writes(node) for node in graph.nodes):
        return False
    first: dict[Any, Node] = {}
    merged = False
    for node in list(graph.nodes):
        key = _value_key(constant(node)) or _key(node)
        same = None if key is None else first.setdefault(key, node)
        if same is None or same is node:
            continue
        node.replace_all_uses_with(same)
        if renamed is not None:
            renamed(node.name, same.name)
        if node.op != "placeholder":
            graph.erase_node(node)
        merged = True
    return merged


def _writes(node: Node) -> bool:
    """Whether a node may change a tensor, or runs a graph of its own."""
    target: Any = node.target
    if node.op not in ("call_function", "placeholder", "get_attr", "output"):
        return True
    if isinstance(target, torch._ops.OpOverload):
        # `torch.tensor` leaves a detach_ behind, which changes no number.
        return bool(target._schema.is_mutable) and target is not torch.ops.aten.detach_.default
    return isinstance(target, torch._ops.OperatorBase)


def _key(node: Node) -> Any:
    """What a node computes, as a key of a dict; None for a node that stays alone."""
    target: Any = node.target
    if node.op == "get_attr":
        return "get_attr", target
    if node.op != "call_function" or "val" not in node.meta:
        return None
    if isinstance(target, torch._ops.OpOverload):
        alone = target.namespace not in ("aten", "prims") or torch.Tag.nondeterministic_seeded in target.tags
        if alone or not target._schema.returns:
            return None
    leaves, spec = tree_flatten((node.args, node.kwargs))
    return (target, spec, *(leaf if isinstance(leaf, Node) else (type(leaf), repr(leaf)) for leaf in leaves))


def _value_key(value: Any) -> Any:
    """The value of a small constant, as a key of a dict; None for anything else."""
    if type(value) is not torch.Tensor or value.numel() > _SMALL or value.dtype in (torch.bfloat16, torch.complex64):
        return None
    with real():
        return value.dtype, value.device, tuple(value.shape), value.detach().cpu().contiguous().numpy().tobytes()
