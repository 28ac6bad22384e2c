"""Functions of the solver give the same numbers as nodes of a graph and on numpy arrays."""

import numpy as np
import pytest
from support.emitted import DTYPES, ROW, emitted, run
from support.rosters import ADAPTIVE, RATIOS

from odelet.numerics.adaptive_step import attempt, first_length, first_slope, slope_after_jump
from odelet.numerics.backend import NUMPY
from odelet.numerics.control import CONTROLLERS, Control, judge, stop_at
from odelet.numerics.grid import Grid
from odelet.numerics.interpolation import linear, quartic
from odelet.numerics.rk import erk_step, stage_times, towards_start
from odelet.numerics.state import Layout
from odelet.numerics.tableau import TABLEAUS
from odelet_export.graphs.emit import ONNX


def wave(xp, t, y):
    """A field for both backends."""
    return y * 0.5 + t * t - abs(y) * y * 0.25


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("known", [False, True], ids=["first slope evaluated", "first slope known"])
@pytest.mark.parametrize("tableau", TABLEAUS.values(), ids=TABLEAUS)
def test_a_step_in_a_graph_equals_the_step_in_numpy(tableau, known, dtype):
    number = np.dtype(dtype).type
    y, t, h = ROW.astype(dtype), number(0.3), number(0.1)
    k0 = [wave(NUMPY, t, y)] if known else []

    def step(xp, t, t1, h, y, k0=None):
        y1, ks = erk_step(lambda t, y: wave(xp, t, y), tableau, stage_times(tableau, t, t1, h), y, h, k0, xp=xp)
        return [y1, *ks]

    expected = step(NUMPY, t, t + h, h, y, *k0)
    results, _ = run(lambda *values: step(ONNX, *values), t, t + h, h, y, *k0)
    for actual, wanted in zip(results, expected, strict=True):
        assert actual.dtype == dtype
        assert actual == pytest.approx(wanted, rel=10 * float(np.finfo(dtype).eps), abs=10 * float(np.finfo(dtype).eps))


@pytest.mark.parametrize("direction", [1.0, -1.0])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ADAPTIVE)
def test_the_first_length_and_an_attempt_in_a_graph_equal_those_in_numpy(name, dtype, direction):
    tableau = TABLEAUS[name]
    y, t, h = ROW.astype(dtype), np.float64(0.3), np.float64(direction * 0.1)

    def solve(xp, t, h, y, rtol, atol):
        layout = Layout([(1, 3), (1, 1)], sizes=[3, 1])
        common = {"rtol": rtol, "atol": atol, "layout": layout, "direction": direction, "xp": xp}

        def field(t, y):
            return wave(xp, t, y)

        k0 = first_slope(field, t, y, xp=xp)
        first = first_length(field, t, y, k0, order=tableau.order, **common)
        jumped = slope_after_jump(field, t, y, direction=direction, xp=xp)
        tried = attempt(field, tableau, t, t + h, h, y, k0, **common)
        return [k0, first, tried.y1, tried.k1, tried.mid, tried.ratio, *tried.ks, jumped]

    arrays = (t, h, y, np.float64(1e-3), np.float64(1e-2))
    expected = solve(NUMPY, *arrays)
    results, _ = run(lambda *values: solve(ONNX, *values), *arrays)
    for place, (actual, wanted) in enumerate(zip(results, expected, strict=True)):
        # The length of the first step and the error ratio are computed from differences of nearly equal numbers.
        loss = 1e6 if place == 5 else 1e3
        assert actual.dtype == wanted.dtype
        assert actual == pytest.approx(
            wanted, rel=loss * float(np.finfo(dtype).eps), abs=10 * float(np.finfo(dtype).eps)
        )


def per_sample(widths):
    """A layout of three samples in numpy, and of any number in a graph, whose parts have these widths."""
    sizes = [3 * width for width in widths]
    tables = [(-1, width) for width in widths]
    return Layout([(-1, width) for width in widths], sizes=sizes if len(sizes) > 1 else None, table_shapes=tables)


