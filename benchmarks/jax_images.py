"""The models of images, in JAX: the digits and the U-Net. Images are (batch, height, width, channels) inside."""

from __future__ import annotations

from typing import Any

from jax_layers import Function, array_of, conv_in, group_norm_in, linear_in
from solved import Digits, Sampler
from torch import nn

from odelet_models.odenet import PIXEL_MAX, SIDE


def _timed(jax: Any, t: Any, x: Any, *, last: bool = False) -> Any:
    """An image with the time as its first channel, or as its last."""
    channel = jax.numpy.full_like(x[..., :1], t)
    return jax.numpy.concatenate([x, channel] if last else [channel, x], axis=3)


def digits_in_jax(model: Digits, jax: Any) -> tuple[Function, Function, Function]:
    """What the digits model does before its solve, its field, and what it does after."""

    def gelu(x: Any) -> Any:
        return jax.nn.gelu(x, approximate=False)

    f, stem, head = model.field, model.stem, model.head
    first, last = conv_in(stem[0], jax), conv_in(stem[3], jax)
    stem_norm, head_norm = group_norm_in(stem[1], jax), group_norm_in(head[0], jax)
    norms = [group_norm_in(layer, jax) for layer in (f.norm1, f.norm2, f.norm3)]
    convs = [conv_in(f.conv1.conv, jax), conv_in(f.conv2.conv, jax)]
    linear = linear_in(head[4], jax)

    def before(x: Any) -> Any:
        return last(gelu(stem_norm(first((x / PIXEL_MAX).reshape(-1, SIDE, SIDE, 1)))))

    def slope(t: Any, x: Any) -> Any:
        x = convs[0](_timed(jax, t, jax.nn.softplus(norms[0](x))))
        return norms[2](convs[1](_timed(jax, t, jax.nn.softplus(norms[1](x)))))

    def after(path: Any) -> Any:
        x = gelu(head_norm(path[-1]))
        n, height, width, channels = x.shape
        pooled = x.reshape(n, height // 2, 2, width // 2, 2, channels).mean((2, 4))
        return linear(pooled.transpose(0, 3, 1, 2).reshape(n, -1))

    return before, slope, after


def unet_in_jax(model: Sampler, jax: Any) -> tuple[Function, Function, Function]:
    """What the sampler with a U-Net does before its solve, its field, and what it does after."""
    net = model.field
    jnp, silu = jax.numpy, jax.nn.silu
    enter, down, middle, leave, leave_last = (
        conv_in(layer, jax) for layer in (net.enter, net.down[1], net.middle[0], net.leave[0], net.leave[2])
    )
    down_norm, middle_norm = group_norm_in(net.down[2], jax), group_norm_in(net.middle[1], jax)
    up = _doubled_in(net.up, jax)

    def slope(t: Any, x: Any) -> Any:
        fine = enter(_timed(jax, t, x, last=True))
        coarse = silu(down_norm(down(silu(fine))))
        coarse = silu(middle_norm(middle(coarse)))
        return leave_last(silu(leave(jnp.concatenate([fine, up(coarse)], axis=3))))

    return lambda x: x.transpose(0, 2, 3, 1), slope, lambda path: path[-1].transpose(0, 3, 1, 2)


def _doubled_in(layer: nn.ConvTranspose2d, jax: Any) -> Function:
    """A transposed convolution by 2 x 2 with strides of 2: each pixel becomes four, by a product."""
    weight, bias = array_of(layer.weight, jax), array_of(layer.bias, jax)

    def apply(x: Any) -> Any:
        n, height, width, _ = x.shape
        four = jax.numpy.einsum("nhwc,cokl->nhkwlo", x, weight)
        return four.reshape(n, 2 * height, 2 * width, -1) + bias

    return apply
