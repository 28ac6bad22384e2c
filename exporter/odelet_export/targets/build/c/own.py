"""Operators of odelet's own in the place of ONNX's, which code for C knows more of: sizes alone, and weights in the
order in which they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onnx import helper

from odelet_export.targets.build.instructions import Call, Stored
from odelet_export.targets.build.operators import Operator, Port

DOMAIN = "odelet.c"


def own_call(
    call: Call, kind: str, inputs: Sequence[Stored | None], ports: Sequence[Port | None], numbers: Mapping[str, Any]
) -> Call:
    """A call of an operator of odelet's own, with the results of another call.

    kind: the operator's name. inputs, ports: what it reads, and their types. numbers: its attributes.
    """
    names = [f"i{place}" if port is not None else "" for place, port in enumerate(ports)]
    node = helper.make_node(kind, names, ["o0"], domain=DOMAIN, **numbers)
    old = call.operator
    operator = Operator(node.SerializeToString(deterministic=True), tuple(ports), (), old.opset, old.label)
    return Call(operator, [*inputs], call.outputs, call.ports)


def attributes(operator: Operator) -> dict[str, Any]:
    """The attributes of an operator, by name."""
    return {one.name: helper.get_attribute_value(one) for one in operator.proto.attribute}
