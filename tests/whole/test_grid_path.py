"""Steps along a grid: their states and error ratios, and the states between their ends."""

import numpy as np
import pytest
import torch
from support.graphs import CONTROL_FLOW, operators, written
from support.lowering import DTYPES, Case, inputs
from support.rosters import ADAPTIVE, METHODS

import odelet
from odelet.numerics.adaptive_step import attempt
from odelet.numerics.backend import NUMPY
from odelet.numerics.grid_path import GridPath, error_ratios, interpolate, scaled_grid, take_steps
from odelet.numerics.interpolation import quartic
from odelet.numerics.state import Layout
from odelet.status import Status
from odelet_export.calibration.solvers import on_grid
from odelet_export.lowering.hole import Placed
from odelet_export.lowering.lower import MODEL
from odelet_export.model.overrides import Overrides
from odelet_export.model.reference import run_reference

POSITIONS = (0.0, 0.2, 0.45, 0.7, 1.0)
every = pytest.mark.parametrize("method", ADAPTIVE)


def pendulum(t, row):
    y = row.reshape(-1, 2)
    return np.stack([y[:, 1], -np.sin(y[:, 0]) + 0.3 * np.cos(2 * t)], axis=1).reshape(1, -1)


def path_of(method, y0, t, positions=POSITIONS):
    points = scaled_grid(np.asarray(t), np.array(positions), xp=NUMPY)
    tableau, direction = METHODS[method].tableau, np.sign(t[-1] - t[0])
    row = y0.reshape(1, -1)
    return take_steps(pendulum, tableau, points, row, steps=len(positions) - 1, direction=direction, xp=NUMPY), points


@every
@pytest.mark.parametrize("t", [(0.0, 2.0), (2.0, -1.0)])
def test_each_step_equals_an_attempt_of_the_adaptive_method(method, t):
    y0 = np.random.default_rng(0).normal(size=(3, 2))
    path, points = path_of(method, y0, t)
    ratios = error_ratios(path, rtol=1e-4, atol=1e-5, layout=Layout.of([y0], per_sample=True), xp=NUMPY)
    assert ratios.shape == (4, 3)
    for sample in range(3):
        y, k = y0[sample : sample + 1], pendulum(np.float64(t[0]), y0[sample])
        for i in range(4):
            h = points[i + 1] - points[i]
            step = attempt(
                pendulum,
                METHODS[method].tableau,
                *(points[i], points[i + 1], h, y, k),
                rtol=np.float64(1e-4),
                atol=np.float64(1e-5),
                layout=Layout.of([y]),
                direction=np.sign(h),
                xp=NUMPY,
            )
            assert ratios[i, sample] == pytest.approx(float(step.ratio), rel=1e-6)
            assert path.states[i + 1][0, 2 * sample : 2 * sample + 2] == pytest.approx(step.y1[0], rel=1e-13, abs=1e-14)
            y, k = step.y1, step.k1


def test_states_between_the_ends_lie_on_the_quartic_of_their_step():
    y0 = np.array([[1.0, 0.2]])
    path, points = path_of("dopri5", y0, (0.0, 2.0))
    t = np.array([0.0, 0.1, 0.4, 1.0, 1.9, 2.0])
    rows = interpolate(path, points, t, xp=NUMPY)
    assert np.array_equal(rows[0], path.states[0][0])
    assert np.array_equal(rows[-1], path.states[-1][0])
    for j, i in ((1, 0), (2, 0), (3, 2), (4, 3)):
        ends = path.states[i], path.states[i + 1], path.middles[i], path.slopes[i], path.slopes[i + 1]
        h = points[i + 1] - points[i]
        assert rows[j] == pytest.approx(quartic((t[j] - points[i]) / h, h, *ends)[0], rel=1e-13)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e200])
def test_a_sample_that_is_not_finite_has_an_infinite_error_ratio(bad):
    """The error ratios of the other samples stay finite."""
    y0 = np.array([[1.0, 0.2], [bad, 0.2], [0.3, 0.1]])

    def field(t, row):
        return row**3 - row

    points = np.linspace(0, 1, 5)
    with np.errstate(all="ignore"):
        path = take_steps(field, METHODS["dopri5"].tableau, points, y0.reshape(1, -1), steps=4, direction=1.0, xp=NUMPY)
        ratios = error_ratios(path, rtol=1e-3, atol=1e-3, layout=Layout.of([y0], per_sample=True), xp=NUMPY)
    assert np.isinf(ratios[-1, 1])
    assert np.isfinite(ratios[:, [0, 2]]).all()


