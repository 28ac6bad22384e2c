"""The models of `workloads` for JAX, and their layers for numpy, with the weights of the torch models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from workloads import Array, Decoder, Digits, Flow, Layers, Solved

from odelet_models.odenet import PIXEL_MAX, SIDE

Function = Callable[..., Any]


def in_jax(model: Solved, jax: Any) -> tuple[Function, Function, Function]:
    """What a model does before its solve, its field of (t, state), and what it does after, as functions in JAX."""
    jnp = jax.numpy
    if isinstance(model, Flow):
        return _flow(model, jax)
    if isinstance(model, Digits):
        return _digits(model, jax)
    assert type(model.field) is Layers
    net = layers_in(jnp, model.field, jnp.asarray)
    decode = _Parameters(model.decode, jnp) if isinstance(model, Decoder) else None
    after = _identity if decode is None else lambda path: path @ decode.weight.T + decode.bias
    return _identity, lambda t, y: net(y), after


def _identity(x: Any) -> Any:
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


def _flow(model: Flow, jax: Any) -> tuple[Function, Function, Function]:
    jnp = jax.numpy
    net = layers_in(jnp, model.field.velocity, jnp.asarray)

    def slopes(t: Any, state: Any) -> Any:
        jacobian = jax.vmap(jax.jacfwd(net))(state[0])
        return net(state[0]), -jnp.trace(jacobian, axis1=1, axis2=2)[:, None]

    def density(path: Any) -> Any:
        return -0.5 * jnp.square(path[0][-1]).sum(1) - jnp.log(2 * jnp.pi) - path[1][-1, :, 0]

    return lambda x: (x, jnp.zeros((len(x), 1), x.dtype)), slopes, density


class _Parameters:
    """A torch layer's parameters as JAX arrays."""

    def __init__(self, layer: Any, jnp: Any) -> None:
        self.weight = jnp.asarray(layer.weight.detach().numpy())
        self.bias = jnp.asarray(layer.bias.detach().numpy())


def _digits(model: Digits, jax: Any) -> tuple[Function, Function, Function]:
    jnp = jax.numpy

    def conv(layer: nn.Conv2d) -> Function:
        p = _Parameters(layer, jnp)
        sides = [(n, n) for n in layer.padding]

        def apply(x: Any) -> Any:
            return jax.lax.conv_general_dilated(x, p.weight, layer.stride, sides) + p.bias[:, None, None]

        return apply

    def norm(layer: nn.GroupNorm) -> Function:
        p = _Parameters(layer, jnp)

        def apply(x: Any) -> Any:
            grouped = x.reshape(len(x), layer.num_groups, -1)
            mean, variance = grouped.mean(2, keepdims=True), grouped.var(2, keepdims=True)
            scaled = ((grouped - mean) / jnp.sqrt(variance + layer.eps)).reshape(x.shape)
            return scaled * p.weight[:, None, None] + p.bias[:, None, None]

        return apply

    def timed(layer: nn.Conv2d) -> Function:
        inner = conv(layer)
        return lambda t, x: inner(jnp.concatenate([jnp.full_like(x[:, :1], t), x], axis=1))

    def gelu(x: Any) -> Any:
        return jax.nn.gelu(x, approximate=False)

    f, stem, head = model.field, model.stem, model.head
    first, last, stem_norm, head_norm = conv(stem[0]), conv(stem[3]), norm(stem[1]), norm(head[0])
    norms = [norm(layer) for layer in (f.norm1, f.norm2, f.norm3)]
    convs = [timed(f.conv1.conv), timed(f.conv2.conv)]
    linear = _Parameters(head[4], jnp)

    def before(x: Any) -> Any:
        return last(gelu(stem_norm(first((x / PIXEL_MAX).reshape(-1, 1, SIDE, SIDE)))))

    def slope(t: Any, x: Any) -> Any:
        x = convs[0](t, jax.nn.softplus(norms[0](x)))
        return norms[2](convs[1](t, jax.nn.softplus(norms[1](x))))

    def after(path: Any) -> Any:
        x = gelu(head_norm(path[-1]))
        n, channels, height, width = x.shape
        pooled = x.reshape(n, channels, height // 2, 2, width // 2, 2).mean((3, 5))
        return pooled.reshape(n, -1) @ linear.weight.T + linear.bias

    return before, slope, after
