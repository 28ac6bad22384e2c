"""The search for a shared grid, on error ratios that are known in closed form."""

from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from odelet_export.calibration.grid_search import LIMIT, Density, TriedGrid, merged, smallest_grid
from odelet_export.errors import FormError

steady = settings(derandomize=True, deadline=None, max_examples=25)
START = Density(np.array([0.0, 1.0]), np.array([4.0]))


def shares(positions, wanted):
    """How many steps a sample needs within each step (the integral of its density), and in the whole range."""
    fine = np.linspace(0, 1, 20_001)
    sums = np.concatenate([[0], np.cumsum((wanted(fine[1:]) + wanted(fine[:-1])) / 2 * np.diff(fine))])
    return np.diff(np.interp(positions, fine, sums)), sums[-1]


def ratios_of(*densities, order):
    return lambda positions: np.stack([shares(positions, one)[0] ** order for one in densities], axis=1)


@steady
@given(st.floats(2, 40), st.floats(0, 1), st.floats(0.02, 0.3), st.integers(2, 8))
def test_one_sample_gets_as_few_steps_as_there_can_be(height, middle, width, order):
    """At most a tenth plus one more steps than the density needs, as the limit is a little below 1."""

    def wanted(s):
        return 1 + height * np.exp(-(((s - middle) / width) ** 2))

    grid = smallest_grid(ratios_of(wanted, order=order), START, order=order)
    least = ceil(shares(np.array([0.0, 1.0]), wanted)[1])
    assert least <= grid.steps <= least + 1 + least // 10
    assert grid.ratios.max() <= LIMIT
    assert np.all(np.diff(grid.positions) > 0)
    assert (grid.positions[0], grid.positions[-1]) == (0, 1)


def test_a_shared_grid_has_fewer_steps_than_the_grids_of_all_samples_together():
    def at(middle):
        return lambda s: 1 + 20 * np.exp(-(((s - middle) / 0.1) ** 2))

    middles = (0.4, 0.45, 0.5, 0.55, 0.6)
    each = [smallest_grid(ratios_of(at(m), order=5), START, order=5).steps for m in middles]
    grid = smallest_grid(ratios_of(*map(at, middles), order=5), START, order=5)
    assert max(each) <= grid.steps <= sum(each) / 2
    assert grid.ratios.max() <= LIMIT


def test_a_quantile_leaves_out_the_hardest_samples():
    densities = [lambda s, k=k: np.full_like(s, k) for k in (3, 3, 3, 30)]
    evaluate = ratios_of(*densities, order=5)
    assert smallest_grid(evaluate, START, order=5).steps >= 30
    grid = smallest_grid(evaluate, START, order=5, quantile=0.75)
    assert grid.steps in (3, 4)
    assert grid.worst(0.75) <= LIMIT < grid.worst(1.0)


def test_samples_that_fail_are_left_out_with_a_quantile_and_refused_without_one():
    def evaluate(positions):
        fine = shares(positions, lambda s: 5 + 0 * s)[0] ** 5
        return np.stack([fine, np.full_like(fine, np.inf)], axis=1)

    assert smallest_grid(evaluate, START, order=5, quantile=0.5).steps in (5, 6)
    with pytest.raises(FormError, match="more than 1000 steps .* loosen rtol and atol, lower quantile"):
        smallest_grid(evaluate, START, order=5)


def test_a_grid_has_at_least_the_least_number_of_steps():
    evaluate = ratios_of(lambda s: 2 + 0 * s, order=5)
    assert smallest_grid(evaluate, START, order=5, least=7).steps == 7


def test_merged_grids_are_as_dense_as_the_densest_everywhere():
    density = merged([np.array([0, 0.5, 1.0]), np.array([0, 0.1, 1.0])])
    assert np.array_equal(density.edges, [0, 0.1, 0.5, 1.0])
    assert density.values == pytest.approx([10, 2, 2])
    assert density.spread(3)[0] == 0
    assert len(density.spread(3)) == 4


def test_hardest_returns_the_hardest_samples_of_each_step():
    grid = TriedGrid(np.array([0, 0.5, 1]), np.array([[1.0, 3.0, 2.0], [0.5, 0.1, 0.2]]))
    assert grid.hardest(1) == {0, 1}
