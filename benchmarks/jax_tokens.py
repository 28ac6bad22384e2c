"""The transformer with guidance, in JAX."""

from __future__ import annotations

import math
from typing import Any

from jax_layers import Function, array_of, layer_norm_in, linear_in
from transformer import GuidedTokens


def guided_in_jax(field: GuidedTokens, jax: Any) -> Function:
    """The field as a function of the time and sequences."""
    jnp = jax.numpy
    embedding, out, norm = linear_in(field.embedding, jax), linear_in(field.out, jax), layer_norm_in(field.norm, jax)
    places, labels = array_of(field.places, jax), array_of(field.label.weight, jax)
    time = [linear_in(field.time.layers[i], jax) for i in (0, 2)]
    blocks = [_block_in(block, jax) for block in field.blocks]

    def velocity(t: Any, x: Any, label: int) -> Any:
        angles = t * jnp.exp(-math.log(10000) * jnp.arange(128, dtype=jnp.float32) / 128)
        waves = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)])
        condition = jnp.broadcast_to(time[1](jax.nn.silu(time[0](waves))) + labels[label], (len(x), labels.shape[1]))
        tokens = embedding(x) + places
        for block in blocks:
            tokens = block(tokens, condition)
        return out(norm(tokens))

    def slope(t: Any, x: Any) -> Any:
        with_label, without = velocity(t, x, 1), velocity(t, x, 0)
        return without + field.guidance * (with_label - without)

    return slope


def _block_in(block: Any, jax: Any) -> Function:
    jnp = jax.numpy
    norms = [layer_norm_in(layer, jax) for layer in (block.norm1, block.norm2)]
    qkv, out = linear_in(block.attention.qkv, jax), linear_in(block.attention.out, jax)
    wide, narrow = linear_in(block.layers[0], jax), linear_in(block.layers[2], jax)
    modulation, heads = linear_in(block.modulation[1], jax), block.attention.heads

    def attention(x: Any) -> Any:
        batch, count, width = x.shape
        query, key, value = jnp.moveaxis(qkv(x).reshape(batch, count, 3, heads, width // heads), 2, 0)
        return out(jax.nn.dot_product_attention(query, key, value).reshape(batch, count, width))

    def apply(x: Any, condition: Any) -> Any:
        shift1, scale1, gate1, shift2, scale2, gate2 = jnp.split(modulation(jax.nn.silu(condition))[:, None], 6, axis=2)
        x = x + gate1 * attention(norms[0](x) * (1 + scale1) + shift1)
        moved = norms[1](x) * (1 + scale2) + shift2
        return x + gate2 * narrow(jax.nn.gelu(wide(moved), approximate=True))

    return apply
