"""Gradients of pooling, padding and distances, for which torch has neither a decomposition nor ONNX an operator."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


def avg_pool_backward(
    grad: Tensor,
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: int | None = None,
) -> Any:
    """Every element of a window gets the same share: a transposed convolution with ones, channel by channel."""
    axes = len(kernel)
    strides, pads = list(stride) or list(kernel), list(padding) * (axes // len(padding))
    if ceil_mode:
        return NotImplemented
    ones = torch.ones([1, 1, *kernel], dtype=grad.dtype)
    unit, none = [1] * axes, [0] * axes
    share = grad.reshape(-1, 1, *grad.shape[-axes:])
    if divisor is not None or count_include_pad or not any(pads):
        share = share / (divisor or math.prod(kernel))
    else:
        inside = torch.ones([1, 1, *x.shape[-axes:]], dtype=grad.dtype)
        share = share / aten.convolution(inside, ones, None, strides, pads, unit, False, none, 1)
    extra = [
        n - ((g - 1) * s - 2 * p + k)
        for n, g, k, s, p in zip(x.shape[-axes:], grad.shape[-axes:], kernel, strides, pads, strict=True)
    ]
    return aten.convolution(share, ones, None, strides, pads, unit, True, extra, 1).reshape(x.shape)


def adaptive_avg_pool_backward(grad: Tensor, x: Tensor, *, axes: int) -> Tensor:
    """Along each axis the windows are a matrix, and the gradient is its transpose."""
    for axis in range(-axes, 0):
        made, size = grad.shape[axis], x.shape[axis]
        places = torch.arange(made)
        first = torch.div(places * size, made, rounding_mode="floor").unsqueeze(-1)
        last = torch.div((places + 1) * size + made - 1, made, rounding_mode="floor").unsqueeze(-1)
        elements = torch.arange(size)
        window = ((elements >= first) & (elements < last)).to(grad.dtype) / (last - first)
        grad = (grad.transpose(axis, -1) @ window.to(grad.dtype)).transpose(axis, -1)
    return grad


def max_pool_backward(grad: Tensor, x: Tensor, places: Tensor, *, axes: int) -> Tensor:
    """The largest of a window gets it all."""
    flat = torch.zeros_like(x).flatten(-axes)
    return flat.scatter_add(-1, places.flatten(-axes), grad.flatten(-axes)).reshape(x.shape)


def replication_pad_backward(grad: Tensor, x: Tensor, padding: Sequence[int]) -> Any:
    """What was repeated at an end adds up there. padding: two numbers for each axis, the last axis first."""
    if any(size < 0 for size in padding):
        return NotImplemented
    for i in range(len(padding) // 2):
        axis, before, after = x.ndim - 1 - i, padding[2 * i], padding[2 * i + 1]
        size = x.shape[axis]
        places = (torch.arange(before + size + after) - before).clamp(0, size - 1)
        kept = [x.shape[j] if j == axis else grad.shape[j] for j in range(x.ndim)]
        grad = grad.new_zeros(kept).index_add(axis, places, grad)
    return grad


def _differences(a: Tensor, b: Tensor) -> Tensor:
    return a.unsqueeze(-2) - b.unsqueeze(-3)


def cdist_forward(a: Tensor, b: Tensor, p: float, _mode: int | None) -> Any:
    """The p-norms of all differences of rows."""
    if p == 0 or math.isinf(p):
        return NotImplemented
    apart = _differences(a, b)
    if p == 2:
        return apart.square().sum(-1).sqrt()
    return apart.abs().sum(-1) if p == 1 else apart.abs().pow(p).sum(-1).pow(1 / p)


def cdist_backward(grad: Tensor, a: Tensor, b: Tensor, p: float, distance: Tensor) -> Any:
    """Its gradient by the first rows; 0 where the two are equal, as in torch."""
    if p == 0 or math.isinf(p):
        return NotImplemented
    apart = _differences(a, b)
    if p == 1:
        return (apart.sign() * grad.unsqueeze(-1)).sum(-2)
    safe = torch.where(distance == 0, 1.0, distance).pow(p - 1)
    scale = torch.where(distance == 0, 0.0, grad / safe).unsqueeze(-1)
    powers = apart if p == 2 else apart.sign() * apart.abs().pow(p - 1)
    return (powers * scale).sum(-2)


def median_dim(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The lower median along an axis, and where it is; NaN where there is any."""
    values, places = torch.sort(x, dim=dim)
    half = (x.shape[dim] - 1) // 2
    unknown = x.isnan().any(dim, keepdim=True)
    value = torch.where(unknown, float("nan"), values.narrow(dim, half, 1))
    place = places.narrow(dim, half, 1)
    return (value, place) if keepdim else (value.squeeze(dim), place.squeeze(dim))


def trilinear(
    a: Tensor,
    b: Tensor,
    c: Tensor,
    expand1: Sequence[int],
    expand2: Sequence[int],
    expand3: Sequence[int],
    summed: Sequence[int],
    unroll_dim: int = 1,
) -> Tensor:
    """A product of three tensors, each with axes of 1 put in, summed over some."""
    for axis in expand1:
        a = a.unsqueeze(axis)
    for axis in expand2:
        b = b.unsqueeze(axis)
    for axis in expand3:
        c = c.unsqueeze(axis)
    return (a * b * c).sum(list(summed)) if summed else a * b * c


def _on(function: Callable[..., Any], axes: int) -> Callable[..., Any]:
    return lambda *tensors: function(*tensors, axes=axes)


DECOMPOSITIONS: dict[Any, Callable[..., Any]] = {
    aten.avg_pool2d_backward.default: avg_pool_backward,
    aten.avg_pool3d_backward.default: avg_pool_backward,
    aten._adaptive_avg_pool2d_backward.default: _on(adaptive_avg_pool_backward, 2),
    aten._adaptive_avg_pool3d_backward.default: _on(adaptive_avg_pool_backward, 3),
    aten.adaptive_max_pool2d_backward.default: _on(max_pool_backward, 2),
    aten.adaptive_max_pool3d_backward.default: _on(max_pool_backward, 3),
    aten.replication_pad1d_backward.default: replication_pad_backward,
    aten.replication_pad2d_backward.default: replication_pad_backward,
    aten.replication_pad3d_backward.default: replication_pad_backward,
    aten._cdist_forward.default: cdist_forward,
    aten._cdist_backward.default: cdist_backward,
    aten.median.dim: median_dim,
    aten._trilinear.default: trilinear,
}
