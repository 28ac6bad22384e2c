"""Quotients of whole numbers made of sizes, `-n // 2`, rounded down also where they are negative.

ONNX rounds a quotient of whole numbers towards 0, and torch translates `//` to it without a look at the sign.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.fx import Node
from torch.fx.experimental.symbolic_shapes import statically_known_true


def round_down(program: torch.export.ExportedProgram) -> None:
    """Let quotients that may be negative be those of multiples, in place, which are the same however they are
    rounded."""
    graph = program.graph_module.graph
    for node in graph.find_nodes(op="call_function", target=operator.floordiv):
        over, under = node.args
        numerator, divisor = _value(over), _value(under)
        if statically_known_true(numerator >= 0):
            continue
        with graph.inserting_before(node):
            rest = graph.call_function(operator.mod, (over, under))
            multiple = graph.call_function(operator.sub, (over, rest))
        rest.meta = {**node.meta, "val": numerator % divisor}
        multiple.meta = {**node.meta, "val": numerator - numerator % divisor}
        node.args = (multiple, under)
    program.graph_module.recompile()


def _value(argument: Any) -> Any:
    return argument.meta["val"] if isinstance(argument, Node) else argument
