"""Decompositions of operators that gradients inside a field leave in a trace and that ONNX does not have.

`gradient_decompositions` is the table that tracing below autograd uses: torch's own decompositions, those of this file,
and those of `matrices`, `factors`, `triangular`, `pseudo_inverses`, `special`, `error_functions`, `losses`, `orders`,
`pooling` and `quantizing`. A decomposition takes the arguments of its operator, and computes the result by other
operators or returns NotImplemented, which leaves the operator in the trace.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import NotImplementedType
from typing import Any

import torch
from torch._decomp import get_decompositions
from torch._ops import OpOverload

from odelet_export.capture.operators import (
    error_functions,
    factors,
    losses,
    matrices,
    orders,
    pooling,
    pseudo_inverses,
    quantizing,
    special,
    triangular,
)

aten = torch.ops.aten
# The other files of decompositions.
_ROOMS = (
    pooling,
    matrices,
    factors,
    triangular,
    pseudo_inverses,
    special,
    error_functions,
    losses,
    orders,
    quantizing,
)


def convolution_backward(
    grad: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    bias_sizes: Sequence[int] | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    output_mask: Sequence[bool],
) -> tuple[torch.Tensor | None, None, None] | NotImplementedType:
    """The gradient of a convolution by its input x, in the shape of x: the transposed convolution of `grad`.

    Leaves the operator as it is where gradients by weights or bias are asked for: weights have none during a capture.
    """
    if output_mask[1] or output_mask[2] or not output_mask[0]:
        return NotImplemented
    none = [0] * len(stride)
    if transposed:
        return aten.convolution(grad, weight, None, stride, padding, dilation, False, none, groups), None, None
    # Where the stride is over 1, inputs of several sizes have outputs of one size. Output padding tells them apart. It
    # must be a number; for an axis whose size may change it is the largest, and what is too much is left out.
    extra = [
        s - 1 if s == 1 or isinstance(n, torch.SymInt) else n - ((g - 1) * s - 2 * p + d * (k - 1) + 1)
        for n, g, k, s, p, d in zip(
            x.shape[2:], grad.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True
        )
    ]
    gradient = aten.convolution(grad, weight, None, stride, padding, dilation, True, extra, groups)
    for axis, s in enumerate(stride, start=2):
        if s > 1 and isinstance(x.shape[axis], torch.SymInt):
            gradient = gradient.narrow(axis, 0, x.shape[axis])
    return gradient, None, None


def diagonal_scatter(x: torch.Tensor, src: torch.Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> torch.Tensor:
    """A copy of x with a diagonal replaced by src, without writing into a view as torch's own does.

    src: (..., length of the diagonal). offset, dim1, dim2: as in torch.diagonal.
    """
    matrices_last = x.movedim((dim1, dim2), (-2, -1))
    rows, columns = torch.arange(matrices_last.shape[-2]).unsqueeze(-1), torch.arange(matrices_last.shape[-1])
    place_on_diagonal = (rows.squeeze(-1) if offset >= 0 else columns).clamp(max=src.shape[-1] - 1)
    spread = src.index_select(-1, place_on_diagonal).unsqueeze(-1 if offset >= 0 else -2)
    return torch.where(columns - rows == offset, spread, matrices_last).movedim((-2, -1), (dim1, dim2))


def cumprod(x: torch.Tensor, dim: int, *, dtype: torch.dtype | None = None) -> torch.Tensor | NotImplementedType:
    """The cumulative product along `dim`, in the shape of x: for each element the product of a row of a triangle.

    ONNX has cumulative sums alone. The memory is quadratic in the length of the axis.
    """
    if x.ndim == 0 or not x.is_floating_point() or dtype not in (None, x.dtype):
        return NotImplemented
    axis_last, places = x.movedim(dim, -1), torch.arange(x.shape[dim])
    rows = torch.where(places <= places.unsqueeze(-1), axis_last.unsqueeze(-2), 1.0)
    return rows.prod(-1).movedim(-1, dim)


def logcumsumexp(x: torch.Tensor, dim: int) -> torch.Tensor | NotImplementedType:
    """The logarithm of the cumulative sums of exponentials along `dim`, by rows of a triangle as in `cumprod`.

    torch's translation scales all sums by the largest exponential, beside which the first sums may be 0.
    """
    if x.ndim == 0 or not x.is_floating_point():
        return NotImplemented
    axis_last, places = x.movedim(dim, -1), torch.arange(x.shape[dim])
    rows = torch.where(places <= places.unsqueeze(-1), axis_last.unsqueeze(-2), -math.inf)
    largest, place = rows.max(-1, keepdim=True)
    others = (rows - torch.where(largest.isinf(), 0.0, largest)).exp()
    total = torch.log1p(torch.where(places == place, 0.0, others).sum(-1)) + largest.squeeze(-1)
    return total.movedim(-1, dim)


def _extreme(extreme: Callable[..., torch.Tensor]) -> Callable[..., Any]:
    """The decomposition of amax or amin without axes: over one flat row, as torch's translation needs an axis."""

    def over_all(x: torch.Tensor, dim: Sequence[int] = (), keepdim: bool = False) -> torch.Tensor | NotImplementedType:
        if dim or x.ndim == 0:
            return NotImplemented
        value = extreme(x.reshape(-1), 0)
        return value.reshape([1] * x.ndim) if keepdim else value

    return over_all


