"""Fixed points: z with z = f(z), by iterating f, plainly or with Anderson's acceleration.

An iteration is a turn repeated, and a turn changes nothing for a sample whose iteration has ended. So a loop that stops
and a loop of a fixed number of turns give the same answer, and no sample's answer depends on the rest of its batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

from odelet.methods.method import Method, option
from odelet.numerics.backend import Array, Backend, Scalar, StateBackend
from odelet.numerics.state import Layout
from odelet.status import Status

INFINITY = float("inf")


@dataclass(frozen=True, kw_only=True)
class Iteration(Method):
    """A method that finds z with z = f(z).

    tau: the share of the way from z to the method's proposal that a turn goes, 1 for all of it. Raises ValueError for a
    tau that is not above 0 and at most 1.
    """

    order: int | None = None
    tau: float = option(1.0)

    fixed: ClassVar[bool] = False
    iterates: ClassVar[bool] = True
    uses_tolerances: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.tau <= 1:
            raise ValueError(f"tau={self.tau!r} must be above 0 and at most 1")

    @property
    def needs_loop(self) -> None:
        """None: a turn after the end changes nothing, so that a fixed number of turns does as well as a loop."""
        return None

    def initial_memory(self, y: Array, *, xp: StateBackend) -> tuple[Array, ...]:
        """The memory that the first turn receives, rows (any, n). y: the first guess, (1, n)."""
        return ()

    def propose(
        self, z: Array, fz: Array, memory: Sequence[Array], *, layout: Layout, xp: StateBackend
    ) -> tuple[Array, Sequence[Array]]:
        """The row (1, n) to evaluate f at next, and the memory of the next turn. z, fz: a row and f there, (1, n)."""
        raise NotImplementedError


class FixedPoint(Iteration):
    """Plain iteration: z + tau * (f(z) - z)."""

    def propose(
        self, z: Array, fz: Array, memory: Sequence[Array], *, layout: Layout, xp: StateBackend
    ) -> tuple[Array, Sequence[Array]]:
        return (fz if self.tau == 1 else z + self.tau * (fz - z)), ()


@dataclass(frozen=True, kw_only=True)
class Anderson(Iteration):
    """Anderson's acceleration: the combination of the last m evaluations whose change is smallest.

    The weights of the combination sum to 1. m: how many evaluations are combined; 1 is plain iteration. lam: how
    strongly the weights are regularised, relative to the size of each change, so that it means the same at the start of
    an iteration and near its end. The weights solve (G G' + lam diag(G G')) w = 1, up to a factor, for the changes
    G (m, n): an m x m positive definite system, one for each sample where samples are solved each on its own. Raises
    ValueError for an m or a lam out of range.
    """

    m: int = option(6)
    lam: float = option(1e-4)

    def __post_init__(self) -> None:
        super().__post_init__()
        if int(self.m) != self.m or not 1 <= self.m <= 16:
            raise ValueError(f"m={self.m!r} must be a whole number from 1 to 16")
        if not 0 <= self.lam < INFINITY:
            raise ValueError(f"lam={self.lam!r} must be finite and not negative")

    def initial_memory(self, y: Array, *, xp: StateBackend) -> tuple[Array, ...]:
        """The last m proposals and the last m changes, latest first, each (m, n); all 0 at the start."""
        zeros = xp.concat([y * 0] * int(self.m), axis=0)
        return zeros, zeros

    def propose(
        self, z: Array, fz: Array, memory: Sequence[Array], *, layout: Layout, xp: StateBackend
    ) -> tuple[Array, Sequence[Array]]:
        m, change = int(self.m), fz - z
        proposed = fz if self.tau == 1 else z + self.tau * change
        remembered = [
            xp.concat([newest, older[: m - 1]], axis=0) if m > 1 else newest
            for newest, older in zip((proposed, change), memory, strict=True)
        ]
        proposals, changes = (layout.tables(rows, m, xp=xp) for rows in remembered)
        weights = self._weights(changes, xp=xp)
        tables = [xp.sum(table * xp.reshape(weights, (m, -1, 1)), axis=0) for table in proposals]
        return layout.from_tables(tables, xp=xp), remembered

    def _weights(self, changes: Sequence[Array], *, xp: StateBackend) -> Array:
        """The weights (m, samples) of changes, one table (m, samples, width) for each part of the state.

        Changes that were not made yet are 0, and so is their weight.
        """
        m = int(self.m)
        products = [xp.matmul(xp.transpose(part, (1, 0, 2)), xp.transpose(part, (1, 2, 0))) for part in changes]
        gram = xp.transpose(_total(products), (1, 2, 0))
        eye = xp.constant([[[float(i == j)] for j in range(m)] for i in range(m)], gram)
        sizes = xp.sum(gram * eye, axis=1)
        # The equation of a change that was not made becomes 1 * w = 0.
        filled = sizes > 0
        diagonal = xp.where(filled, sizes * self.lam, sizes * 0 + 1)
        ones = xp.where(filled, sizes * 0 + 1, sizes * 0)
        system = xp.concat([gram + eye * xp.reshape(diagonal, (m, 1, -1)), xp.reshape(ones, (m, 1, -1))], axis=1)
        weights = solve_by_elimination(system, m, xp=xp)
        total = xp.sum(weights, axis=0)
        # Without lam, linearly dependent changes leave no finite weights; the last evaluation then goes on alone.
        newest = xp.constant([[float(i == 0)] for i in range(m)], gram)
        return xp.where((abs(total) > 0) & (abs(total) < INFINITY), weights / total, newest)


def solve_by_elimination(system: Array, m: int, *, xp: StateBackend) -> Array:
    """The solutions (m, count) of `count` systems of m equations, (m, m + 1, count), the last column the right side.

    This is Gauss and Jordan's elimination in `+ - * /`, as ONNX has no linear solve. It does without pivots, which
    positive definite matrices do not need: Higham, Accuracy and Stability of Numerical Algorithms, sec. 10.1 and 14.4.
    The systems lie along the last axis, so that each operation works on all of them at once.
    """
    for k in range(m):
        row = system[k]
        row = row / row[k]
        unit = xp.constant([[float(i == k)] for i in range(m)], system)
        column = xp.reshape(xp.take(system, k, axis=1) - unit, (m, 1, -1))
        system = system - column * row
    return xp.take(system, m, axis=1)


def _total(arrays: Sequence[Array]) -> Array:
    total = arrays[0]
    for array in arrays[1:]:
        total = total + array
    return total


ITERATIONS: dict[str, Iteration] = {
    method.name: method
    for method in (
        FixedPoint(name="fixed_point", source="Banach 1922; Kelley, Iterative Methods, sec. 4.1"),
        Anderson(name="anderson", source="Anderson, J. ACM 12 (1965); Walker & Ni, SIAM J. Numer. Anal. 49 (2011)"),
    )
}


class IterationState(NamedTuple):
    """The state of an iteration that one turn passes to the next.

    z: where f is evaluated next, (1, n). best: the value of f where it was closest to its argument, (1, n). excess: by
    how much the last change was larger than the tolerances allow. least_excess: the smallest excess of all turns.
    turns: how many turns were taken, in the state's dtype. These three are scalars, or (samples,). memory: what the
    method remembers, rows (any, n).
    """

    z: Array
    best: Array
    excess: Scalar
    least_excess: Scalar
    turns: Scalar
    memory: Sequence[Array]

    def flat(self) -> list[Array]:
        """All arrays of the state in one list, as a loop carries them."""
        return [*self[:5], *self.memory]

    @classmethod
    def of(cls, arrays: Sequence[Array]) -> IterationState:
        """The state of a list that `flat` made."""
        z, best, excess, least_excess, turns, *memory = arrays
        return cls(z, best, excess, least_excess, turns, memory)

    @property
    def running(self) -> Scalar:
        """Whether the iteration has not ended: it has neither converged nor become infinite or NaN."""
        return (self.excess > 0) & (self.excess < INFINITY)

    @property
    def converged(self) -> Scalar:
        """Whether the change was within the tolerances in some turn."""
        return self.least_excess <= 0

    @property
    def not_finite(self) -> Scalar:
        """Whether the last change became infinite or NaN."""
        return ~(self.excess < INFINITY)


# The function f in z = f(z): it takes a row (1, n) and returns a row (1, n).
Map = Callable[[Array], Array]


def initial_state(method: Iteration, z: Array, *, layout: Layout, xp: StateBackend) -> IterationState:
    """The state before the first turn, at a first guess z (1, n)."""
    # The sum is zero, or NaN for a guess that is not finite, so that its iteration ends before the first turn.
    zero = replace(layout, user_norm=None).norm(z * 0, xp=xp)
    no_turns = xp.where(zero < INFINITY, zero, xp.cast(0.0, zero))
    return IterationState(z, z, zero + 1, zero + INFINITY, no_turns, method.initial_memory(z, xp=xp))


def take_turn(
    method: Iteration,
    f: Map,
    state: IterationState,
    *,
    rtol: Scalar,
    atol: Scalar,
    layout: Layout,
    xp: StateBackend,
) -> IterationState:
    """Evaluate f once, and return the next state; the values of samples whose iteration has ended stay as they are.

    An iteration has converged when the norm of f(z) - z is at most atol + rtol * (norm of f(z)); its answer is f(z).
    """
    z, running = state.z, state.running
    fz = f(z)
    allowed = xp.cast(atol, state.excess) + xp.cast(rtol, state.excess) * layout.norm(fz, xp=xp)
    excess = layout.norm(fz - z, xp=xp) - allowed
    proposed, memory = method.propose(z, fz, state.memory, layout=layout, xp=xp)
    better = running & (excess < state.least_excess)
    return IterationState(
        layout.select(running, proposed, z, xp=xp),
        layout.select(better, fz, state.best, xp=xp),
        xp.where(running, excess, state.excess),
        xp.where(better, excess, state.least_excess),
        xp.where(running, state.turns + 1, state.turns),
        memory,
    )


def iterate(
    method: Iteration,
    f: Map,
    z: Array,
    *,
    rtol: Scalar,
    atol: Scalar,
    limit: Scalar,
    layout: Layout,
    xp: StateBackend,
    stops: bool = True,
) -> IterationState:
    """The last state of an iteration from a first guess z (1, n), after at most `limit` turns.

    stops: whether the loop ends when the iterations of all samples have ended; if not, it goes on to the limit, and its
    turns change nothing any more.
    """

    def body(*arrays: Array) -> tuple[Scalar, list[Array]]:
        after = take_turn(method, f, IterationState.of(arrays), rtol=rtol, atol=atol, layout=layout, xp=xp)
        return (xp.any(after.running) if stops else True), after.flat()

    first = initial_state(method, z, layout=layout, xp=xp)
    return IterationState.of(xp.loop(body, limit, xp.any(first.running) if stops else True, first.flat()))


def status_code(state: IterationState, *, xp: Backend) -> Scalar:
    """The code of the `Status` with which an iteration ended; (samples,) where each sample is solved on its own."""
    failed = xp.where(state.not_finite, Status.NOT_FINITE.value, Status.NOT_CONVERGED.value)
    return xp.where(state.converged, Status.OK.value, failed)