def test_a_state_that_overflows_has_an_infinite_error_ratio():
    rows = [np.array([[1.0, 1.0]]), np.array([[np.inf, 1.0]])]
    path = GridPath(rows, rows, rows[:1], np.array([[0.1, 0.1]]))
    with np.errstate(all="ignore"):
        layout = Layout.of([np.ones((2, 1))], per_sample=True)
        ratios = error_ratios(path, rtol=1.0, atol=1.0, layout=layout, xp=NUMPY)
    assert np.isinf(ratios[0, 0])
    assert ratios[0, 1] == pytest.approx(0.05)


TIMES = {"two": (0.0, 1.0), "five": (0.0, 0.1, 0.5, 0.7, 1.0), "falling": (1.0, 0.9, 0.4, -0.1), "an input": None}
CASES = [(method, "five", "float64", False) for method in ADAPTIVE]
CASES += [("dopri5", times, "float32", True) for times in TIMES]
CASES += [("dopri5", times, "float64", False) for times in ("two", "falling", "an input")]
CASES += [("bosh3", "an input", "float64", True), ("dopri8", "falling", "float64", True)]


def on_the_grid(case, x, t=None):
    """The outputs and the counts of the torch model, solved by torchdiffeq along the steps of the case."""
    captured, callee = case.captured()
    (spec,) = captured.specs
    times = torch.tensor(case.times if t is None else t, dtype=DTYPES[case.dtype])
    placed = Placed(np.array(case.positions), "batch")
    given = [torch.from_numpy(x), times]
    outputs, counts = run_reference(callee, given, Overrides(), {0: on_grid(spec, placed)})
    return outputs, counts[0]


@pytest.mark.parametrize(("method", "times", "dtype", "pair"), CASES)
def test_the_graph_gives_the_answers_of_torchdiffeq_on_the_same_grid(method, times, dtype, pair, tmp_path):
    case = Case(
        method=method, form="bounded", dtype=dtype, pair=pair, times=TIMES[times], positions=POSITIONS, rtol=1e-3
    )
    model = case.load(tmp_path)
    spans = [None] if case.times is not None else [(0.0, 1.0), (0.0, 0.3, 2.0), (1.5, 0.2, -1.0), (0.7,)]
    for t in spans:
        for batch in (1, 2, 7):
            x = inputs(dtype, batch, seed=batch)
            args = (x,) if t is None else (x, np.array(t, dtype))
            solution = model.solve(*args)
            expected, count = on_the_grid(case, x, t)
            close = {"float64": 1e-12, "float32": 2e-5}[dtype]
            for output, wanted in zip(solution.outputs.values(), expected, strict=True):
                assert output.shape == wanted.shape
                assert np.abs(output - wanted).max() <= close * max(1, np.abs(wanted).max())
            (stats,) = solution.stats.solves
            assert len(stats.error_ratio) == batch
            if t is None or len(t) > 1:
                assert (stats.steps, stats.evaluations) == (count.steps, count.evaluations)
            assert solution.status is (Status.OK if max(stats.error_ratio) <= 1 else Status.OUT_OF_TOLERANCE)


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("pair", [False, True])
def test_the_graph_has_no_control_flow(times, pair, tmp_path):
    files = written(Case(method="dopri5", form="bounded", times=TIMES[times], pair=pair, positions=POSITIONS), tmp_path)
    assert set(files) == {MODEL}
    assert not CONTROL_FLOW & set(operators(files[MODEL].graph))
    assert operators(files[MODEL].graph).count("Tanh") == 1 + 6 * 4


def test_an_empty_batch_gives_empty_outputs(tmp_path):
    model = Case(method="dopri5", form="bounded", times=(0.0, 0.5, 1.0), positions=POSITIONS).load(tmp_path)
    solution = model.solve(inputs("float64", 0))
    assert solution.status is Status.OK
    assert solution.stats.solves[0].error_ratio == ()
    assert solution.outputs["output"].shape == (3, 0, 3)


def test_a_tolerance_of_a_call_changes_error_ratios_and_not_the_grid(tmp_path):
    model = Case(method="dopri5", form="bounded", times=(0.0, 1.0), positions=POSITIONS).load(tmp_path)
    x = inputs("float64", 3)
    first, other = model.solve(x), model.solve(x, rtol=1e-7, atol=1e-8)
    assert np.array_equal(first.outputs["output"], other.outputs["output"])
    assert np.array(other.stats.solves[0].error_ratio) == pytest.approx(
        100 * np.array(first.stats.solves[0].error_ratio), rel=1e-9
    )
    with pytest.raises(ValueError, match=r"max_steps=5 cannot be set: .* its steps were chosen at export"):
        model(x, max_steps=5)


def test_times_that_turn_back_are_a_status(tmp_path):
    model = Case(method="dopri5", form="bounded", positions=POSITIONS).load(tmp_path)
    with pytest.raises(odelet.InputError, match="output times that are not strictly increasing"):
        model.solve(inputs("float64", 2), np.array([0.0, 1.0, 0.5]))
