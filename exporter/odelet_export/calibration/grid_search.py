"""The search for one grid of steps that many samples can share, with as few steps as possible.

A step of length h with the error ratio r could have been h * r**(-1/order) long, so r**(1/order) / h steps are wanted
for each unit of time there. Steps that each hold the same share of that density have the same error
(de Boor, Good approximation by splines with variable knots, 1973).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from odelet_export.errors import FormError

# The limit of error ratios is a little below 1, so that rounding on another machine puts no calibration sample above 1.
LIMIT = 0.99
# A grid of a given number of steps is placed again this often, from the error ratios on the last grid. A number of
# steps is given up when the density asks for more than _HOPELESS times as many.
_ROUNDS = 8
_HOPELESS = 1.2
MOST_STEPS = 1000

# The error ratios (steps, samples) on a grid of positions (steps + 1,).
Evaluate = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Density:
    """The number of steps wanted for each unit of normalised time, constant between the edges.

    edges: (n + 1,), from 0 to 1. values: (n,).
    """

    edges: np.ndarray
    values: np.ndarray

    @property
    def total(self) -> float:
        """The number of steps wanted from 0 to 1."""
        return float(np.sum(np.diff(self.edges) * self.values))

    def spread(self, steps: int) -> np.ndarray:
        """The positions (steps + 1,) of steps that hold equal shares of the density."""
        sums = np.concatenate([[0.0], np.cumsum(np.diff(self.edges) * self.values)])
        positions: np.ndarray = np.interp(np.linspace(0, sums[-1], steps + 1), sums, self.edges)
        positions[0], positions[-1] = 0.0, 1.0
        return positions


@dataclass(frozen=True)
class TriedGrid:
    """A grid that was tried. positions: (steps + 1,), from 0 to 1. ratios: (steps, samples), the error ratios."""

    positions: np.ndarray
    ratios: np.ndarray

    @property
    def steps(self) -> int:
        """The number of steps."""
        return len(self.ratios)

    def worst(self, quantile: float) -> float:
        """The largest ratio of the samples that count: the share `quantile` of samples with the smallest ratios."""
        return float(self.ratios.max(axis=0)[self._counting(quantile)].max())

    def hardest(self, count: int) -> set[int]:
        """The numbers of the samples with the largest ratios, `count` for each step."""
        return set(np.argsort(-self.ratios, axis=1)[:, :count].ravel().tolist())

    def _counting(self, quantile: float) -> np.ndarray:
        """The numbers of the samples that count."""
        largest = self.ratios.max(axis=0)
        # Without the 1e-9, rounding would make one sample more of 0.1 * 30, which is a little above 3.
        return np.argsort(largest, kind="stable")[: max(ceil(quantile * largest.size - 1e-9), 1)]

    def density(self, quantile: float, order: int) -> Density:
        """The density of steps that the ratios of the samples that count ask for."""
        each = self.ratios[:, self._counting(quantile)].max(axis=1)
        h = np.diff(self.positions)
        # Where the error ratio is almost 0 a step may be longer, but not without limit.
        wanted = np.clip(each, 1e-10, 1e10) ** (1 / order) / h
        return Density(self.positions, np.maximum(wanted, 0.02 * wanted.max()))


def merged(grids: Sequence[np.ndarray]) -> Density:
    """The largest density of some grids, (steps + 1,) each: it is dense enough for the solve of each grid."""
    edges = np.unique(np.concatenate(grids))
    middles = (edges[1:] + edges[:-1]) / 2
    each = [(1 / np.diff(grid))[np.searchsorted(grid, middles) - 1] for grid in grids]
    return Density(edges, np.max(each, axis=0))


def smallest_grid(
    evaluate: Evaluate, start: Density, *, order: int, quantile: float = 1.0, least: int = 1
) -> TriedGrid:
    """The grid with the fewest steps on which the ratios of a share `quantile` of the samples stay within LIMIT.

    evaluate: gives the ratios (steps, samples) on a grid, infinite where a solve fails. start: a first guess of the
    density. order: the method's order. least: the smallest number of steps. Bisects the number of steps, and places
    each number of steps by the density that the ratios ask for. Raises FormError when MOST_STEPS are too few.
    """
    failed, steps, density = least - 1, max(ceil(start.total), least), start
    while True:
        best = _placed(evaluate, density, steps, order, quantile)
        density = _better(best, density, quantile, order)
        if best.worst(quantile) <= LIMIT:
            break
        failed = steps
        if steps >= MOST_STEPS:
            raise FormError(
                f"bounded takes more than {MOST_STEPS} steps to stay within the tolerance on the calibration data; "
                "loosen rtol and atol, lower quantile, or export as adaptive or driven"
            )
        steps = min(max(steps + 1, min(ceil(density.total), 2 * steps)), MOST_STEPS)
    while best.steps - failed > 1:
        guess = ceil(best.density(quantile, order).total)
        steps = min(max(guess, failed + 1), best.steps - 1)
        tried = _placed(evaluate, best.density(quantile, order), steps, order, quantile)
        if tried.worst(quantile) <= LIMIT:
            best = tried
        else:
            failed = steps
    return best


def _better(tried: TriedGrid, density: Density, quantile: float, order: int) -> Density:
    """The density that the last grid asks for; the earlier density where the solve failed on that grid."""
    return tried.density(quantile, order) if np.isfinite(tried.worst(quantile)) else density


def _placed(evaluate: Evaluate, density: Density, steps: int, order: int, quantile: float) -> TriedGrid:
    """The best grid of a given number of steps that was found."""
    best: TriedGrid | None = None
    stale = 0
    for _ in range(_ROUNDS):
        positions = density.spread(steps)
        tried = TriedGrid(positions, evaluate(positions))
        worst = tried.worst(quantile)
        stale = 0 if best is None or worst < 0.98 * best.worst(quantile) else stale + 1
        if best is None or worst < best.worst(quantile):
            best = tried
        density = _better(tried, density, quantile, order)
        if worst <= LIMIT or stale > 2 or not np.isfinite(worst) or density.total > _HOPELESS * steps:
            break
    assert best is not None
    return best
