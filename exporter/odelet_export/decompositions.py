"""Operators that gradients taken inside a field leave behind, in terms of those that ONNX has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch._decomp import get_decompositions

from odelet_export import matrices, pooling, triangular

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
        ]
    )
    own = {aten.convolution_backward.default: convolution_backward}
    return {**known, **own, **pooling.DECOMPOSITIONS, **matrices.DECOMPOSITIONS, **triangular.DECOMPOSITIONS}