def max_dim(x: torch.Tensor, dim: int, keepdim: bool = False) -> tuple[torch.Tensor, torch.Tensor] | NotImplementedType:
    """The maximum of truth values over `dim` and its index, through int32: ONNX finds indices of numbers only."""
    if x.dtype is not torch.bool:
        return NotImplemented
    values, places = x.to(torch.int32).max(dim, keepdim)
    return values.to(torch.bool), places


# torch's least and largest slope of an RReLU.
_SLOPES: list[Any] = [one.default_value for one in aten.rrelu_with_noise_functional.default._schema.arguments[2:4]]


def rrelu(
    x: torch.Tensor,
    noise: torch.Tensor,
    lower: float = _SLOPES[0],
    upper: float = _SLOPES[1],
    training: bool = False,
    generator: torch.Generator | None = None,
) -> tuple[torch.Tensor, torch.Tensor] | NotImplementedType:
    """RReLU in evaluation mode, in which it is a LeakyReLU of the mean slope."""
    if training:
        return NotImplemented
    return torch.nn.functional.leaky_relu(x, (lower + upper) / 2), noise


def mul_scalar(x: torch.Tensor, other: float | torch.SymInt | torch.SymFloat) -> torch.Tensor | NotImplementedType:
    """The product of x and a number that follows from sizes, as a product of two tensors.

    Such a number is a value of the graph, which torch's translation of aten.mul.Scalar does not take.
    """
    factor: Any = other
    return torch.mul(x, factor) if isinstance(other, (torch.SymInt, torch.SymFloat)) else NotImplemented


def new_zeros_like_tangent(x: torch.Tensor, like: torch.Tensor, *, self_num_batch_dims: int = 0) -> torch.Tensor:
    """Zeros of the dtype of x, with its first axes, those of a vmap, and then the shape of another tensor.

    torch makes them where a derivative in forward mode has no part in a direction.
    """
    return x.new_zeros([*x.shape[:self_num_batch_dims], *like.shape])


def copy(x: torch.Tensor, source: torch.Tensor, non_blocking: bool = False) -> torch.Tensor | NotImplementedType:
    """A tensor written into x, in the shape and dtype of x; torch's translation leaves both out."""
    alike = x.dtype == source.dtype and [*map(str, x.shape)] == [*map(str, source.shape)]
    return NotImplemented if alike else source.to(x.dtype).expand(x.shape)


def gradient_decompositions() -> dict[OpOverload, Callable[..., Any]]:
    """The decompositions to trace below autograd with, by operator."""
    torchs: dict[Any, Callable[..., Any]] = get_decompositions(
        [
            aten.native_group_norm_backward,
            aten.native_layer_norm_backward,
            aten.native_batch_norm_backward,
            aten.gelu_backward,
            aten.elu_backward,
            aten.softplus_backward,
            aten.silu_backward,
            aten.leaky_relu_backward,
            aten.hardtanh_backward,
            aten.tanh_backward,
            aten.sigmoid_backward,
            aten.threshold_backward,
            aten.mish_backward,
            aten.log_sigmoid_backward,
            aten._softmax_backward_data,
            aten._log_softmax_backward_data,
            aten.select_backward,
            aten.slice_backward,
            aten.diagonal_backward,
            aten.unfold_backward,
            aten.embedding_dense_backward,
            # The gradient divides by the total weight, which ONNX's operator does not return.
            aten.nll_loss_forward,
            aten.nll_loss_backward,
            aten.nll_loss2d_forward,
            aten.nll_loss2d_backward,
        ]
    )
    ours: dict[OpOverload, Callable[..., Any]] = {
        aten.convolution_backward.default: convolution_backward,
        aten.diagonal_scatter.default: diagonal_scatter,
        aten.cumprod.default: cumprod,
        aten.logcumsumexp.default: logcumsumexp,
        aten.amax.default: _extreme(torch.amax),
        aten.amin.default: _extreme(torch.amin),
        aten.max.dim: max_dim,
        aten.mul.Scalar: mul_scalar,
        aten.copy.default: copy,
        aten.rrelu_with_noise_functional.default: rrelu,
        aten._new_zeros_with_same_feature_meta.default: new_zeros_like_tangent,
        aten._efficientzerotensor.default: lambda size, **kind: torch.zeros(size, **kind),
    }
    for room in _ROOMS:
        ours |= room.DECOMPOSITIONS
    return {**torchs, **ours}
