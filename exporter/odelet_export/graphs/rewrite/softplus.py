"""Softplus by vectorised operators. ONNX Runtime computes its own Softplus element by element, without vectors.

log(1 + exp(x)) = max(x, 0) + log1p(u), where u = exp(-|x|). The results stay relatively exact where x is far below 0:
within 5 units in the last place, as ONNX Runtime's own. For log1p(u) there are two ways:

- log(w) + (u - (w - 1)), where w = 1 + u. The second term is what rounding took from w.
- 2 atanh(s), where s = u / (2 + u) <= 1/3, by a rational function. ONNX Runtime has no vectors for the logarithm
  either, so that this takes two thirds of the time in large arrays, and in small ones more, as it has more nodes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from odelet_export.graphs.nodes import number_of
from odelet_export.graphs.rewrite.activations import is_large
from odelet_export.graphs.rewrite.rule import Rewrite
from odelet_export.graphs.rewrite.shapes import row_elements
from odelet_export.graphs.rewrite.stored import number

# Below so many elements, of a batch row where the batch may have any size, the nodes that are added take longer than
# the logarithm.
FEWEST_WITHOUT_LOG = 2048
# a, b, c and d in 2 atanh(s) / s = a + b z + c / (d - z), where z = s^2 <= 1/9: the error is at most 1.5e-8, by a fit
# that makes the largest error smallest. All terms are positive, so that nothing cancels.
_ATANH = (1.23928168, 0.11526648, 1.049482105, 1.3795936375)


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
    if x.dtype is ir.DataType.FLOAT and row_elements(x) >= FEWEST_WITHOUT_LOG:
        constant, slope, rest, pole = (number(op, x, value) for value in _ATANH)
        s = op.Div(u, op.Add(u, number(op, x, 2.0)))
        z = op.Mul(s, s)
        return op.Mul(s, op.Add(op.Add(op.Mul(z, slope), constant), op.Div(rest, op.Sub(pole, z))))
    w = op.Add(u, one)
    return op.Add(op.Log(w), op.Sub(u, op.Sub(w, one)))


def _replace_log_sigmoid(op: Any, x: ir.Value) -> Any:
    return op.Sub(op.Min(x, number(op, x, 0.0)), _log1p(op, x))


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

LOG_SIGMOID = Rewrite(
    name="logarithm of a sigmoid",
    about="-Softplus(-x), which is log(Sigmoid(x)), by the same operators without the negations",
    pattern=lambda op, x: op.Neg(op.Softplus(op.Neg(x))),
    check=is_large,
    replace=_replace_log_sigmoid,
)
