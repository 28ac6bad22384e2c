"""Adams methods: explicit (Bashforth), and implicit with a corrector (Moulton).

The law here: steps may have any length, but the coefficients are those of equal steps, as in torchdiffeq.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from math import comb
from typing import Any

import numpy as np

from odelet.methods.method import FixedStep, Method, StepSettings
from odelet.numerics.backend import Array
from odelet.numerics.rk import Field, erk_step
from odelet.numerics.tableau import RK4

LARGEST_ORDER = 12
# Fewer slopes than this are left to Runge-Kutta.
_FEWEST = 3


@cache
def bashforth(slopes: int) -> tuple[Fraction, ...]:
    """Weights of the explicit formula on the newest slope, the one before it, and so on.

    Source: Hairer, Norsett & Wanner, Solving ODEs I, sec. III.1, equations (1.5) and (1.7).
    """
    return _weights(slopes, first=Fraction(1), rest=Fraction(1))


@cache
def moulton(slopes: int) -> tuple[Fraction, ...]:
    """Weights of the implicit formula on the slope at the end, then on `slopes` older ones, newest first.

    Source: Hairer, Norsett & Wanner, Solving ODEs I, sec. III.1, equations (1.9) and (1.10).
    """
    return _weights(slopes + 1, first=Fraction(1), rest=Fraction(0))


def _weights(count: int, *, first: Fraction, rest: Fraction) -> tuple[Fraction, ...]:
    """From coefficients of backward differences, with g_0 = first and sum g_i / (m + 1 - i) = rest, to weights."""
    differences = [first]
    for m in range(1, count):
        differences.append(rest - sum((g / (m + 1 - i) for i, g in enumerate(differences)), Fraction(0)))
    return tuple(
        sum((g * (-1) ** i * comb(m, i) for m, g in enumerate(differences) if m >= i), Fraction(0))
        for i in range(count)
    )


@cache
def _tables(room: int) -> tuple[Any, Any, Any]:
    """Weights by the number of slopes there are, 0 to `room`, with zeros for the slopes there are not: of the
    predictor and the corrector on older slopes (room + 1, 1, room), of the corrector on the newest (room + 1,)."""
    predictor, corrector, newest = np.zeros((room + 1, 1, room)), np.zeros((room + 1, 1, room)), np.zeros(room + 1)
    for slopes in range(_FEWEST, room + 1):
        predictor[slopes, 0, :slopes] = [float(w) for w in bashforth(slopes)]
        newest[slopes], *older = (float(w) for w in moulton(slopes))
        corrector[slopes, 0, :slopes] = older
    return predictor, corrector, newest


def _option(default: Any) -> Any:
    return field(default=default, metadata={"option": True})


@dataclass(frozen=True, kw_only=True)
class Adams(Method):
    """An Adams method; its first two steps are Kutta's 3/8 rule.

    implicit: whether it corrects. max_order: one more than the slopes it remembers. max_iters: turns of the
    corrector, which converges when no element moves by more than the tolerance. When it does not, the oldest slope
    is forgotten. Raises ValueError for orders and turns that make no method.
    """

    implicit: bool = _option(True)
    order: int | None = 4
    max_order: int = _option(LARGEST_ORDER)
    max_iters: int = _option(4)

    def __post_init__(self) -> None:
        for name, low, high in (("max_order", 2, LARGEST_ORDER), ("max_iters", 1, 2**31)):
            value = getattr(self, name)
            if int(value) != value or not low <= value <= high:
                raise ValueError(f"{name}={value!r} must be a whole number from {low} to {high}")

    @property
    def memory_size(self) -> int:
        """How many slopes are remembered."""
        return int(self.max_order) - 1

    @property
    def remembers(self) -> bool:
        """Whether there is room for the slopes that the first step of its own needs."""
        return self.memory_size >= _FEWEST

    @property
    def iterates(self) -> bool:  # type: ignore[override]
        return self.implicit and self.remembers

    @property
    def uses_tolerances(self) -> bool:  # type: ignore[override]
        return self.implicit

    @property
    def evaluations(self) -> int | None:
        return None if self.remembers else RK4.stages

    @property
    def stages(self) -> int | None:
        return None

    def initial_memory(self, y: Array, *, xp: Any) -> tuple[Array, ...]:
        """The slopes that are remembered, newest first (room, n), and how many they are."""
        return (xp.concat([y * 0] * self.memory_size, axis=0), 0) if self.remembers else ()

    def step(
        self, field: Field, t: Array, t1: Array, y: Array, memory: tuple[Array, ...], terms: StepSettings, *, xp: Any
    ) -> FixedStep:
        first, last = terms.evaluation_times(t, t1, y, xp=xp)
        k0 = field(first, y)

        def start_up(t: Array, t1: Array, last: Array, y: Array, k0: Array) -> Array:
            return erk_step(field, RK4, t, last, y, t1 - t, k0, xp=xp)[0]

        if not memory:
            return FixedStep(start_up(t, t1, last, y, k0), k0, (), self.evaluations, None)
        past = xp.concat([k0, memory[0][: self.memory_size - 1]], axis=0)
        count = xp.minimum(memory[1] + 1, self.memory_size)
        early, none = count < _FEWEST, count * 0
        if not self.implicit:
            y1 = xp.branch(
                early,
                start_up,
                lambda t, t1, _last, y, _k0: y + self._predicted(xp.cast(t1 - t, y), past, count, xp=xp),
                *(t, t1, last, y, k0),
            )
            return FixedStep(y1, k0, (past, count), xp.where(early, RK4.stages, none + 1), None)

        def start(t: Array, t1: Array, last: Array, y: Array, k0: Array) -> tuple[Array, ...]:
            return start_up(t, t1, last, y, k0), count, none + RK4.stages, count < 0

        def correct(t: Array, t1: Array, last: Array, y: Array, _k0: Array) -> tuple[Array, ...]:
            dy, turns, failed = self._corrected(field, xp.cast(t1 - t, y), last, y, past, count, terms, xp=xp)
            return y + dy, xp.where(failed, count - 1, count), turns + 1, failed

        y1, count, calls, failed = xp.branch(early, start, correct, *(t, t1, last, y, k0))
        return FixedStep(y1, k0, (past, count), calls, failed)

    def _predicted(self, h: Array, past: Array, count: Array, *, xp: Any) -> Array:
        return xp.matmul(h * xp.constant(_tables(self.memory_size)[0], past)[count], past)

    def _corrected(
        self, field: Field, h: Array, last: Array, y: Array, past: Array, count: Array, terms: StepSettings, *, xp: Any
    ) -> tuple[Array, Array, Array]:
        """The change of the state, how many turns it took, and whether it was still moving."""
        _, corrector, newest = (xp.constant(table, y) for table in _tables(self.memory_size))
        older = xp.matmul(h * corrector[count], past)
        weight = h * newest[count]
        rtol, atol = (xp.cast(tolerance, y) for tolerance in (terms.rtol, terms.atol))

        def turn(dy: Array, _gap: Array, turns: Array) -> tuple[Array, list[Array]]:
            moved = weight * field(last, y + dy) + older
            allowed = atol + rtol * xp.maximum(abs(dy), abs(moved))
            gap = xp.largest(abs(moved - dy) / allowed)
            return ~(gap < 1), [moved, gap, turns + 1]

        dy = self._predicted(h, past, count, xp=xp)
        dy, gap, turns = xp.loop(turn, int(self.max_iters), True, [dy, xp.largest(abs(dy)), count * 0])
        return dy, turns, ~(gap < 1)
