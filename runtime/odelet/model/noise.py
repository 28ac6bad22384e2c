"""Random numbers that a model takes as inputs: drawn here when the caller does not give them.

The law here: an artifact holds no random operators, so that a call with the same inputs, noise included, gives the
same answer everywhere; what varies is drawn by numpy before the graph runs.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any

import numpy as np

from odelet.artifact.card import Card, Tensor
from odelet.artifact.input_cards import NoiseCard
from odelet.errors import InputError
from odelet.numerics.backend import NumpyArray

_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}
_LONGEST = 200


class Noise:
    """The noise of a model, ready to be drawn."""

    def __init__(self, card: Card) -> None:
        tensors = {tensor.name: tensor for tensor in card.inputs}
        self._noise: dict[str, tuple[int, Tensor, NoiseCard]] = {
            noise.name: (index, tensors[noise.name], noise) for index, noise in enumerate(card.noise)
        }
        self.names = tuple(self._noise)

    def check_seed(self, seed: Any) -> None:
        """Raise InputError for a seed that is none, or that nothing would take."""
        if seed is None:
            return
        if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= int(seed) < 2**64:
            raise InputError(f"seed={seed!r} must be a whole number from 0 to 2**64 - 1, or None")
        if not self._noise:
            raise InputError(f"seed={seed!r} cannot be set: the model draws no random numbers")

    def shape(self, name: str, axes: Mapping[str, int]) -> tuple[int, ...] | None:
        """The shape of a noise for sizes of the model's named axes; None where it does not follow from them."""
        sizes = [size if isinstance(size, int) else size_of(size, axes) for size in self._noise[name][1].shape]
        return None if None in sizes else tuple(size for size in sizes if size is not None)

    def draw(self, name: str, axes: Mapping[str, int], seed: int | None) -> NumpyArray:
        """Numbers for a noise that was not given. seed: None for numbers that nobody can foresee.

        Each noise has a stream of its own, so that giving one does not change the others. Raises InputError where the
        shape does not follow from the axes.
        """
        index, tensor, noise = self._noise[name]
        shape = self.shape(name, axes)
        if shape is None or any(size < 0 for size in shape):
            raise InputError(
                f"the noise {name!r} ({noise.distribution}, {noise.source}) is {tensor}, a shape that does not follow "
                f"from those of the other inputs; give it: {name}=..."
            )
        generator = np.random.default_rng(None if seed is None else [int(seed), index])
        dtype: Any = np.dtype(tensor.dtype)
        if noise.distribution == "normal":
            return np.asarray(generator.standard_normal(shape, dtype))
        return np.asarray(generator.random(shape, dtype))


def size_of(text: str, axes: Mapping[str, int]) -> int | None:
    """The size that a text like "batch", "2*batch" or "batch*obs + 1" says; None for a text that is another, or that
    names an axis which is not there."""
    if text in axes:
        return axes[text]
    if len(text) > _LONGEST:
        return None
    try:
        return _size(ast.parse(text, mode="eval").body, axes)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None


def _size(node: ast.expr, axes: Mapping[str, int]) -> int | None:
    if isinstance(node, ast.Constant):
        return node.value if type(node.value) is int else None
    if isinstance(node, ast.Name):
        return axes.get(node.id)
    if not isinstance(node, ast.BinOp) or type(node.op) not in _OPERATORS:
        return None
    left, right = _size(node.left, axes), _size(node.right, axes)
    return None if left is None or right is None else _OPERATORS[type(node.op)](left, right)
