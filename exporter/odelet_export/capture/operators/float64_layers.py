"""Gemm and normalisations in elementary operators for float64, as their own attributes are float32.

They are formulas as in `float64.py`, whose conventions hold here.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from odelet_export.capture.operators.opset import op


def gemm(
    a: ir.Value,
    b: ir.Value,
    c: ir.Value | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> ir.Value | None:
    """alpha a b + beta c; None where alpha and beta are float32 numbers."""
    if float(np.float32(alpha)) == alpha and float(np.float32(beta)) == beta:
        return None
    c = c if c is None or beta == 1.0 else op.Mul(c, beta)
    product = op.Gemm(a, b, transA=transA, transB=transB)
    product = op.Mul(product, alpha)
    return product if c is None else op.Add(product, c)


def layer_normalization(
    x: ir.Value,
    scale: ir.Value,
    bias: ir.Value | None = None,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """The layer norm over the axes from `axis` on (negative, as from torch), the means, and the inverse deviations."""
    y, mean, inverse = _normalized(x, list(range(axis, 0)), epsilon)
    y = op.Mul(y, scale)
    return (y if bias is None else op.Add(y, bias)), mean, inverse


def instance_normalization(x: ir.Value, scale: ir.Value, bias: ir.Value, epsilon: float = 1e-5) -> ir.Value:
    """The instance norm over all axes but the first two. An x of unknown rank has three axes: torch's group_norm."""
    rank = 3 if x.shape is None else len(x.shape)
    y, _, _ = _normalized(x, list(range(2, rank)), epsilon)
    return op.Add(op.Mul(y, _per_channel(scale, rank)), _per_channel(bias, rank))


def batch_normalization(
    x: ir.Value,
    scale: ir.Value,
    bias: ir.Value,
    mean: ir.Value,
    var: ir.Value,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    **mode: int,
) -> ir.Value | None:
    """The batch norm with a given mean and variance; None where it is to compute them."""
    if mode.get("training_mode") or x.shape is None:
        return None
    rank = len(x.shape)
    factor = op.Div(scale, op.Sqrt(op.Add(var, epsilon)))
    return op.Add(op.Mul(op.Sub(x, _per_channel(mean, rank)), _per_channel(factor, rank)), _per_channel(bias, rank))


def _normalized(x: ir.Value, axes: list[int], epsilon: float) -> tuple[ir.Value, ir.Value, ir.Value]:
    """x less its mean over some axes, divided by its deviation; the mean; and the inverse of the deviation."""
    over = op.Constant(value_ints=axes)
    mean = op.ReduceMean(x, over)
    centred = op.Sub(x, mean)
    inverse = op.Reciprocal(op.Sqrt(op.Add(op.ReduceMean(op.Mul(centred, centred), over), epsilon)))
    return op.Mul(centred, inverse), mean, inverse


def _per_channel(values: ir.Value, rank: int) -> ir.Value:
    """Values (channels,) in the shape that broadcasts along axis 1 of a tensor of some rank."""
    return values if rank == 2 else op.Reshape(values, op.Constant(value_ints=[-1, *[1] * (rank - 2)]))
