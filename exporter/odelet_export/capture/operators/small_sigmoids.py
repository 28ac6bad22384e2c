"""Sigmoids whose smallness matters, as log(sigmoid(x)) or 1 / sigmoid(x), by operators that keep their digits.

ONNX Runtime's Sigmoid is fast, and has an absolute error: of float32 it is never below sigmoid(-18), and the logarithm
of sigmoid(-50) would be -18. Where the value of a sigmoid comes, through products, sums, bounds and changes of shape,
to an operator that is steep near 0, the sigmoid is written as 1 / (1 + exp(-x)), which is how torch computes it.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.fx import Node

aten = torch.ops.aten

# Operators that are steep near 0, with the places of the arguments in which they are.
_STEEP: dict[Any, tuple[int, ...]] = {
    **dict.fromkeys((aten.log, aten.log2, aten.log10, aten.sqrt, aten.rsqrt, aten.reciprocal, aten.logit), (0,)),
    **dict.fromkeys((aten.div, aten.xlogy, aten.atan2, aten.fmod, aten.remainder, aten.floor_divide), (1,)),
    **dict.fromkeys((aten.pow, aten.float_power, aten.special_entr), (0,)),
}
# Operators whose result is small where an argument is.
_FOLLOWED = frozenset(
    {
        *(
            aten.mul,
            aten.add,
            aten.sub,
            aten.rsub,
            aten.neg,
            aten.abs,
            aten.clamp,
            aten.clamp_min,
            aten.clamp_max,
            aten.where,
        ),
        *(aten.maximum, aten.minimum, aten.sum, aten.mean, aten.prod, aten.cumprod, aten.amax, aten.amin, aten.max),
        *(
            aten.min,
            aten.view,
            aten.reshape,
            aten._unsafe_view,
            aten.unsqueeze,
            aten.squeeze,
            aten.expand,
            aten.permute,
        ),
        *(aten.transpose, aten.t, aten.select, aten.slice, aten.cat, aten.stack, aten.index, aten.index_select),
        *(
            aten.gather,
            aten.clone,
            aten.alias,
            aten._to_copy,
            aten.split,
            aten.split_with_sizes,
            aten.chunk,
            aten.unbind,
        ),
        *(aten.flip, aten.repeat, aten.diagonal, aten.masked_fill, aten.sort, aten.topk, aten.detach),
    }
)


def keep_small_sigmoids(program: torch.export.ExportedProgram) -> None:
    """Write sigmoids by their formula where their smallness matters, in place."""
    graph = program.graph_module.graph
    for node in graph.find_nodes(op="call_function", target=aten.sigmoid.default):
        if _comes_to_steep(node):
            x: Any = node.args[0]
            with graph.inserting_before(node):
                for target, further in (
                    (aten.neg.default, ()),
                    (aten.exp.default, ()),
                    (aten.add.Scalar, (1.0,)),
                    (aten.reciprocal.default, ()),
                ):
                    x = graph.call_function(target, (x, *further))
                    x.meta = dict(node.meta)
            node.replace_all_uses_with(x)
            graph.erase_node(node)
    program.graph_module.recompile()


def _comes_to_steep(sigmoid: Node) -> bool:
    """Whether the value of a node comes to an operator that is steep near 0."""
    seen, left = {sigmoid}, [sigmoid]
    while left:
        node = left.pop()
        for user in node.users:
            kind = _operator(user)
            if any(user.args[place] is node for place in _STEEP.get(kind, ())) and not _is_flat(user):
                return True
            if kind in _FOLLOWED and user not in seen:
                seen.add(user)
                left.append(user)
    return False


def _operator(node: Node) -> Any:
    """The operator of a node without its overload; an item of several outputs counts as a change of shape."""
    if node.target is operator.getitem:
        return aten.select
    return getattr(node.target, "overloadpacket", None)


def _is_flat(power: Node) -> bool:
    """Whether a node is a power of at least 1, which is not steep near 0."""
    exponent = power.args[1] if len(power.args) > 1 else None
    return _operator(power) is aten.pow and isinstance(exponent, (int, float)) and exponent >= 1
