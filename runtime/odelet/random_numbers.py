"""Random numbers that depend on a seed and on their place alone; nothing here keeps a state between two draws.

The integers come from Philox4x32-10, as in Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3"
(2011). docs/artifact.md specifies, with numbers to check against, which integer makes which number of which noise.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from math import ceil, pi, prod
from numbers import Integral
from typing import Any, TypeAlias

import numpy as np

from odelet.errors import InputError
from odelet.numerics.backend import NumpyArray

# The constants of Philox4x32: the multipliers of the words 0 and 2, and what a round adds to each word of the key.
_MULTIPLIERS = np.array([[0xD2511F53], [0xCD9E8D57]], np.uint64)
_KEY_STEPS = np.array([[0x9E3779B9], [0xBB67AE85]], np.uint64)
# What ten rounds add to the key, (rounds, words of the key, 1).
_ROUND_KEYS = np.arange(10, dtype=np.uint64)[:, None, None] * _KEY_STEPS
_WORD, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)

# Counters are encrypted so many at a time: their arrays, of 128 KiB, stay in the processor's cache.
_AT_A_TIME = 8192
_ONE = np.uint64(1)
# A float64 between 0 and 1 has 53 bits, a float32 24.
_TO_53_BITS, _TO_24_BITS = np.uint64(64 - 53), np.uint64(64 - 24)

# A dtype as numpy takes it: np.float32 or np.float64, or its name.
DType: TypeAlias = np.dtype[Any] | type | str
# From the two 64-bit words of each counter (2, n), the two numbers of each (n, 2).
_Transform = Callable[[NumpyArray, NumpyArray], None]


def normals(
    seed: int, noise: int, samples: range, steps: range, count: int, *, dtype: DType = np.float64
) -> NumpyArray:
    """Return standard normal numbers (steps, samples, count) of float32 or float64.

    The numbers of a sample and step are the same whatever other samples and steps are drawn with them, and the first of
    them are the same whatever count is asked for. seed: from 0 to 2**64 - 1. noise: the index of the noise. samples,
    steps: ranges of indices, with step 1. Each index is from 0 to 2**32 - 1. A float32 is the float64 rounded.

    >>> normals(7, 0, range(2, 3), range(5), 3)[4].tolist() == normals(7, 0, range(9), range(4, 5), 3)[0, 2:3].tolist()
    True
    """
    return _drawn(_normal, seed, noise, samples, steps, count, np.dtype(dtype))


def uniforms(
    seed: int, noise: int, samples: range, steps: range, count: int, *, dtype: DType = np.float64
) -> NumpyArray:
    """Return numbers (steps, samples, count) that are uniform from 0 up to 1, without 1; else like `normals`.

    A float64 is a multiple of 2**-53; a float32 is that number cut off to a multiple of 2**-24.
    """
    transform = _uniform_of_24_bits if np.dtype(dtype) == np.float32 else _uniform_of_53_bits
    return _drawn(transform, seed, noise, samples, steps, count, np.dtype(dtype))


def noise_array(
    distribution: str,
    seed: int,
    noise: int,
    shape: Sequence[int],
    dtype: DType,
    *,
    sample_axis: int | None = None,
    step_axis: int | None = None,
    first_sample: int = 0,
) -> NumpyArray:
    """Return the numbers of a noise as one array of a shape, C-contiguous.

    distribution: "normal", "uniform", or "key", which is for keys (samples,) of int64. sample_axis, step_axis: the axes
    of the shape that count samples and steps; where there is none, the array is that of one sample or of step 0.
    first_sample: the index of the first sample, for a part of a batch. The numbers of a sample and step are in the
    order of the axes that are left. Takes the memory of the result, and as much again where the first axes are not
    those of steps and samples in this order. Raises ValueError, MemoryError or OverflowError for a shape that is too
    large.
    """
    if distribution == "key":
        return keys(seed, noise, range(first_sample, first_sample + shape[0]))
    leading = [axis for axis in (step_axis, sample_axis) if axis is not None]
    order = leading + [axis for axis in range(len(shape)) if axis not in leading]
    steps = 1 if step_axis is None else shape[step_axis]
    samples = range(first_sample, first_sample + (1 if sample_axis is None else shape[sample_axis]))
    count = prod(shape[axis] for axis in order[len(leading) :])
    draw = {"normal": normals, "uniform": uniforms}[distribution]
    numbers = draw(seed, noise, samples, range(steps), count, dtype=dtype)
    laid: NumpyArray = numbers.reshape([shape[axis] for axis in order])
    laid = laid.transpose(np.argsort(order).astype(int).tolist())
    return laid if laid.flags.c_contiguous else laid.copy(order="C")


def keys(seed: int, noise: int, samples: range) -> NumpyArray:
    """Return a key for each sample, int64 (samples,): a seed of its own, the 64 bits of which are read as signed.

    >>> keys(7, 0, range(1000))[3:5].tolist() == keys(7, 0, range(3, 5)).tolist()
    True
    """
    _check(seed, noise, samples, range(1), 1, np.dtype(np.float64))
    even, odd = np.zeros((2, 2, len(samples)), np.uint64)
    even[1], odd[1] = np.arange(samples.start, samples.stop, dtype=np.uint64), noise
    low, upper = philox(even, odd, seed)
    words: NumpyArray = low[0] | upper[0] << _HALF
    return words.view(np.int64)


def normals_by_key(keys: NumpyArray, noise: int, steps: range, count: int, *, dtype: DType = np.float64) -> NumpyArray:
    """Return standard normal numbers (steps, samples, count), those of a sample by its key, int64 (samples,).

    They are those of `normals` with the key as the seed, for the sample 0.
    """
    return _drawn(_normal, np.asarray(keys, np.int64), noise, range(len(keys)), steps, count, np.dtype(dtype))


def checked_seed(seed: object) -> int:
    """Return a seed that a caller gave. Raises InputError for a value that is none."""
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= int(seed) < 2**64:
        raise InputError(f"seed={seed!r} must be a whole number from 0 to 2**64 - 1, or None")
    return int(seed)


def fresh_seed() -> int:
    """Return a seed from the operating system, which differs from call to call."""
    return int.from_bytes(os.urandom(8), "little")


def philox(even: NumpyArray, odd: NumpyArray, seed: int | NumpyArray) -> tuple[NumpyArray, NumpyArray]:
    """Return Philox4x32-10 of counters, with a seed of 64 bits as the key, its low word first.

    even: the words 0 and 2 of each counter, (2, n) uint64, each below 2**32; odd: the words 1 and 3. The result is laid
    out in the same way. Both arrays are overwritten. seed: one for all counters, or one for each, int64 (n,).
    """
    left, right = even, odd
    bits = seed.view(np.uint64) if isinstance(seed, np.ndarray) else np.array([seed], np.uint64)
    keys = np.stack([bits & _WORD, bits >> _HALF]) + _ROUND_KEYS & _WORD
    high, product = np.empty_like(left), np.empty_like(left)
    for key in keys:
        np.multiply(left, _MULTIPLIERS, out=product)
        np.right_shift(product, _HALF, out=high)
        np.bitwise_and(product, _WORD, out=product)
        np.bitwise_xor(high[::-1], right, out=left)
        np.bitwise_xor(left, key, out=left)
        right, product = product[::-1], right
    return left, right


def _drawn(
    transform: _Transform,
    seed: int | NumpyArray,
    noise: int,
    samples: range,
    steps: range,
    count: int,
    dtype: np.dtype[Any],
) -> NumpyArray:
    """Return numbers (steps, samples, count): those of one sample and step are a row, two numbers from each counter.

    seed: one for all samples; or one for each, int64 (samples,), whose numbers are those of the sample 0.
    """
    _check(0 if isinstance(seed, np.ndarray) else seed, noise, samples, steps, count, dtype)
    result = np.empty((len(steps), len(samples), count), dtype)
    if not result.size:
        return result
    rows, pairs = result.reshape(-1, count), ceil(count / 2)
    wide = ceil(pairs / ceil(pairs / _AT_A_TIME))
    high = max(1, _AT_A_TIME // wide)
    for top in range(0, len(rows), high):
        row = np.arange(top, min(top + high, len(rows)), dtype=np.uint64)[:, None]
        step = row // np.uint64(len(samples))
        sample = row - step * np.uint64(len(samples)) + np.uint64(samples.start)
        for first in range(0, pairs, wide):
            pair = np.arange(first, min(first + wide, pairs), dtype=np.uint64)
            even, odd = np.empty((2, 2, row.size, pair.size), np.uint64)
            even[0], odd[0], even[1], odd[1] = pair, step + np.uint64(steps.start), sample, noise
            key = seed
            if isinstance(seed, np.ndarray):
                even[1], key = 0, np.repeat(seed[sample[:, 0]], pair.size)
            low, upper = philox(even.reshape(2, -1), odd.reshape(2, -1), key)
            numbers = np.empty((row.size, 2 * pair.size))
            transform(low | upper << _HALF, numbers.reshape(-1, 2))
            rows[top : top + high, 2 * first : 2 * (first + wide)] = numbers[:, : count - 2 * first]
    return result


def _check(seed: int, noise: int, samples: range, steps: range, count: int, dtype: np.dtype[Any]) -> None:
    """Raise ValueError for what has no place among the generator's counters."""
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed={seed!r} must be from 0 to 2**64 - 1")
    for name, indices in (("noise", range(noise, noise + 1)), ("samples", samples), ("steps", steps)):
        if indices.step != 1 or (indices and not 0 <= indices[0] <= indices[-1] < 2**32):
            raise ValueError(f"{name}={indices!r} must go by 1, from 0 or more to below 2**32")
    if not 0 <= count <= 2**33:
        raise ValueError(f"count={count!r} must be from 0 to 2**33")
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype={dtype!r} must be float32 or float64")


def _normal(words: NumpyArray, numbers: NumpyArray) -> None:
    """Write normal numbers, by the transform of Box and Muller: a radius from the first word, an angle from the second.

    Functions run over whole rows, contiguous in memory, as numpy rounds them differently where they are not.
    """
    words >>= _TO_53_BITS
    words[0] += _ONE  # the radius is finite, as no uniform number of its row is 0
    radius, angle = words.astype(np.float64)
    radius *= 2.0**-53
    np.log(radius, out=radius)
    radius *= -2
    np.sqrt(radius, out=radius)
    angle *= 2 * pi * 2.0**-53
    np.multiply(radius, np.cos(angle), out=numbers[:, 0])
    np.multiply(radius, np.sin(angle), out=numbers[:, 1])


def _uniform_of_53_bits(words: NumpyArray, numbers: NumpyArray) -> None:
    words >>= _TO_53_BITS
    np.multiply(words.T, 2.0**-53, out=numbers)


def _uniform_of_24_bits(words: NumpyArray, numbers: NumpyArray) -> None:
    words >>= _TO_24_BITS
    np.multiply(words.T, 2.0**-24, out=numbers)
