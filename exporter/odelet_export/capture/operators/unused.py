"""Removes what no result needs from a traced program, as far as nothing depends on its being run.

torch itself keeps more: it takes every operator that can draw random numbers for one that does, attention among them.
In a model with attention that is most of the two calls of each field whose results are not used.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Node

# Arguments by which an operator says that it draws no random numbers, each with its value then.
_DRAWS_NOTHING = {"dropout_p": 0.0, "dropout": 0.0, "train": False, "training": False}


def remove_unused(program: ExportedProgram) -> None:
    """Remove the nodes of a program that no output depends on, in place, without those that write or draw numbers."""
    program.graph.eliminate_dead_code(is_impure_node=_must_stay)
    program.graph_module.recompile()


def _must_stay(node: Node) -> bool:
    """Whether a node is needed though nothing reads it."""
    target: Any = node.target
    # torch removes these checks too, after the decomposition; a traced tensor has the dtype that it has.
    if target is torch.ops.aten._assert_tensor_metadata.default:
        return False
    return node.is_impure() and not _draws_nothing(node)


def _draws_nothing(node: Node) -> bool:
    """Whether a node can draw random numbers by its operator, and draws none by its arguments."""
    target: Any = node.target
    if not isinstance(target, torch._ops.OpOverload) or torch.Tag.nondeterministic_seeded not in target.tags:
        return False
    if target._schema.is_mutable:
        return False
    arguments = target._schema.arguments
    given = {**dict(zip((one.name for one in arguments), node.args, strict=False)), **node.kwargs}
    values = {one.name: given.get(one.name, one.default_value) for one in arguments}
    return any(name in values and values[name] == nothing for name, nothing in _DRAWS_NOTHING.items())
