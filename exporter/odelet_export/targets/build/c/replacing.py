"""Puts operators of odelet's own in the place of ONNX's, and writes their C."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from odelet_export.targets.build.c import products
from odelet_export.targets.build.c.own import Replaced
from odelet_export.targets.build.instructions import Block, Call, everything
from odelet_export.targets.build.operators import Operator, Port


@dataclass(frozen=True)
class _Own:
    """A kind of operator. replaced: takes a call, and returns the operator in its place and what that one reads; None
    where the call stays. text: writes the function of an operator, of its results' types and a name."""

    replaced: Callable[[Call], Replaced | None]
    text: Callable[[Operator, Sequence[Port], str], str]


_PRODUCT = _Own(products.replaced, products.text)
# By the names that ONNX has for them, and by the names of odelet's own.
_REPLACED = {"Gemm": _PRODUCT, "MatMul": _PRODUCT}
_OWN = {"Product": _PRODUCT}


def replace_operators(body: Block) -> None:
    """Have the calls of a program call odelet's own operators, where there are such."""
    for call in everything(body):
        if isinstance(call, Call) and call.operator.proto.domain == "" and call.operator.kind in _REPLACED:
            replaced = _REPLACED[call.operator.kind].replaced(call)
            if replaced is not None:
                call.operator, call.inputs = replaced


def own_text(operator: Operator, outputs: Sequence[Port], name: str) -> str:
    """The C function of an operator of odelet's own. name: of the function."""
    return _OWN[operator.kind].text(operator, outputs, name)
