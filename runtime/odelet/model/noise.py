"""Draws the random numbers that a model takes as inputs, when the caller does not give them.

The law here: an artifact holds no random operators, so that a call with the same inputs, noise included, gives the
same answer everywhere; random numbers are drawn before the graph runs, each from the seed and its place alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from odelet.artifact.card import Card, Tensor
from odelet.artifact.formulas import size_of
from odelet.artifact.input_cards import NoiseCard
from odelet.errors import ArtifactError, InputError
from odelet.loops.brownian import DrawnNormals
from odelet.numerics.backend import NumpyArray
from odelet.random_numbers import checked_seed, noise_array


class Noise:
    """The random inputs of a model, ready to be drawn. names: of these inputs, in the card's order."""

    def __init__(self, card: Card) -> None:
        tensors = {tensor.name: tensor for tensor in card.inputs}
        self._noise: dict[str, tuple[int, Tensor, NoiseCard]] = {
            noise.name: (index, tensors[noise.name], noise) for index, noise in enumerate(card.noise)
        }
        self.names = tuple(self._noise)
        # The noise of the steps that the runtime takes itself; no graph reads these inputs.
        driven = {name for one in card.solves if one.brownian and one.drive for name in one.brownian.inputs}
        self._by_step = frozenset(noise.name for noise in card.noise if noise.step_axis == 0 and noise.name in driven)

    def check_seed(self, seed: object) -> None:
        """Raise InputError for a value that is no seed, and for a seed of a model that draws nothing."""
        if seed is None:
            return
        checked_seed(seed)
        if not self._noise:
            raise InputError(f"seed={seed!r} cannot be set: the model draws no random numbers")

    def shape(self, name: str, axes: Mapping[str, int]) -> tuple[int, ...] | None:
        """Return the shape of a random input for sizes of the model's named axes, or None if they do not fix it."""
        sizes = [size if isinstance(size, int) else size_of(size, axes) for size in self._noise[name][1].shape]
        return None if None in sizes else tuple(size for size in sizes if size is not None)

    def draw(self, name: str, axes: Mapping[str, int], seed: int, *, first_sample: int = 0) -> NumpyArray:
        """Return random numbers for an input. first_sample: the number of the first sample.

        Each input has random numbers of its own, so that giving one input does not change the numbers of the others,
        and so has each sample, so that a batch does not change them. Raises InputError when the axes do not fix the
        shape.
        """
        index, tensor, noise = self._noise[name]
        shape = self.shape(name, axes)
        if shape is None or any(size < 0 for size in shape):
            raise InputError(
                f"the noise {name!r} ({noise.distribution}, {noise.source}) is {tensor}, a shape that does not follow "
                f"from those of the other inputs; give it: {name}=..."
            )
        dtype, first = np.dtype(tensor.dtype), first_sample
        try:
            if name in self._by_step and noise.sample_axis == 1:
                # The numbers of a step are drawn when it is taken, so that memory does not grow with the steps.
                drawn: Any = DrawnNormals(seed, index, shape[1], shape[2:], dtype, steps=shape[0], first_sample=first)
                return cast("NumpyArray", drawn)
            axes_of = {"sample_axis": noise.sample_axis, "step_axis": noise.step_axis}
            return noise_array(noise.distribution, seed, index, shape, dtype, **axes_of, first_sample=first)
        except (ValueError, MemoryError, OverflowError):  # more numbers than memory can hold, or than numpy can count
            raise ArtifactError(
                f"the noise {name!r} has the shape {shape}, too large to draw; check the card"
            ) from None
