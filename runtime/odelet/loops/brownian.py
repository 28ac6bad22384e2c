"""Brownian paths of a batch: what a solve of an SDE asks for its increments, and the numbers that they are made of.

The law here: the numbers of a batch row depend on that row's seed or key and on what was asked, never on the batch.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, Protocol

import numpy as np

from odelet.loops.trajectory import Time
from odelet.methods.sde import Increment, Interval, SdeMethod
from odelet.numerics.backend import NUMPY, NumpyArray
from odelet.random_numbers import normals, normals_by_key

# The random numbers of so many normals are made at once, where steps are drawn as they are taken.
_DRAWN_AT_ONCE = 2**12


class BrownianPath(Protocol):
    """A Brownian motion of m channels for each row of a batch."""

    def increment(self, t: Time, t1: Time) -> Increment:
        """The motion over the interval from t to t1, t <= t1: what the method of the solve takes of it."""

    def forget(self, t: Time) -> None:
        """Drop what is known of times before t, which are not asked for again."""


class Normals(Protocol):
    """The standard normal numbers of each step: an array (steps, batch, ...), or an object that draws them."""

    def __getitem__(self, step: int, /) -> NumpyArray: ...


def draw_shapes(method: SdeMethod, channels: int) -> dict[str, tuple[int, ...]]:
    """The shape of the numbers that a step draws for each batch row, by the names in `method.draws`."""
    shapes: dict[str, tuple[int, ...]] = {"w": (channels,), "h": (channels,), "area": (channels, channels)}
    return {name: shapes[name] for name in method.draws}


class DrawnNormals:
    """Standard normal numbers (batch, *shape) for each step, drawn a block of steps at a time, in order.

    seed, noise: as `random_numbers.normals` takes them, of which these are the numbers; or, in place of the seed, the
    keys of the batch, as `normals_by_key` takes them. steps: how many there are, for
    `np.asarray`, which draws all; None for any number. first_sample: the index of the first row.

    >>> drawn = DrawnNormals(7, 0, 2, (3,), np.dtype(np.float64))
    >>> drawn[5].shape, bool((drawn[5][1] == normals(7, 0, range(1, 2), range(5, 6), 3)[0, 0]).all())
    ((2, 3), True)
    """

    def __init__(
        self,
        seed: int | NumpyArray,
        noise: int,
        batch: int,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        *,
        steps: int | None = None,
        first_sample: int = 0,
    ) -> None:
        self._samples = range(first_sample, first_sample + batch)
        self._seed, self._noise, self._batch, self._shape, self._dtype = seed, noise, batch, shape, dtype
        self._count = int(np.prod(shape))
        self._steps = max(1, _DRAWN_AT_ONCE // max(1, batch * self._count))
        self._first, self._block = 0, np.empty((0, batch, *shape), dtype)
        self._all = steps

    def __repr__(self) -> str:
        return f"<normal numbers of seed {self._seed}, {self._dtype} {list(self.shape)}, drawn step by step>"

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the numbers."""
        return self._dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of all numbers, (steps, batch, *shape)."""
        return (len(self), self._batch, *self._shape)

    def __len__(self) -> int:
        assert self._all is not None, "the number of steps was not given"
        return self._all

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NumpyArray:
        del copy
        return self._draw(range(len(self))).astype(dtype or self._dtype, copy=False)

    def __getitem__(self, step: int, /) -> NumpyArray:
        if not self._first <= step < self._first + len(self._block):
            self._first, self._block = step, self._draw(range(step, step + self._steps))
        numbers: NumpyArray = self._block[step - self._first]
        return numbers

    def _draw(self, steps: range) -> NumpyArray:
        seed, dtype = self._seed, self._dtype
        if isinstance(seed, np.ndarray):
            numbers = normals_by_key(seed, self._noise, steps, self._count, dtype=dtype)
        else:
            numbers = normals(seed, self._noise, self._samples, steps, self._count, dtype=dtype)
        return numbers.reshape(len(steps), self._batch, *self._shape)


class StepwisePath:
    """A BrownianPath that is asked for one interval after the other: the increments are independent.

    normals: the numbers of each step, one of them for each of `method.draws`.
    """

    def __init__(self, method: SdeMethod, normals: Sequence[Normals], channels: int) -> None:
        self._method, self._normals, self._channels = method, normals, channels
        self._step = 0

    def increment(self, t: Time, t1: Time) -> Increment:
        numbers = [z[self._step] for z in self._normals]
        self._step += 1
        step = Interval.of(t, t1, numbers[0], xp=NUMPY)
        return self._method.increment(numbers, step, channels=self._channels, xp=NUMPY)

    def forget(self, t: Time) -> None:
        del t


@dataclass
class _Piece:
    """The motion over an interval between two known points.

    h: the length of the interval. w: the increment (batch, m). space: the space-time Levy area (batch, m), where the
    method takes it. area: the Levy area (batch, m, m), once it was asked for.
    """

    h: float
    w: NumpyArray
    space: NumpyArray | None = None
    area: NumpyArray | None = None

    def and_then(self, later: _Piece) -> _Piece:
        """The motion over this interval and the next. Source of the areas: Chen's identity."""
        h, space, area = self.h + later.h, None, None
        if self.space is not None and later.space is not None:
            space = ((later.space + 0.5 * self.w) * later.h + (self.space - 0.5 * later.w) * self.h) / h
        if self.area is not None and later.area is not None:
            product = self.w[:, :, None] * later.w[:, None, :]
            area = self.area + later.area + 0.5 * (product - product.transpose(0, 2, 1))
        return _Piece(h, self.w + later.w, space, area)


