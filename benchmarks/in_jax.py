"""The models that are timed, for JAX, and their layers for numpy, with the weights of the torch models.

A function of ROSTER makes, of a torch model: what the model does before its solve, its field of (t, state), and what it
does after.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from controlled import Controlled
from graph import Graph
from jax_images import digits_in_jax, unet_in_jax
from jax_layers import Function, identity, layers_in, linear_in
from jax_tokens import guided_in_jax
from solved import Decoder, Digits, Flow, Layers, Sampler, Solved
from transformer import GuidedTokens
from unet import UNet

Functions = tuple[Function, Function, Function]


def in_jax(model: Solved, jax: Any) -> Functions:
    """A model as functions in JAX."""
    for kind, make in ROSTER.items():
        if isinstance(model, kind) or isinstance(model.field, kind):
            return make(model, jax)
    raise TypeError(f"{type(model).__name__} was not written in JAX")


def _layers(model: Solved, jax: Any) -> Functions:
    net = layers_in(jax.numpy, model.field, jax.numpy.asarray)
    return identity, lambda t, y: net(y), identity


def _decoder(model: Decoder, jax: Any) -> Functions:
    before, field, _ = _layers(model, jax)
    return before, field, linear_in(model.decode, jax)


def _flow(model: Flow, jax: Any) -> Functions:
    jnp = jax.numpy
    net = layers_in(jnp, model.field.velocity, jnp.asarray)

    def slopes(t: Any, state: Any) -> Any:
        jacobian = jax.vmap(jax.jacfwd(net))(state[0])
        return net(state[0]), -jnp.trace(jacobian, axis1=1, axis2=2)[:, None]

    def density(path: Any) -> Any:
        return -0.5 * jnp.square(path[0][-1]).sum(1) - jnp.log(2 * jnp.pi) - path[1][-1, :, 0]

    return lambda x: (x, jnp.zeros((len(x), 1), x.dtype)), slopes, density


def _guided(model: Sampler, jax: Any) -> Functions:
    return identity, guided_in_jax(model.field, jax), lambda path: path[-1]


def _graph(model: Graph, jax: Any) -> Functions:
    field = model.field
    source, target = (jax.numpy.asarray(row.numpy()) for row in field.index)
    weights = jax.numpy.asarray(field.weights.numpy())[:, None]

    def conv(layer: Any) -> Function:
        own, near = linear_in(layer.own, jax), linear_in(layer.near, jax)
        return lambda x: own(x).at[target].add(near(x)[source] * weights)

    first, second = conv(field.conv1), conv(field.conv2)
    return (
        identity,
        lambda t, x: jax.numpy.tanh(second(jax.nn.relu(first(x)))) - x,
        lambda path: path[-1],
    )


def _controlled(model: Controlled, jax: Any) -> Functions:
    jnp = jax.numpy
    initial, readout, first, second = (
        linear_in(layer, jax) for layer in (model.initial, model.readout, model.field.net[0], model.field.net[2])
    )
    knots = jnp.asarray(model.knots.numpy())
    # The coefficients of the path, which `before` sets for the field of the same call.
    coefficients: list[Any] = []

    def before(x: Any) -> Any:
        gaps = (knots[1:] - knots[:-1])[:, None]
        after = (x[:, 1:] - x[:, :-1]) / gaps
        slopes = jnp.concatenate([after[:, :1], after[:, :-1]], axis=1)
        turn = 2 * (after - slopes) / gaps
        coefficients[:] = slopes, turn, -turn / (2 * gaps)
        return initial(x[:, 0])

    def field(t: Any, z: Any) -> Any:
        index = jnp.clip(jnp.searchsorted(knots, t) - 1, 0, len(knots) - 2)
        b, c, d = (part[:, index] for part in coefficients)
        past = t - knots[index]
        slope = b + (2 * c + 3 * d * past) * past
        matrix = jnp.tanh(second(jax.nn.relu(first(z)))).reshape(len(z), -1, slope.shape[1])
        return jnp.einsum("bhc,bc->bh", matrix, slope)

    return before, field, lambda path: readout(path[-1])


# By the class of the model, or of its field. The first that fits is taken.
ROSTER: Mapping[type, Callable[[Any, Any], Functions]] = {
    Flow: _flow,
    Digits: digits_in_jax,
    Decoder: _decoder,
    Graph: _graph,
    Controlled: _controlled,
    UNet: unet_in_jax,
    GuidedTokens: _guided,
    Layers: _layers,
}
