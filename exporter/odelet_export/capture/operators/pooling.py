"""Decompositions of gradients of pooling and padding, of distances and others, which torch and ONNX both lack.

Each function is the decomposition of the operators that DECOMPOSITIONS names it for, and takes their arguments. grad:
the gradient by the operator's output. x: the operator's input; the gradient by it, of its shape, is returned.
NotImplemented leaves an operator as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import NotImplementedType
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.nn import functional

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
) -> Tensor | NotImplementedType:
    """The gradient of average pooling: each element of a window gets an equal share of the window's gradient.

    It is a transposed convolution with ones, channel by channel. NotImplemented where windows reach over the end
    (ceil_mode).
    """
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
    """The gradient of adaptive average pooling over the last `axes` axes.

    Pooling along an axis is a product with a matrix (windows, elements), and its gradient one with the transpose.
    """
    for axis in range(-axes, 0):
        window = _windows(grad.shape[axis], x.shape[axis], grad.dtype)
        grad = (grad.transpose(axis, -1) @ window).transpose(axis, -1)
    return grad


def adaptive_avg_pool(x: Tensor, sizes: Sequence[int]) -> Tensor:
    """Adaptive average pooling over the last axes, whose sizes may change: the windows follow the sizes."""
    axes = len(sizes)
    given = x.shape[-axes:]
    known = all(isinstance(size, int) for size in (*given, *sizes))
    if known and all(size % count == 0 for size, count in zip(given, sizes, strict=True)):
        pool = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[axes - 1]
        return pool(x, [size // count for size, count in zip(given, sizes, strict=True)])
    for axis, count in zip(range(-axes, 0), sizes, strict=True):
        if isinstance(count, int) and count == 1:
            x = x.mean(axis, keepdim=True)
            continue
        window = _windows(count, x.shape[axis], x.dtype)
        x = (x.transpose(axis, -1) @ window.transpose(0, 1)).transpose(axis, -1)
    return x


def _windows(count: int, size: int, dtype: torch.dtype) -> Tensor:
    """The share (count, size) that each element has in each window of adaptive average pooling."""
    places = torch.arange(count)
    first = torch.div(places * size, count, rounding_mode="floor").unsqueeze(-1)
    last = torch.div((places + 1) * size + count - 1, count, rounding_mode="floor").unsqueeze(-1)
    elements = torch.arange(size)
    return (((elements >= first) & (elements < last)).to(dtype) / (last - first)).to(dtype)


def max_pool_backward(grad: Tensor, x: Tensor, places: Tensor, *, axes: int) -> Tensor:
    """The gradient of adaptive max pooling over the last `axes` axes: a window's largest element gets all of it.

    places: for each window the index of that element among the last `axes` axes of x, flattened.
    """
    flat = torch.zeros_like(x).flatten(-axes)
    return flat.scatter_add(-1, places.flatten(-axes), grad.flatten(-axes)).reshape(x.shape)


def replication_pad_backward(grad: Tensor, x: Tensor, padding: Sequence[int]) -> Tensor | NotImplementedType:
    """The gradient of padding by the elements at the ends: the gradients of all copies of an element add up.

    padding: the numbers of copies before and after, two for each axis, the last axis first.
    """
    if any(size < 0 for size in padding):
        return NotImplemented
    for i in range(len(padding) // 2):
        axis, before, after = x.ndim - 1 - i, padding[2 * i], padding[2 * i + 1]
        size = x.shape[axis]
        places = (torch.arange(before + size + after) - before).clamp(0, size - 1)
        shape = [x.shape[j] if j == axis else grad.shape[j] for j in range(x.ndim)]
        grad = grad.new_zeros(shape).index_add(axis, places, grad)
    return grad


def _differences(a: Tensor, b: Tensor) -> Tensor:
    """The differences (..., n, m, features) of each row of a (..., n, features) and each of b (..., m, features)."""
    return a.unsqueeze(-2) - b.unsqueeze(-3)


def cdist_forward(a: Tensor, b: Tensor, p: float, _mode: int | None) -> Tensor | NotImplementedType:
    """The p-norms (..., n, m) of the differences of rows of a (..., n, features) and b (..., m, features)."""
    if p == 0 or math.isinf(p):
        return NotImplemented
    differences = _differences(a, b)
    if p == 2:
        return differences.square().sum(-1).sqrt()
    return differences.abs().sum(-1) if p == 1 else differences.abs().pow(p).sum(-1).pow(1 / p)


def cdist_backward(grad: Tensor, a: Tensor, b: Tensor, p: float, distance: Tensor) -> Tensor | NotImplementedType:
    """The gradient of `cdist_forward` by a (..., n, features); 0 where two rows are equal, as in torch."""
    if p == 0 or math.isinf(p):
        return NotImplemented
    differences = _differences(a, b)
    if p == 1:
        return (differences.sign() * grad.unsqueeze(-1)).sum(-2)
    safe = torch.where(distance == 0, 1.0, distance).pow(p - 1)
    scale = torch.where(distance == 0, 0.0, grad / safe).unsqueeze(-1)
    powers = differences if p == 2 else differences.sign() * differences.abs().pow(p - 1)
    return (powers * scale).sum(-2)


def median_dim(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The lower median along `dim`, and its index; NaN for a row with NaN in it."""
    values, places = torch.sort(x, dim=dim)
    half = (x.shape[dim] - 1) // 2
    has_nan = x.isnan().any(dim, keepdim=True)
    value = torch.where(has_nan, float("nan"), values.narrow(dim, half, 1))
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
    """The product of three tensors, each with axes of size 1 inserted, summed over the axes `summed`.

    expand1, expand2, expand3: the axes to insert into a, b and c. unroll_dim: a hint for speed, which is ignored.
    """
    for axis in expand1:
        a = a.unsqueeze(axis)
    for axis in expand2:
        b = b.unsqueeze(axis)
    for axis in expand3:
        c = c.unsqueeze(axis)
    return (a * b * c).sum(list(summed)) if summed else a * b * c


def _over_last(axes: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """A decomposition whose operator has a fixed number of pooled axes."""
    return lambda *tensors: function(*tensors, axes=axes)


DECOMPOSITIONS: dict[OpOverload, Callable[..., Any]] = {
    aten.adaptive_avg_pool1d.default: adaptive_avg_pool,
    aten.adaptive_avg_pool2d.default: adaptive_avg_pool,
    aten.adaptive_avg_pool3d.default: adaptive_avg_pool,
    aten._adaptive_avg_pool2d.default: adaptive_avg_pool,
    aten._adaptive_avg_pool3d.default: adaptive_avg_pool,
    aten.avg_pool2d_backward.default: avg_pool_backward,
    aten.avg_pool3d_backward.default: avg_pool_backward,
    aten._adaptive_avg_pool2d_backward.default: _over_last(2, adaptive_avg_pool_backward),
    aten._adaptive_avg_pool3d_backward.default: _over_last(3, adaptive_avg_pool_backward),
    aten.adaptive_max_pool2d_backward.default: _over_last(2, max_pool_backward),
    aten.adaptive_max_pool3d_backward.default: _over_last(3, max_pool_backward),
    aten.replication_pad1d_backward.default: replication_pad_backward,
    aten.replication_pad2d_backward.default: replication_pad_backward,
    aten.replication_pad3d_backward.default: replication_pad_backward,
    aten._cdist_forward.default: cdist_forward,
    aten._cdist_backward.default: cdist_backward,
    aten.median.dim: median_dim,
    aten._trilinear.default: trilinear,
}
