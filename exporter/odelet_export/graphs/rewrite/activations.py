"""Activations by vectorised operators, where ONNX Runtime computes its own element by element.

`benchmarks/rewrites.py` measures each against torch's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from odelet_export.graphs.nodes import constant_of
from odelet_export.graphs.rewrite.rule import Rewrite
from odelet_export.graphs.rewrite.shapes import dims_of, row_elements
from odelet_export.graphs.rewrite.stored import number

# Below so many elements, the nodes that are added take longer than the vectors save: of an array of known size, and of
# a batch row where the batch may have any size.
FEWEST_ELEMENTS, FEWEST_OF_ROW = 512, 64
FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE)
# Above this number, the tanh of the softplus is 1 in float32 and in float64, and exp of twice the number is finite.
_SATURATED = 20.0


def is_large(context: object, x: ir.Value, **_: object) -> bool:
    """Whether the vectors save more than the nodes cost."""
    dims = dims_of(x)
    if dims is None or x.dtype not in FLOATS:
        return False
    return row_elements(x) >= (FEWEST_OF_ROW if None in dims else FEWEST_ELEMENTS)


def _attribute(made: ir.Value, name: str, default: float) -> float:
    node = made.producer()
    assert node is not None
    return node.attributes[name].as_float() if name in node.attributes else default


def _below_zero(op: Any, x: ir.Value, scale: float) -> Any:
    """exp(min(x, 0) / scale) - 1, which is 0 where x is positive."""
    low = op.Min(x, number(op, x, 0.0))
    if scale != 1:
        low = op.Div(low, number(op, x, scale))
    return op.Sub(op.Exp(low), number(op, x, 1.0))


def _times(op: Any, x: Any, like: ir.Value, factor: float) -> Any:
    return x if factor == 1 else op.Mul(x, number(op, like, factor))


def _elu(op: Any, x: ir.Value, made: ir.Value) -> Any:
    return op.Add(op.Relu(x), _times(op, _below_zero(op, x, 1.0), x, _attribute(made, "alpha", 1.0)))


def _celu(op: Any, x: ir.Value, made: ir.Value) -> Any:
    alpha = _attribute(made, "alpha", 1.0)
    return op.Add(op.Relu(x), _times(op, _below_zero(op, x, alpha), x, alpha))


def _selu(op: Any, x: ir.Value, made: ir.Value) -> Any:
    # The defaults are those of ONNX.
    alpha, gamma = (
        _attribute(made, "alpha", 1.67326319217681884765625),
        _attribute(made, "gamma", 1.05070102214813232421875),
    )
    return op.Add(_times(op, op.Relu(x), x, gamma), _times(op, _below_zero(op, x, 1.0), x, gamma * alpha))


def _mish(op: Any, x: ir.Value, made: ir.Value) -> Any:
    """x * tanh(log(1 + e)) = x * n / (n + 2), where e = exp(x) and n = e * (e + 2)."""
    two = number(op, x, 2.0)
    e = op.Exp(op.Min(x, number(op, x, _SATURATED)))
    n = op.Mul(e, op.Add(e, two))
    return op.Mul(x, op.Div(n, op.Add(n, two)))


def _prelu(op: Any, x: ir.Value, slope: ir.Value) -> Any:
    return op.Add(op.Relu(x), op.Mul(slope, op.Min(x, number(op, x, 0.0))))


def _of(operator: str, replace: Callable[..., Any], about: str) -> Rewrite:
    """The rewrite of an activation of one input."""
    return Rewrite(
        name=operator,
        about=about,
        pattern=lambda op, x: getattr(op, operator)(x, _allow_other_attributes=True, _outputs=["made"]),
        check=is_large,
        replace=replace,
    )


def _has_one_slope(context: object, x: ir.Value, slope: ir.Value) -> bool:
    """Whether the slope is one stored number, or one for each channel that is followed by axes."""
    array = constant_of(slope)
    return array is not None and bool(np.isfinite(array).all()) and is_large(context, x)


ACTIVATIONS = (
    _of("Elu", _elu, "ELU by Exp"),
    _of("Celu", _celu, "CELU by Exp"),
    _of("Selu", _selu, "SELU by Exp"),
    _of("Mish", _mish, "Mish by Exp, without a logarithm"),
    Rewrite(
        name="PRelu",
        about="PReLU by Relu and Min",
        pattern=lambda op, x, slope: op.PRelu(x, slope),
        check=_has_one_slope,
        replace=_prelu,
    ),
)
