"""Operators of odelet's own in the place of ONNX's, which code for C knows more of: sizes alone, and weights in the
order in which they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from onnx import helper

from odelet_export.targets.build.instructions import Stored
from odelet_export.targets.build.operators import Operator, Port

DOMAIN = "odelet.c"
# An operator, and what a call of it reads.
Replaced: TypeAlias = tuple[Operator, list[Stored | None]]


def operator_of(operator: Operator, kind: str, inputs: Sequence[Port | None], numbers: Mapping[str, Any]) -> Operator:
    """An operator of odelet's own. operator: whose place it takes. kind: its name. inputs: their types. numbers: its
    attributes."""
    names = [f"i{place}" if port is not None else "" for place, port in enumerate(inputs)]
    node = helper.make_node(kind, names, ["o0"], domain=DOMAIN, **numbers)
    return Operator(node.SerializeToString(deterministic=True), tuple(inputs), (), operator.opset, operator.label)


def attributes(operator: Operator) -> dict[str, Any]:
    """The attributes of an operator, by name."""
    return {one.name: helper.get_attribute_value(one) for one in operator.proto.attribute}
