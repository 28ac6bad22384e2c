"""Fixed points: z with z = f(z), by iterating f, plainly or with Anderson's acceleration.

The law here: an iteration is a turn repeated, and a turn changes nothing once its end is reached. A loop that stops
and a loop of a fixed number of turns so give the same answer, and no sample's depends on those it shares a batch with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

from odelet.methods.method import Method
from odelet.numerics.backend import Array
from odelet.numerics.state import Layout
from odelet.status import Status

INFINITY = float("inf")


@dataclass(frozen=True, kw_only=True)
class Iteration(Method):
    """A way to find z with z = f(z). tau: how far to go from z to what the method proposes, 1 for all the way."""

    order: int | None = None
    tau: float = field(default=1.0, metadata={"option": True})

    fixed: ClassVar[bool] = False
    iterates: ClassVar[bool] = True
    uses_tolerances: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.tau <= 1:
            raise ValueError(f"tau={self.tau!r} must be above 0 and at most 1")

    @property
    def needs_loop(self) -> None:
        """None: a turn past the end changes nothing, so that a fixed number of turns does as well as a loop."""
        return None

    def initial_memory(self, y: Array, *, xp: Any) -> tuple[Array, ...]:
        """What the first turn remembers, rows (any, n)."""
        return ()

    def propose(
        self, z: Array, fz: Array, memory: Sequence[Array], *, layout: Layout, xp: Any
    ) -> tuple[Array, list[Array]]:
        """Where to call f next, a row (1, n), and what to remember. z, fz: the last call and what it gave."""
        raise NotImplementedError


class FixedPoint(Iteration):
    """Plain iteration: z + tau * (f(z) - z)."""

    def propose(
        self, z: Array, fz: Array, memory: Sequence[Array], *, layout: Layout, xp: Any
    ) -> tuple[Array, list[Array]]:
        return (fz if self.tau == 1 else z + self.tau * (fz - z)), []


@dataclass(frozen=True, kw_only=True)
class Anderson(Iteration):
    """Anderson's acceleration: the combination of the last m calls, with weights that sum to 1, whose change is least.

    m: calls combined; 1 is plain iteration. lam: how much the weights are held back, relative to the size of each
    change, so that it means the same at the start and near the end. The weights solve (G G' + lam diag(G G')) w = 1, up
    to a factor, for the changes G (m, n): an m x m positive definite system, one for each sample where samples are
    solved each on its own. It is eliminated without pivots, in `+ - * /`, as ONNX has no linear solve.
    """

    m: int = field(default=6, metadata={"option": True})
    lam: float = field(default=1e-4, metadata={"option": True})

    def __post_init__(self) -> None:
        super().__post_init__()
        if int(self.m) != self.m or not 1 <= self.m <= 16:
            raise ValueError(f"m={self.m!r} must be a whole number from 1 to 16")
        if not 0 <= self.lam < INFINITY:
            raise ValueError(f"lam={self.lam!r} must be finite and not negative")

    def initial_memory(self, y: Array, *, xp: Any) -> tuple[Array, ...]:
        nothing = xp.concat([y * 0] * int(self.m), axis=0)
        return nothing, nothing

    def propose(
        self, z: Array, fz: Array, memory: Sequence[Array], *, layout: Layout, xp: Any
    ) -> tuple[Array, list[Array]]:
        m, change = int(self.m), fz - z
        proposed = fz if self.tau == 1 else z + self.tau * change
        # The newest first; the oldest goes.
        kept = [
            xp.concat([new, old[: m - 1]], axis=0) if m > 1 else new
            for new, old in zip((proposed, change), memory, strict=True)
        ]
        proposals, changes = (layout.tables(rows, m, xp=xp) for rows in kept)
        weights = self._weights(changes, xp=xp)
        tables = [xp.sum(table * xp.reshape(weights, (m, -1, 1)), axis=0) for table in proposals]
        return layout.from_tables(tables, xp=xp), kept

    def _weights(self, changes: Sequence[Array], *, xp: Any) -> Array:
        """(m, samples), of changes (m, samples, width) for each part of the state. Those not made yet are zero and
        weigh nothing."""
        m = int(self.m)
        products = [xp.matmul(xp.transpose(part, (1, 0, 2)), xp.transpose(part, (1, 2, 0))) for part in changes]
        gram = xp.transpose(_total(products), (1, 2, 0))
        eye = xp.constant([[[float(i == j)] for j in range(m)] for i in range(m)], gram)
        sizes = xp.sum(gram * eye, axis=1)
        made = sizes > 0
        held = xp.where(made, sizes * self.lam, sizes * 0 + 1)
        ones = xp.where(made, sizes * 0 + 1, sizes * 0)
        system = xp.concat([gram + eye * xp.reshape(held, (m, 1, -1)), xp.reshape(ones, (m, 1, -1))], axis=1)
        weights = solve_by_elimination(system, m, xp=xp)
        total = xp.sum(weights, axis=0)
        # Without lam, changes that depend on each other leave no weights, and the last call goes on alone.
        newest = xp.constant([[float(i == 0)] for i in range(m)], gram)
        return xp.where((abs(total) > 0) & (abs(total) < INFINITY), weights / total, newest)


def solve_by_elimination(system: Array, m: int, *, xp: Any) -> Array:
    """The solutions (m, count) of `count` systems of m equations, (m, m + 1, count), the last column the right side.

    Gauss and Jordan's elimination without pivots, which positive definite matrices do not need: Higham, Accuracy and
    Stability of Numerical Algorithms, sec. 10.1 and 14.4. The systems lie along the last axis, so that each operation
    is one for all of them.
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
    """What a turn hands to the next. z, best: rows (1, n), where f is called next and what it gave where it changed
    its argument least. excess: by how much the last change was larger than allowed, least: the smallest of these;
    turns: how many were taken, in the state's dtype; scalars, or (samples,). memory: the method's."""

    z: Array
    best: Array
    excess: Array
    least_excess: Array
    turns: Array
    memory: Sequence[Array]

    def flat(self) -> list[Array]:
        """All arrays in a row, as a loop carries them."""
        return [*self[:5], *self.memory]

    @classmethod
    def of(cls, arrays: Sequence[Array]) -> IterationState:
        """What `flat` made a row of."""
        z, best, excess, least_excess, turns, *memory = arrays
        return cls(z, best, excess, least_excess, turns, memory)

    @property
    def running(self) -> Array:
        """Whether the end is not reached: neither close enough, nor infinite or NaN."""
        return (self.excess > 0) & (self.excess < INFINITY)

    @property
    def converged(self) -> Array:
        return self.least_excess <= 0

    @property
    def not_finite(self) -> Array:
        """Whether something became infinite or NaN."""
        return ~(self.excess < INFINITY)


