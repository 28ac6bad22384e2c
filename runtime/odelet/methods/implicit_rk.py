"""Implicit Runge-Kutta methods, with the slopes of their stages found by Broyden's method.

Newton's method was rejected: it needs the Jacobian of the field, which costs a graph of its own and a pass for each
element of the state, and a linear solve, which is not an ONNX operator. Broyden's method needs evaluations of the field
alone. It is also what torchdiffeq does, so that steps which do not converge there do not converge here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from odelet.methods.implicit_tableau import ImplicitTableau
from odelet.methods.method import FixedStep, Method, StepSettings, option
from odelet.numerics.backend import Array, Backend, Scalar
from odelet.numerics.rk import Field, towards_start


class Root(NamedTuple):
    """The result of an iteration for a root. x: the last iterate, (1, n). turns: the number of turns taken.
    unconverged: whether the residual at x is still too large."""

    x: Array
    turns: Scalar
    unconverged: Scalar


def broyden(residual: Callable[[Array], Array], x: Array, *, tolerance: float, limit: int, xp: Backend) -> Root:
    """Solve residual(x) = 0 from a first guess x (1, n), beginning with the identity as Jacobian.

    Ends when the 2-norm of the residual is below `tolerance`, or below the rounding of x, where no other x is better;
    after `limit` turns; or when the Jacobian becomes singular. The inverse Jacobian is kept as a list of rank-one
    updates, by the formula of Sherman and Morrison: no linear solve, no n x n matrix, and in exact arithmetic the
    iterates of torchdiffeq. Source: Broyden, Math. Comp. 19 (1965); Kelley, Iterative Methods for Linear and Nonlinear
    Equations, sec. 7.3.
    """
    unit, _ = xp.rounding(x)

    def square(row: Array) -> Scalar:
        return xp.reshape(xp.matmul(row, xp.transpose(row)), ())

    def large(r: Array, x: Array) -> Scalar:
        return ~(square(r) < xp.maximum(tolerance**2, square(x - r) * (4 * unit) ** 2))

    def turn(x: Array, r: Array, s: Array, steps: Array, duals: Array) -> tuple[Scalar, list[Array]]:
        x1 = x + s
        r1 = residual(x1)
        # With H the inverse: dual = H' s / s.s, so that the updated inverse is H + (next step) dual'.
        dual = (s + xp.matmul(xp.matmul(s, xp.transpose(steps)), duals)) / square(s)
        direction = r1 + xp.matmul(xp.matmul(r1, xp.transpose(duals)), steps)
        slant = 1 + xp.reshape(xp.matmul(dual, xp.transpose(r1)), ())
        s1 = -direction / slant
        go_on = large(r1, x1) & (abs(slant) > 0)
        return go_on, [x1, r1, s1, xp.concat([steps, s1], axis=0), xp.concat([duals, dual], axis=0)]

    r = residual(x)
    # The lists of updates begin with a row of zeros, which adds nothing to the products, so that no list is empty.
    zero = xp.resizable(r * 0)
    x, r, _, steps, _ = xp.loop(turn, limit, large(r, x), [x, r, -r, zero, zero])
    return Root(x, xp.row_count(steps) - 1, large(r, x))


@dataclass(frozen=True, kw_only=True)
class ImplicitRK(Method):
    """An implicit Runge-Kutta method. max_iters: how many turns the iteration for the slopes of the stages may take.

    The norm of the residual is over the whole state, batch included, and its tolerance is absolute: 1e-8 in float64,
    1e-6 in float32. rtol and atol play no part. All this is as in torchdiffeq (GitHub, 657943a).
    """

    tableau: ImplicitTableau
    max_iters: int = option(100)

    def __post_init__(self) -> None:
        if int(self.max_iters) != self.max_iters or not 1 <= self.max_iters < 2**31:
            raise ValueError(f"max_iters={self.max_iters!r} must be a whole number, at least 1")

    iterates = True

    @classmethod
    def of(cls, tableau: ImplicitTableau) -> ImplicitRK:
        """The method of a tableau."""
        return cls(name=tableau.name, order=tableau.order, source=tableau.source, tableau=tableau)

    @property
    def stages(self) -> int:
        return self.tableau.stages

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
        # Times are rounded to the state's dtype before the stages use them, and stages at node 1 are always evaluated
        # just before the end of the step: both as in torchdiffeq.
        first, _ = settings.evaluation_times(t, t1, y, xp=xp)
        start, h = xp.cast(t, y), xp.cast(t1 - t, y)
        end = towards_start(xp.cast(t1, y), xp.cast(settings.direction, y), xp=xp, like=y)
        k0 = field(first, y)
        ks = [k0] * self.stages
        evaluations: Scalar = 1
        unconverged: Scalar = None
        for block in self.tableau.blocks:
            times = [end if self.tableau.c[stage] == 1 else start + self.tableau.c[stage] * h for stage in block]
            root = self._solve(field, times, h, y, k0, ks, block, xp=xp)
            for stage, k in zip(block, _split(root.x, len(block), xp=xp), strict=True):
                ks[stage] = k
            evaluations = evaluations + (root.turns + 1) * len(block)
            unconverged = root.unconverged if unconverged is None else unconverged | root.unconverged
        return FixedStep(xp.combine(y, h, self.tableau.b, ks), k0, (), evaluations, unconverged)

    def _solve(
        self,
        field: Field,
        times: Sequence[Scalar],
        h: Scalar,
        y: Array,
        k0: Array,
        ks: Sequence[Array],
        block: Sequence[int],
        *,
        xp: Backend,
    ) -> Root:
        """The slopes of the stages of a block, side by side in one row, (1, stages * n).

        times: the times of these stages. ks: the slopes of all stages; the slopes of earlier blocks are already solved.
        """

        def residual(x: Array) -> Array:
            tried = list(ks)
            for stage, k in zip(block, _split(x, len(block), xp=xp), strict=True):
                tried[stage] = k
            slopes = [
                field(time, xp.combine(y, h, self.tableau.a[stage], tried))
                for stage, time in zip(block, times, strict=True)
            ]
            return x - (slopes[0] if len(slopes) == 1 else xp.concat(slopes, axis=1))

        guess = k0 if len(block) == 1 else xp.concat([k0] * len(block), axis=1)
        unit, _ = xp.rounding(y)
        tolerance = 1e-8 if unit < 1e-10 else 1e-6
        return broyden(residual, guess, tolerance=tolerance, limit=int(self.max_iters), xp=xp)


def _split(x: Array, count: int, *, xp: Backend) -> list[Array]:
    """The `count` rows (1, n) that lie side by side in a row (1, count * n)."""
    if count == 1:
        return [x]
    block = xp.reshape(x, (count, -1))
    return [block[i : i + 1] for i in range(count)]
