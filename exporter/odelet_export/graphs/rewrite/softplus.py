"""Softplus by vectorised operators. ONNX Runtime computes its own Softplus element by element, without vectors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import RewriteRuleClassBase

from odelet_export.graphs.nodes import constant_of
from odelet_export.graphs.rewrite.shapes import row_elements

# Below so many elements in a batch row, the nodes that are added take longer than the vectors save.
FEWEST_ELEMENTS = 64


class Softplus(RewriteRuleClassBase):  # type: ignore[misc]  # onnxscript has no types
    """log(1 + exp(x)) = max(x, 0) + log1p(u), where u = exp(-|x|) and log1p(u) = log(w) + (u - (w - 1)), w = 1 + u.

    The second term of log1p is what rounding took from w, so that the result stays relatively exact where x is far
    below 0: within 4 units in the last place, as ONNX Runtime's own.
    """

    def pattern(self, op: Any, x: Any) -> Any:
        """The operator."""
        return op.Softplus(x)

    def check(self, context: Any, x: ir.Value, **_: object) -> bool:
        """Whether the vectors save more than the nodes cost."""
        return x.dtype in (ir.DataType.FLOAT, ir.DataType.DOUBLE) and row_elements(x) >= FEWEST_ELEMENTS

    def rewrite(self, op: Any, x: ir.Value, **_: object) -> Any:
        """The operator by others."""
        return _softplus(op, x)


class ThresholdSoftplus(RewriteRuleClassBase):  # type: ignore[misc]  # onnxscript has no types
    """torch's Softplus, which is x itself above a threshold: the choice goes where rounding makes it anyway."""

    def pattern(self, op: Any, x: Any, threshold: Any) -> Any:
        """The operator and the choice."""
        return op.Where(op.Greater(x, threshold), x, op.Softplus(x))

    def check(self, context: Any, x: ir.Value, threshold: ir.Value, **_: object) -> bool:
        """Whether log1p(exp(-x)) vanishes beside x above the threshold."""
        limit = constant_of(threshold)
        if limit is None or limit.size != 1 or x.dtype is not ir.DataType.FLOAT:
            return False
        above = float(limit.reshape(()))
        vanishes = above > 0 and math.exp(-above) < float(np.spacing(np.float32(above))) / 4
        return vanishes and row_elements(x) >= FEWEST_ELEMENTS

    def rewrite(self, op: Any, x: ir.Value, **_: object) -> Any:
        """The operator by others, without the choice."""
        return _softplus(op, x)


def _softplus(op: Any, x: ir.Value) -> Any:
    assert x.dtype is not None
    one = op.Constant(value=ir.tensor(np.array(1, x.dtype.numpy())))
    u = op.Exp(op.Neg(op.Abs(x)))
    w = op.Add(u, one)
    log1p = op.Add(op.Log(w), op.Sub(u, op.Sub(w, one)))
    return op.Add(op.Relu(x), log1p)
