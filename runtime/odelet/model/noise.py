"""Draws the random numbers that a model takes as inputs, when the caller does not give them.

The law here: an artifact holds no random operators, so that a call with the same inputs, noise included, gives the
same answer everywhere; random numbers are drawn by numpy before the graph runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral

import numpy as np

from odelet.artifact.card import Card, Tensor
from odelet.artifact.formulas import size_of
from odelet.artifact.input_cards import NoiseCard
from odelet.errors import ArtifactError, InputError
from odelet.numerics.backend import NumpyArray


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