class BridgedPath:
    """A BrownianPath that may be asked for any intervals, at first or again, in any order.

    It extends into the future by independent increments, and divides intervals that are known by Brownian bridges. A
    Levy area is approximated for each interval between neighbouring points, and is that of these points from then on.

    keys: int64 (batch,); the numbers of a row depend on its key and on the order of the questions alone. t0: the first
    time. Source of the bridge with space-time areas: Foster, Lyons & Oberhauser, SIAM J. Numer. Anal. 58 (2020), as
    torchsde 0.2.6 has it.

    >>> from odelet.methods.sde_steps import SDE_METHODS
    >>> path = BridgedPath(SDE_METHODS["ito_euler"], np.arange(2), 0.0, 3, np.dtype(np.float64))
    >>> whole, first, last = (path.increment(*ends).w for ends in ((0.0, 1.0), (0.0, 0.25), (0.25, 1.0)))
    >>> bool(np.allclose(whole, first + last)), whole.shape
    (True, (2, 3))
    """

    def __init__(self, method: SdeMethod, keys: NumpyArray, t0: Time, channels: int, dtype: np.dtype[Any]) -> None:
        self._method, self._batch, self._channels, self._dtype = method, len(keys), channels, dtype
        self._shapes = draw_shapes(method, channels)
        shapes = enumerate(self._shapes.items())
        self._numbers = {name: DrawnNormals(keys, i, self._batch, shape, dtype) for i, (name, shape) in shapes}
        self._drawn = dict.fromkeys(method.draws, 0)
        # The known points, and the piece that ends at each of them but the first.
        self._times: list[float] = [float(t0)]
        self._pieces: list[_Piece] = []

    def increment(self, t: Time, t1: Time) -> Increment:
        start, end = self._know(float(t)), self._know(float(t1))
        if start == end:  # a step as short as a rounding error
            return Increment(*(np.zeros((self._batch, *shape), self._dtype) for shape in self._shapes.values()))
        pieces = self._pieces[start:end]
        if "area" in self._shapes:
            for piece in pieces:
                piece.area = self._area(piece) if piece.area is None else piece.area
        whole = pieces[0]
        for piece in pieces[1:]:
            whole = whole.and_then(piece)
        u = None if whole.space is None else (whole.w * 0.5 + whole.space) * whole.h
        return Increment(whole.w, u, whole.area)

    def forget(self, t: Time) -> None:
        past = bisect_left(self._times, float(t))
        if past == len(self._times) or self._times[past] != float(t):
            past = max(past - 1, 0)
        del self._times[:past], self._pieces[:past]

    def _know(self, t: float) -> int:
        """The index of t among the known points, of which it then is one."""
        i = bisect_left(self._times, t)
        assert i or t == self._times[0], f"the path is asked for the time {t}, before {self._times[0]}"
        if i == len(self._times):
            self._extend(t)
        elif self._times[i] != t:
            self._divide(i - 1, t)
        return i

    def _extend(self, t: float) -> None:
        h = t - self._times[-1]
        w = self._normals("w") * sqrt(h)
        self._pieces.append(_Piece(h, w, self._normals("h") * sqrt(h / 12) if "h" in self._shapes else None))
        self._times.append(t)

    def _divide(self, i: int, t: float) -> None:
        """Make t a point within the piece i."""
        piece, left, right = self._pieces[i], t - self._times[i], self._times[i + 1] - t
        # The shares of both parts in the length.
        p, q = left / piece.h, right / piece.h
        if piece.space is None:
            w = piece.w * p + self._normals("w") * sqrt(p * q * piece.h)
            parts = [_Piece(left, w), _Piece(right, piece.w - w)]
        else:
            x, z = self._normals("w"), self._normals("h")
            spread = 0.5 * sqrt(p * q / (p**3 + q**3) * piece.h)
            a, b, c = spread * p * p, spread * q * q, spread / sqrt(3)
            kick = piece.space * (6 * p * q) + x * (2 * (a * p + b * q))
            parts = [
                _Piece(left, piece.w * p + kick, piece.space * p**2 - x * a + z * (c * q)),
                _Piece(right, piece.w * q - kick, piece.space * q**2 - x * b - z * (c * p)),
            ]
        self._pieces[i : i + 1] = parts
        self._times.insert(i + 1, t)

    def _area(self, piece: _Piece) -> NumpyArray:
        assert piece.space is not None
        h, numbers = self._dtype.type(piece.h), self._normals("area")
        area = self._method.levy_area(piece.w, piece.space, numbers, h, self._channels, xp=NUMPY)
        return np.asarray(area)

    def _normals(self, name: str) -> NumpyArray:
        """The next standard normal numbers of a kind, (batch, *shape)."""
        self._drawn[name] += 1
        return self._numbers[name][self._drawn[name] - 1]
