"""Puts operators of odelet's own in the place of ONNX's, and writes their C."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from odelet_export.targets.build.c import convolutions, products
from odelet_export.targets.build.instructions import Block, Call, Instruction, inner
from odelet_export.targets.build.operators import Operator, Port

# By ONNX's name: takes a call, and returns those in its place; None where the call stays.
_REPLACED: Mapping[str, Callable[[Call], list[Call] | None]] = {
    "Gemm": products.replaced,
    "MatMul": products.replaced,
    "Conv": convolutions.replaced,
}
# By odelet's name: writes the function of an operator, of the types of its results and a name.
_TEXTS: Mapping[str, Callable[[Operator, Sequence[Port], str], str]] = {
    "Product": products.text,
    "Convolution": convolutions.text,
    "Padded": convolutions.padded_text,
}


def replace_operators(block: Block) -> None:
    """Have a block, and those inside it, call odelet's own operators where there are such."""
    block[:] = [one for instruction in block for one in _replaced(instruction)]
    for instruction in block:
        for body in inner(instruction):
            replace_operators(body)


def _replaced(instruction: Instruction) -> Sequence[Instruction]:
    if not isinstance(instruction, Call) or instruction.operator.proto.domain != "":
        return [instruction]
    replaced = _REPLACED.get(instruction.operator.kind)
    made = replaced(instruction) if replaced is not None else None
    return [instruction] if made is None else made


def own_text(operator: Operator, outputs: Sequence[Port], name: str) -> str:
    """The C function of an operator of odelet's own. name: of the function."""
    return _TEXTS[operator.kind](operator, outputs, name)
