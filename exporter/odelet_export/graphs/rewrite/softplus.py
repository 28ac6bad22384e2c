"""Softplus by vectorised operators. ONNX Runtime computes its own Softplus element by element, without vectors.

log(1 + exp(x)) = max(x, 0) + log1p(u), where u = exp(-|x|) and log1p(u) = log(w) + (u - (w - 1)), w = 1 + u. The second
term of log1p is what rounding took from w, so that the result stays relatively exact where x is far below 0: within 4
units in the last place, as ONNX Runtime's own.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from odelet_export.graphs.nodes import number_of
from odelet_export.graphs.rewrite.activations import is_large
from odelet_export.graphs.rewrite.rule import Rewrite
from odelet_export.graphs.rewrite.stored import number


def _large_and_chosen_by_rounding(context: object, x: ir.Value, threshold: ir.Value, **_: object) -> bool:
    """Whether, in addition, log1p(exp(-x)) vanishes beside x above the threshold."""
    above = number_of(threshold)
    if above is None or x.dtype is not ir.DataType.FLOAT:
        return False
    vanishes = above > 0 and math.exp(-above) < float(np.spacing(np.float32(above))) / 4
    return vanishes and is_large(context, x)


def _replace(op: Any, x: ir.Value, **_: object) -> Any:
    return op.Add(op.Relu(x), _log1p(op, x))


def _log1p(op: Any, x: ir.Value) -> Any:
    """log1p(exp(-|x|))."""
    one = number(op, x, 1.0)
    u = op.Exp(op.Neg(op.Abs(x)))
    w = op.Add(u, one)
    return op.Add(op.Log(w), op.Sub(u, op.Sub(w, one)))


def _chosen(op: Any, x: Any, threshold: Any) -> Any:
    return op.Where(op.Greater(x, threshold), x, op.Softplus(x))


def _chosen_of_scaled(op: Any, y: Any, beta: Any, threshold: Any) -> Any:
    x = op.Mul(y, beta, _outputs=["x"])
    return op.Where(op.Greater(x, threshold), y, op.Div(op.Softplus(x), beta))


def _is_scaled(context: object, y: ir.Value, beta: ir.Value, threshold: ir.Value, x: ir.Value) -> bool:
    """Whether, in addition, the scale is a positive number."""
    scale = number_of(beta)
    return scale is not None and scale > 0 and _large_and_chosen_by_rounding(context, x, threshold)


def _replace_scaled(op: Any, y: ir.Value, beta: ir.Value, threshold: ir.Value, x: ir.Value) -> Any:
    scaled = op.Mul(y, beta)
    scaled.type = x.type
    return op.Add(op.Relu(y), op.Div(_log1p(op, scaled), beta))


SOFTPLUS = Rewrite(
    name="softplus",
    about="Softplus by Exp and Log, which ONNX Runtime computes in vectors",
    pattern=lambda op, x: op.Softplus(x),
    check=is_large,
    replace=_replace,
)

SOFTPLUS_OF_TORCH = Rewrite(
    name="softplus of torch",
    about="torch's Softplus, which is x itself above a threshold, without the choice, as rounding makes the same",
    pattern=_chosen,
    check=_large_and_chosen_by_rounding,
    replace=_replace,
)

SOFTPLUS_OF_SCALED = Rewrite(
    name="softplus of torch with a scale",
    about="the same with torch's argument beta",
    pattern=_chosen_of_scaled,
    check=_is_scaled,
    replace=_replace_scaled,
)
