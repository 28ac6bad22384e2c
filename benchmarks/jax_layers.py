"""Layers of torch as functions in JAX, with the same weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from solved import Array
from torch import nn

Function = Callable[..., Any]


def identity(x: Any) -> Any:
    return x


def layers_in(xp: Any, slope: Any, convert: Callable[[Array], Any]) -> Function:
    """The layers of `slope` as a function of arrays of `xp`, numpy or JAX. convert: makes such arrays of numpy's."""
    linear = [layer for layer in slope.net if isinstance(layer, nn.Linear)]
    weights = [(convert(x.weight.detach().numpy().T), convert(x.bias.detach().numpy())) for x in linear]

    def net(y: Any) -> Any:
        y = y**slope.power if slope.power > 1 else y
        for weight, bias in weights[:-1]:
            y = xp.tanh(y @ weight + bias)
        return y @ weights[-1][0] + weights[-1][1]

    return net


def array_of(tensor: Any, jax: Any) -> Any:
    return jax.numpy.asarray(tensor.detach().numpy())


def linear_in(layer: nn.Linear, jax: Any) -> Function:
    weight = array_of(layer.weight, jax).T
    if layer.bias is None:
        return lambda x: x @ weight
    bias = array_of(layer.bias, jax)
    return lambda x: x @ weight + bias


def conv_in(layer: nn.Conv2d, jax: Any) -> Function:
    """A convolution of images (batch, height, width, channels): of other layouts, XLA's are up to 30 times slower."""
    weight, bias = array_of(layer.weight, jax).transpose(2, 3, 1, 0), array_of(layer.bias, jax)
    sides = [(n, n) for n in layer.padding]  # type: ignore[misc]  # The padding is a tuple of numbers here.
    layout = ("NHWC", "HWIO", "NHWC")

    def apply(x: Any) -> Any:
        return jax.lax.conv_general_dilated(x, weight, layer.stride, sides, dimension_numbers=layout) + bias

    return apply


def group_norm_in(layer: nn.GroupNorm, jax: Any) -> Function:
    """A group norm of images (batch, height, width, channels)."""
    jnp = jax.numpy
    weight, bias = array_of(layer.weight, jax), array_of(layer.bias, jax)

    def apply(x: Any) -> Any:
        grouped = x.reshape(*x.shape[:3], layer.num_groups, -1)
        mean, variance = (of(grouped, axis=(1, 2, 4), keepdims=True) for of in (jnp.mean, jnp.var))
        return ((grouped - mean) / jnp.sqrt(variance + layer.eps)).reshape(x.shape) * weight + bias

    return apply


def layer_norm_in(layer: nn.LayerNorm, jax: Any) -> Function:
    jnp = jax.numpy
    affine = None if layer.weight is None else (array_of(layer.weight, jax), array_of(layer.bias, jax))

    def apply(x: Any) -> Any:
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        scaled = (x - mean) / jnp.sqrt(variance + layer.eps)
        return scaled if affine is None else scaled * affine[0] + affine[1]

    return apply
