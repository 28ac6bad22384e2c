"""Operators that gradients taken inside a field leave behind, in terms of those that ONNX has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch._decomp import get_decompositions

from odelet_export.capture.operators import matrices, pooling, triangular

aten = torch.ops.aten


def convolution_backward(
    grad: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    bias_sizes: Any,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    output_mask: Sequence[bool],
) -> tuple[torch.Tensor | None, None, None]:
    """The gradient of a convolution with respect to its input: the convolution run the other way.

    The weights of a model that is being exported have no gradients; asked for one, leave the operator as it is.
    """
    if output_mask[1] or output_mask[2] or not output_mask[0]:
        return NotImplemented
    none = [0] * len(stride)
    if transposed:
        return aten.convolution(grad, weight, None, stride, padding, dilation, False, none, groups), None, None
    # Several input sizes lead to one output size when the stride is over 1; the padding tells them apart.
    extra = [
        0 if s == 1 else n - ((g - 1) * s - 2 * p + d * (k - 1) + 1)
        for n, g, k, s, p, d in zip(
            x.shape[2:], grad.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True
        )
    ]
    return aten.convolution(grad, weight, None, stride, padding, dilation, True, extra, groups), None, None


def diagonal_scatter(x: torch.Tensor, src: torch.Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> torch.Tensor:
    """A tensor with another diagonal, which torch would write into a view of it."""
    turned = x.movedim((dim1, dim2), (-2, -1))
    rows, columns = torch.arange(turned.shape[-2]).unsqueeze(-1), torch.arange(turned.shape[-1])
    along = (rows.squeeze(-1) if offset >= 0 else columns).clamp(max=src.shape[-1] - 1)
    spread = src.index_select(-1, along).unsqueeze(-1 if offset >= 0 else -2)
    return torch.where(columns - rows == offset, spread, turned).movedim((-2, -1), (dim1, dim2))


def cumprod(x: torch.Tensor, dim: int, *, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Products of all that comes up to each element, by a triangle of ones: ONNX has cumulative sums alone."""
    if x.ndim == 0 or not x.is_floating_point() or dtype not in (None, x.dtype):
        return NotImplemented
    turned, places = x.movedim(dim, -1), torch.arange(x.shape[dim])
    rows = torch.where(places <= places.unsqueeze(-1), turned.unsqueeze(-2), 1.0)
    return rows.prod(-1).movedim(-1, dim)


def _extreme(extreme: Callable[..., torch.Tensor]) -> Callable[..., Any]:
    """amax or amin; without axes, which ONNX's have none for, along all in one row."""

    def over(x: torch.Tensor, dim: Sequence[int] = (), keepdim: bool = False) -> Any:
        if dim or x.ndim == 0:
            return NotImplemented
        found = extreme(x.reshape(-1), 0)
        return found.reshape([1] * x.ndim) if keepdim else found

    return over


def max_dim(x: torch.Tensor, dim: int, keepdim: bool = False) -> Any:
    """The largest along an axis, and where; of truth values as numbers, as ONNX finds the place of numbers alone."""
    if x.dtype is not torch.bool:
        return NotImplemented
    values, places = x.to(torch.int32).max(dim, keepdim)
    return values.to(torch.bool), places


def mul_scalar(x: torch.Tensor, other: Any) -> Any:
    """A product with a number; one that follows from sizes is a value of the graph, which the translation takes as the
    factor of two tensors alone."""
    factor: Any = other
    return torch.mul(x, factor) if isinstance(other, (torch.SymInt, torch.SymFloat)) else NotImplemented


def gradient_decompositions() -> dict[Any, Callable[..., Any]]:
    """The table that tracing below autograd uses."""
    known = get_decompositions(
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
            # ONNX's operator gives no total weight, which the gradient divides by.
            aten.nll_loss_forward,
            aten.nll_loss_backward,
            aten.nll_loss2d_forward,
            aten.nll_loss2d_backward,
        ]
    )
    own: dict[Any, Callable[..., Any]] = {
        aten.convolution_backward.default: convolution_backward,
        aten.diagonal_scatter.default: diagonal_scatter,
        aten.cumprod.default: cumprod,
        aten.amax.default: _extreme(torch.amax),
        aten.amin.default: _extreme(torch.amin),
        aten.max.dim: max_dim,
        aten.mul.Scalar: mul_scalar,
    }
    return {**known, **own, **pooling.DECOMPOSITIONS, **matrices.DECOMPOSITIONS, **triangular.DECOMPOSITIONS}
