"""Draws the random numbers that a model takes as inputs, when the caller does not give them.

The law here: an artifact holds no random operators, so that a call with the same inputs, noise included, gives the
same answer everywhere; random numbers are drawn by numpy before the graph runs.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from numbers import Integral

import numpy as np

from odelet.artifact.card import Card, Tensor
from odelet.artifact.input_cards import NoiseCard
from odelet.errors import ArtifactError, InputError
from odelet.numerics.backend import NumpyArray

_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}
# A longer formula of a size is not parsed: it does not come from an export.
_LONGEST_FORMULA = 200


class Noise:
    """The random inputs of a model, ready to be drawn. names: of these inputs, in the card's order."""

    def __init__(self, card: Card) -> None:
        tensors = {tensor.name: tensor for tensor in card.inputs}
        self._noise: dict[str, tuple[int, Tensor, NoiseCard]] = {
            noise.name: (index, tensors[noise.name], noise) for index, noise in enumerate(card.noise)
        }
        self.names = tuple(self._noise)

    def check_seed(self, seed: object) -> None:
        """Raise InputError for a value that is no seed, and for a seed of a model that draws nothing."""
        if seed is None:
            return
        if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= int(seed) < 2**64:
            raise InputError(f"seed={seed!r} must be a whole number from 0 to 2**64 - 1, or None")
        if not self._noise:
            raise InputError(f"seed={seed!r} cannot be set: the model draws no random numbers")

    def shape(self, name: str, axes: Mapping[str, int]) -> tuple[int, ...] | None:
        """Return the shape of a random input for sizes of the model's named axes, or None if they do not fix it."""
        sizes = [size if isinstance(size, int) else size_of(size, axes) for size in self._noise[name][1].shape]
        return None if None in sizes else tuple(size for size in sizes if size is not None)

    def draw(self, name: str, axes: Mapping[str, int], seed: int | None) -> NumpyArray:
        """Return random numbers for an input. seed: None for other numbers in each call.

        Each input has a random stream of its own, so that giving one input does not change the numbers of the others.
        Raises InputError when the axes do not fix the shape.
        """
        index, tensor, noise = self._noise[name]
        shape = self.shape(name, axes)
        if shape is None or any(size < 0 for size in shape):
            raise InputError(
                f"the noise {name!r} ({noise.distribution}, {noise.source}) is {tensor}, a shape that does not follow "
                f"from those of the other inputs; give it: {name}=..."
            )
        generator = np.random.default_rng(None if seed is None else [int(seed), index])
        draw = generator.standard_normal if noise.distribution == "normal" else generator.random
        # The card has checked that these are the dtypes of noise.
        dtype = np.float32 if tensor.dtype == "float32" else np.float64
        try:
            return np.asarray(draw(shape, dtype))
        except (ValueError, MemoryError, OverflowError):  # more numbers than memory can hold, or than numpy can count
            raise ArtifactError(
                f"the noise {name!r} has the shape {shape}, too large to draw; check the card"
            ) from None


def size_of(text: str, axes: Mapping[str, int]) -> int | None:
    """Return the size that a formula like "batch", "2*batch" or "batch*obs + 1" gives for the sizes of the axes.

    The result is None for a text that is no such formula, and for one that names an axis without a size.
    """
    if text in axes:
        return axes[text]
    if len(text) > _LONGEST_FORMULA:
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
