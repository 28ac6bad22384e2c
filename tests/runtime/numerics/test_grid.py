"""The time grid of a fixed-step solve equals that of torchdiffeq, to the last bit."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torchdiffeq._impl.solvers import FixedGridODESolver

from odelet.numerics.backend import NUMPY
from odelet.numerics.grid import Grid

steady = settings(derandomize=True, deadline=None, max_examples=200)
DTYPES = {"float32": torch.float32, "float64": torch.float64}


def points(grid, t, dtype="float64"):
    t = np.array(t, dtype)
    direction = t.dtype.type(-1 if t[0] > t[-1] else 1)
    return grid.points(t, direction=direction, xp=NUMPY)


def theirs(step_size, t, dtype):
    """The grid of torchdiffeq, which needs times that run forward."""
    t = np.array(t, dtype)
    sign = -1 if t[0] > t[-1] else 1
    make = FixedGridODESolver._grid_constructor_from_step_size(step_size)
    return sign * make(None, None, torch.from_numpy(sign * t)).numpy()


def test_without_settings_the_grid_is_the_output_times():
    t = np.array([0.0, 0.3, 1.0])
    assert Grid().at_outputs
    assert points(Grid(), t) is not None
    assert Grid().points(t, direction=1.0, xp=NUMPY) is t


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("step_size", "t"),
    [
        (0.3, [0, 1]),
        (0.25, [0, 1]),
        (0.1, [0, 0.5, 1]),
        (0.3, [1, 0]),
        (0.1, [0.7, 0.2, -0.3]),
        (5.0, [0, 1]),
        (0.7, [0, 2.1]),  # 2.1 / 0.7 is a little more than 3, but adding 1 rounds it to 4
        (1.0, [0, 1]),
        (1e-3, [2, 2.05]),
        (0.7, [3]),
    ],
)
def test_steps_have_the_given_size(step_size, t, dtype):
    grid = points(Grid(step_size=step_size), t, dtype)
    assert grid.dtype == dtype
    assert np.array_equal(grid, theirs(step_size, t, dtype))


def test_the_last_step_is_shorter():
    assert points(Grid(step_size=0.3), [0, 1]) == pytest.approx([0, 0.3, 0.6, 0.9, 1], rel=1e-15)
    assert points(Grid(step_size=0.3), [1, 0]) == pytest.approx([1, 0.7, 0.4, 0.1, 0], rel=1e-15)


@pytest.mark.parametrize("dtype", DTYPES)
@steady
@given(st.floats(-100, 100, width=32), st.floats(-100, 100, width=32), st.floats(0.015625, 1000, width=32))
def test_grids_of_any_step_size_equal_those_of_torchdiffeq(dtype, start, end, step_size):
    # torchdiffeq refuses a range so short beside the step that the grid has one point.
    assume(abs(end - start) > 1e-6 * step_size)
    grid = points(Grid(step_size=step_size), [start, end], dtype)
    assert np.array_equal(grid, theirs(step_size, [start, end], dtype))
    assert (grid[0], grid[-1]) == (np.dtype(dtype).type(start), np.dtype(dtype).type(end))


@steady
@given(st.floats(-100, 100), st.floats(-100, 100), st.integers(1, 40))
def test_a_grid_has_the_given_number_of_equal_steps(start, end, steps):
    assume(abs(start - end) > 1e-6)
    grid = points(Grid(steps=steps), [start, end])
    assert grid.size == steps + 1
    assert (grid[0], grid[-1]) == (start, end)
    assert grid == pytest.approx(np.linspace(start, end, steps + 1), rel=0, abs=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"step_size": 0.1, "steps": 3}, r"step_size=0\.1 and steps=3 exclude each other"),
        ({"step_size": 0.0}, r"step_size=0\.0 must be positive and finite"),
        ({"step_size": -0.1}, "must be positive and finite"),
        ({"step_size": math.inf}, "step_size=inf must be positive and finite"),
        ({"step_size": math.nan}, "step_size=nan must be positive and finite"),
        ({"steps": 0}, "steps=0 must be a whole number, at least 1"),
        ({"steps": 2.5}, r"steps=2\.5 must be a whole number"),
        ({"steps": -1}, "steps=-1 must be a whole number"),
    ],
)
def test_grids_that_cannot_work_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Grid(**arguments)