@pytest.mark.parametrize("widths", [[2], [2, 1]], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_sample_has_the_same_attempt_in_a_graph_in_numpy_and_alone(dtype, widths):
    """Three samples have their own times and lengths; each is then solved alone, too."""
    tableau, layout = TABLEAUS["dopri5"], per_sample(widths)
    generator = np.random.default_rng(0)
    parts = [generator.normal(size=(3, width)).astype(dtype) for width in widths]
    t, h = np.array([0.1, 0.7, -0.3]), np.array([0.1, 0.02, 0.5])

    def solve(xp, layout, t, h, *parts):
        common = {"rtol": np.float64(1e-3), "atol": np.float64(1e-2), "layout": layout, "direction": 1.0, "xp": xp}

        def field(t, y):
            t = layout.broadcast(t, y, xp=xp)
            return wave(xp, t, y)

        y = layout.pack(parts, xp=xp)
        k0 = first_slope(field, t, y, xp=xp)
        length = first_length(field, t, y, k0, order=5, **common)
        tried = attempt(field, tableau, t, t + h, h, y, k0, **common)
        arrays = [tried.y1, tried.k1, tried.mid, tried.ratio]
        return [length, *arrays, layout.select(tried.ratio <= 1, tried.y1, y, xp=xp)]

    expected = solve(NUMPY, layout, t, h, *parts)
    results, _ = run(lambda *values: solve(ONNX, layout, *values), t, h, *parts)
    eps = float(np.finfo(dtype).eps)
    for actual, wanted in zip(results, expected, strict=True):
        assert actual == pytest.approx(wanted, rel=1e5 * eps, abs=10 * eps)
    for i in range(3):
        mine = [part[i : i + 1] for part in parts]
        alone = solve(NUMPY, Layout.of(mine), t[i], h[i], *mine)
        assert expected[0][i] == pytest.approx(float(alone[0]), rel=1e4 * eps)
        assert expected[4][i] == pytest.approx(float(alone[4]), rel=1e5 * eps)
        tables = np.split(expected[1], np.cumsum([3 * w for w in widths])[:-1], axis=1)
        row_of_sample = np.concatenate([table.reshape(3, -1)[i] for table in tables])
        assert row_of_sample == pytest.approx(alone[1][0], rel=10 * eps, abs=10 * eps)


def test_a_graph_cuts_a_step_as_numpy_does():
    points = np.array([0.2, 0.3, 0.5, 1.3, 1.4])
    now, end, h = np.float64(0.3), np.float64(1.3), np.float64(1.0)
    expected = stop_at(points, now, end, h, xp=NUMPY)
    results, _ = run(lambda *values: list(stop_at(*values, xp=ONNX)), points, now, end, h)
    assert [result.tolist() for result in results] == [field.tolist() for field in expected]


SETTINGS = [{}, {"min_step": 0.05, "max_step": 0.3}, {"min_step": 0.1}, {"safety": 0.5, "ifactor": 2.0, "dfactor": 0.5}]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize(("order", "controller"), [(2, "integral"), (8, "integral"), (5, "pi"), (5, "pid")])
def test_a_graph_judges_a_step_as_numpy_does(order, controller, settings):
    h, ratio, control = np.float64(0.1), np.array(RATIOS), Control(controller=controller, **settings)
    past = [np.float64(x) for x in (0.5, 2.0)][: len(CONTROLLERS[controller].powers) - 1]

    def judged(xp, h, ratio, *past):
        accept, h_next, remembered = judge(h, ratio, past, order=order, control=control, xp=xp)
        return [accept, h_next, *remembered]

    with np.errstate(all="ignore"):
        verdicts = [judged(NUMPY, h, r, *past) for r in ratio]
        expected = [judge(h, r, past, order=order, control=control, xp=NUMPY) for r in ratio]
    results, _ = run(lambda *values: judged(ONNX, *values), h, ratio, *past)
    for i in range(len(past)):
        assert results[2 + i] == pytest.approx([float(v[2 + i]) for v in verdicts], nan_ok=True)
    assert results[0].tolist() == [bool(verdict.accept) for verdict in expected]
    assert results[1] == pytest.approx([float(verdict.h) for verdict in expected], rel=1e-15, abs=0, nan_ok=True)


@pytest.mark.parametrize("direction", [1.0, -1.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_time_before_the_end_of_a_step_is_exact_in_a_graph(dtype, direction):
    generator = np.random.default_rng(0)
    t = np.concatenate([[0, 1, -1, 0.5, 1e-30], generator.normal(size=200) * 10.0 ** generator.integers(-9, 9, 200)])
    t = t.astype(dtype)
    actual = emitted(lambda t: towards_start(t, ONNX.cast(direction, t), xp=ONNX, like=t), t)
    assert np.array_equal(actual, np.nextafter(t, np.dtype(dtype).type(-direction * np.inf)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_graph_reads_dense_output_as_numpy_does(dtype):
    x, h = np.linspace(0, 1, 7, dtype=dtype)[:, None], np.dtype(dtype).type(0.2)
    rows = [ROW.astype(dtype) * i for i in (1, -2, 0.5, 3, 1)]
    results, _ = run(lambda x, h, *rows: [quartic(x, h, *rows), linear(x, *rows[:2])], x, h, *rows)
    assert results[0] == pytest.approx(quartic(x, h, *rows), rel=1e-5 if dtype == "float32" else 1e-13)
    assert results[1] == pytest.approx(linear(x, *rows[:2]), rel=1e-5 if dtype == "float32" else 1e-13)
    assert np.array_equal(results[0][-1], rows[1][0])


@pytest.mark.parametrize("grid", [Grid(), Grid(step_size=0.3), Grid(step_size=7.0), Grid(steps=4)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_grid_in_a_graph_equals_the_grid_in_numpy(dtype, grid):
    for t in ([0, 0.4, 1.0], [1.0, 0.9, -0.3], [2.0]):
        t = np.array(t, dtype)
        direction = t.dtype.type(-1 if t[0] > t[-1] else 1)
        actual = emitted(lambda t, d: grid.points(t, direction=d, xp=ONNX), t, direction)
        assert np.array_equal(actual, grid.points(t, direction=direction, xp=NUMPY))