Map = Callable[[Array], Array]


def initial_state(method: Iteration, z: Array, *, layout: Layout, xp: Any) -> IterationState:
    """The state before the first turn, at a first guess z (1, n)."""
    # Zero, or NaN for a guess that is not finite, which ends the iteration.
    zero = replace(layout, user_norm=None).norm(z * 0, xp=xp)
    none = xp.where(zero < INFINITY, zero, xp.cast(0.0, zero))
    return IterationState(z, z, zero + 1, zero + INFINITY, none, method.initial_memory(z, xp=xp))


def take_turn(
    method: Iteration, f: Map, state: IterationState, *, rtol: Array, atol: Array, layout: Layout, xp: Any
) -> IterationState:
    """Call f once, on a row (1, n), and take what it gives where the end is not reached.

    Converged is where the norm of f(z) - z is at most atol + rtol * norm of f(z); the answer is then f(z).
    """
    z, going = state.z, state.running
    fz = f(z)
    allowed = xp.cast(atol, state.excess) + xp.cast(rtol, state.excess) * layout.norm(fz, xp=xp)
    excess = layout.norm(fz - z, xp=xp) - allowed
    proposed, memory = method.propose(z, fz, state.memory, layout=layout, xp=xp)
    better = going & (excess < state.least_excess)
    return IterationState(
        layout.select(going, proposed, z, xp=xp),
        layout.select(better, fz, state.best, xp=xp),
        xp.where(going, excess, state.excess),
        xp.where(better, excess, state.least_excess),
        xp.where(going, state.turns + 1, state.turns),
        memory,
    )


def iterate(
    method: Iteration,
    f: Map,
    z: Array,
    *,
    rtol: Array,
    atol: Array,
    limit: Array,
    layout: Layout,
    xp: Any,
    stops: bool = True,
) -> IterationState:
    """Take turns from a first guess z (1, n) until all samples are at their end, and at most `limit`.

    stops: whether the loop ends there, or goes on to the limit, where its turns change nothing any more.
    """

    def body(*arrays: Array) -> tuple[Array, list[Array]]:
        after = take_turn(method, f, IterationState.of(arrays), rtol=rtol, atol=atol, layout=layout, xp=xp)
        return (xp.any(after.running) if stops else True), after.flat()

    first = initial_state(method, z, layout=layout, xp=xp)
    return IterationState.of(xp.loop(body, limit, xp.any(first.running) if stops else True, first.flat()))


def status_code(state: IterationState, *, xp: Any) -> Array:
    """How an iteration ended, as the code of a status."""
    failed = xp.where(state.not_finite, Status.NOT_FINITE.value, Status.NOT_CONVERGED.value)
    return xp.where(state.converged, Status.OK.value, failed)
