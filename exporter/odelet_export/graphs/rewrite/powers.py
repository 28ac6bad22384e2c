"""Small whole powers as products. ONNX Runtime computes Pow element by element, without vectors."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from odelet_export.graphs.nodes import number_of
from odelet_export.graphs.rewrite.activations import FLOATS
from odelet_export.graphs.rewrite.rule import Rewrite
from odelet_export.graphs.rewrite.shapes import row_elements

# Below so many elements in a batch row, a second node takes longer than the vectors save: the spiral, a cube of two
# elements, is slower by 2% for one sample, and no faster for 4,096.
FEWEST_ELEMENTS = 32


def _small_and_whole(context: object, x: ir.Value, exponent: ir.Value) -> bool:
    """Whether the power is 2, 3 or 4, and the vectors save more than the nodes cost."""
    return x.dtype in FLOATS and number_of(exponent) in (2, 3, 4) and row_elements(x) >= FEWEST_ELEMENTS


def _products(op: Any, x: ir.Value, exponent: ir.Value) -> Any:
    square = op.Mul(x, x)
    power = number_of(exponent)
    return square if power == 2 else op.Mul(square, x if power == 3 else square)


POWERS = Rewrite(
    name="power",
    about="Pow by 2, 3 or 4 by products",
    pattern=lambda op, x, exponent: op.Pow(x, exponent),
    check=_small_and_whole,
    replace=_products,
)
