"""Adams methods: explicit (Bashforth), and implicit with a corrector (Moulton).

Steps may have any length, but the coefficients are those of steps of equal length, as in torchdiffeq.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import comb

import numpy as np

from odelet.methods.method import FixedStep, Method, StepSettings, option
from odelet.numerics.backend import Array, Backend, NumpyArray, Scalar
from odelet.numerics.rk import Field, erk_step, stage_times
from odelet.numerics.tableau import RK4

LARGEST_ORDER = 12
# A step that has fewer slopes than this, as the first two steps do, is a step of Kutta's 3/8 rule.
_MIN_SLOPES = 3


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
    """The weights on slopes, from the coefficients g of backward differences.

    These have g_0 = first, and for each m >= 1 the sum of g_i / (m + 1 - i) over i from 0 to m is `rest`.
    """
    differences = [first]
    for m in range(1, count):
        differences.append(rest - sum((g / (m + 1 - i) for i, g in enumerate(differences)), Fraction(0)))
    return tuple(
        sum((g * (-1) ** i * comb(m, i) for m, g in enumerate(differences) if m >= i), Fraction(0))
        for i in range(count)
    )


@cache
def _tables(slots: int) -> tuple[NumpyArray, NumpyArray, NumpyArray]:
    """The weights by the number of slopes at hand, 0 to `slots`, with 0 for slopes that are not at hand.

    Returns the predictor's weights and the corrector's weights on older slopes, each (slots + 1, 1, slots), and the
    corrector's weight on the slope at the end of the step, (slots + 1,).
    """
    predictor, corrector, newest = np.zeros((slots + 1, 1, slots)), np.zeros((slots + 1, 1, slots)), np.zeros(slots + 1)
    for slopes in range(_MIN_SLOPES, slots + 1):
        predictor[slopes, 0, :slopes] = [float(w) for w in bashforth(slopes)]
        newest[slopes], *older = (float(w) for w in moulton(slopes))
        corrector[slopes, 0, :slopes] = older
    return predictor, corrector, newest


@dataclass(frozen=True, kw_only=True)
class Adams(Method):
    """An Adams method; its first two steps are Kutta's 3/8 rule.

    implicit: whether it has a corrector. max_order: one more than the number of slopes it remembers. max_iters: how
    often the corrector iterates at most; it has converged when no element moves by more than the tolerance. When it
    does not converge, the oldest slope is forgotten. Raises ValueError for a max_order or max_iters out of range.
    """

    implicit: bool = option(True)
    order: int | None = 4
    max_order: int = option(LARGEST_ORDER)
    max_iters: int = option(4)

    def __post_init__(self) -> None:
        for name, low, high in (("max_order", 2, LARGEST_ORDER), ("max_iters", 1, 2**31)):
            value = getattr(self, name)
            if int(value) != value or not low <= value <= high:
                raise ValueError(f"{name}={value!r} must be a whole number from {low} to {high}")

    @property
    def slots(self) -> int:
        """The number of slopes that are remembered."""
        return int(self.max_order) - 1

    @property
    def remembers(self) -> bool:
        """Whether as many slopes are remembered as an Adams step needs; if not, all steps are Kutta's 3/8 rule."""
        return self.slots >= _MIN_SLOPES

    @property
    def iterates(self) -> bool:  # type: ignore[override]  # a class variable elsewhere, as it is one for each class
        return self.implicit and self.remembers

    @property
    def uses_tolerances(self) -> bool:  # type: ignore[override]  # as `iterates`
        return self.implicit

    @property
    def evaluations(self) -> int | None:
        return None if self.remembers else RK4.stages

    @property
    def stages(self) -> int | None:
        return None

    def initial_memory(self, y: Array, *, xp: Backend) -> tuple[Array, ...]:
        """The remembered slopes, latest first, (slots, n), all 0 at the start; and the number of slopes at hand."""
        return (xp.concat([y * 0] * self.slots, axis=0), 0) if self.remembers else ()

    def step(
        self,
        field: Field,
        t: Scalar,
        t1: Scalar,
        y: Array,
        memory: tuple[Array, ...],
        settings: StepSettings,
        *,
        xp: Backend,
    ) -> FixedStep:
        first, last = settings.evaluation_times(t, t1, y, xp=xp)
        k0 = field(first, y)

        def kutta(t: Scalar, t1: Scalar, last: Scalar, y: Array, k0: Array) -> Array:
            return erk_step(field, RK4, stage_times(RK4, t, last, t1 - t), y, t1 - t, k0, xp=xp)[0]

        if not memory:
            return FixedStep(kutta(t, t1, last, y, k0), k0, (), self.evaluations, None)
        past = xp.concat([k0, memory[0][: self.slots - 1]], axis=0)
        count = xp.minimum(memory[1] + 1, self.slots)
        early, none = count < _MIN_SLOPES, count * 0
        if not self.implicit:
            y1 = xp.branch(
                early,
                kutta,
                lambda t, t1, _last, y, _k0: y + self._predicted(xp.cast(t1 - t, y), past, count, xp=xp),
                *(t, t1, last, y, k0),
            )
            return FixedStep(y1, k0, (past, count), xp.where(early, RK4.stages, none + 1), None)

        def start(t: Scalar, t1: Scalar, last: Scalar, y: Array, k0: Array) -> tuple[Array, ...]:
            # count < 0 is False as a value of the backend, as both branches must return one.
            return kutta(t, t1, last, y, k0), count, none + RK4.stages, count < 0

        def correct(t: Scalar, t1: Scalar, last: Scalar, y: Array, _k0: Array) -> tuple[Array, ...]:
            dy, turns, failed = self._corrected(field, xp.cast(t1 - t, y), last, y, past, count, settings, xp=xp)
            return y + dy, xp.where(failed, count - 1, count), turns + 1, failed

        y1, count, evaluations, failed = xp.branch(early, start, correct, *(t, t1, last, y, k0))
        return FixedStep(y1, k0, (past, count), evaluations, failed)

    def _predicted(self, h: Scalar, past: Array, count: Scalar, *, xp: Backend) -> Array:
        """The change of the state in a step by the explicit formula, (1, n)."""
        return xp.matmul(h * xp.constant(_tables(self.slots)[0], past)[count], past)

    def _corrected(
        self,
        field: Field,
        h: Scalar,
        last: Scalar,
        y: Array,
        past: Array,
        count: Scalar,
        settings: StepSettings,
        *,
        xp: Backend,
    ) -> tuple[Array, Scalar, Scalar]:
        """The change of the state in a step, (1, n), the number of turns of the corrector, and whether it failed."""
        _, corrector, newest = (xp.constant(table, y) for table in _tables(self.slots))
        older = xp.matmul(h * corrector[count], past)
        weight = h * newest[count]
        rtol, atol = (xp.cast(tolerance, y) for tolerance in (settings.rtol, settings.atol))

        def turn(dy: Array, _gap: Scalar, turns: Scalar) -> tuple[Scalar, list[Array]]:
            moved = weight * field(last, y + dy) + older
            allowed = atol + rtol * xp.maximum(abs(dy), abs(moved))
            gap = xp.largest(abs(moved - dy) / allowed)
            # The test is not `gap >= 1`, as a gap of NaN has not converged.
            return ~(gap < 1), [moved, gap, turns + 1]

        dy = self._predicted(h, past, count, xp=xp)
        dy, gap, turns = xp.loop(turn, int(self.max_iters), True, [dy, xp.largest(abs(dy)), count * 0])
        return dy, turns, ~(gap < 1)
