"""Dense output: a solution can be read at any time of its solve."""

import numpy as np
import pytest
import torch
from support.lowering import Case, inputs, load_captured
from torchdiffeq import odeint

import odelet
from odelet import InputError
from odelet_export.capture.capture import capture
from odelet_export.model.callee import Callee
from odelet_export.model.overrides import Overrides
from odelet_export.model.reference import run_reference


def swing(t, y):
    return np.array([y[1], -y[0]])


@pytest.mark.parametrize("times", [np.linspace(0, 3, 5), np.linspace(1, -2, 4)], ids=["forward", "backward"])
@pytest.mark.parametrize("method", ["dopri5", "dopri8", "bosh3", "adaptive_heun"])
def test_dense_output_equals_the_outputs_and_is_near_the_solution_between_them(method, times):
    y0 = np.array([np.cos(times[0]), -np.sin(times[0])])
    # The steps are short, as the error of the quartic, of order 4, is larger than that of a step of dopri8.
    settings = {"method": method, "rtol": 1e-6, "atol": 1e-6, "options": {"max_step": 0.2}}
    dense_solution = odelet.odeint(swing, y0, times, **settings, dense=True)
    plain = odelet.odeint(swing, y0, times, **settings)
    assert np.array_equal(dense_solution.outputs["y"], plain.outputs["y"])
    assert np.array_equal(dense_solution.at(times), plain.outputs["y"])
    assert dense_solution.stats == plain.stats
    between = np.linspace(times[0], times[-1], 37)
    # The middle state of bosh3, as in torchdiffeq, is of second order.
    assert dense_solution.at(between)[:, 0] == pytest.approx(np.cos(between), abs=3e-3 if method == "bosh3" else 1e-4)
    assert dense_solution.at(float(between[5])).shape == (2,)
    assert dense_solution.at(between.reshape(37, 1)).shape == (37, 1, 2)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("method", "options", "error"),
    [
        ("rk4", {"step_size": 0.01}, 2e-5),
        ("rk4", {"step_size": 0.1, "interp": "cubic"}, 1e-5),
        ("explicit_adams", {}, 0.2),
        ("gl4", {"step_size": 0.02}, 1e-4),
    ],
)
def test_fixed_steps_have_dense_output(method, options, error, dtype):
    """Dense output and outputs read the same line or cubic; keeping the steps changes no bit of the outputs."""
    y0, times = np.array([1.0, 0.0], dtype), np.array([0, -0.75, -1.1, -2.0], dtype)
    dense_solution, plain = (
        odelet.odeint(swing, y0, times, method=method, options=options, dense=dense) for dense in (True, False)
    )
    assert np.array_equal(dense_solution.outputs["y"], plain.outputs["y"])
    assert np.array_equal(dense_solution.at(times), plain.outputs["y"])
    between = np.linspace(0, -2, 33)
    assert dense_solution.at(between)[:, 0] == pytest.approx(np.cos(between), abs=error)
    with pytest.raises(InputError, match="outside the range that was solved, 0 to -2"):
        dense_solution.at(0.1)


def test_fixed_steps_of_a_driven_model_have_dense_output(tmp_path):
    case = Case(method="rk4", form="driven", pair=True, times=(0.0, 0.3, 1.0), options=(("steps", 10),))
    model, x = case.load(tmp_path / "model"), inputs("float64", 3)
    dense_solution, plain = model.solve(x, dense=True), model.solve(x)
    assert dense_solution.stats == plain.stats
    for part, whole in zip(dense_solution.at([0.0, 0.3, 1.0]), plain.outputs.values(), strict=True):
        assert np.array_equal(part, whole)
    with pytest.raises(InputError, match="takes fixed steps .rk4., between which no events are looked for"):
        model.solve(x, events=[odelet.Event(lambda t, s: t - 0.5)])


def test_a_time_outside_the_solve_is_refused_with_the_range():
    dense_solution = odelet.odeint(swing, np.ones(2), [0, 1], dense=True)
    with pytest.raises(InputError, match=r"t=-0\.5 is outside the range that was solved, 0 to 1"):
        dense_solution.at([0.5, -0.5])
    with pytest.raises(InputError, match="dense=True"):
        odelet.odeint(swing, np.ones(2), [0, 1]).at(0.5)


def test_a_driven_model_with_a_tuple_state_has_dense_output_and_events(tmp_path):
    case = Case(method="dopri5", form="driven", pair=True, times=(0.0, 0.3, 1.0))
    model, x = case.load(tmp_path / "model"), inputs("float64", 3)
    dense_solution, plain = model.solve(x, dense=True), model.solve(x)
    assert dense_solution.stats == plain.stats
    for part, whole in zip(dense_solution.at([0.0, 0.3, 1.0]), plain.outputs.values(), strict=True):
        assert np.array_equal(part, whole)
    event = odelet.Event(lambda t, s: t - 0.5, terminal=True)
    stopped = model.solve(x, events=[event])
    assert stopped.events[0].times == pytest.approx([0.5])
    assert stopped.status is odelet.Status.EVENT
    assert np.array_equal(stopped.events[0].states[0][0], dense_solution.at(stopped.events[0].times[0])[0])


def test_the_form_adaptive_has_no_dense_output(tmp_path):
    model = Case(method="dopri5", form="adaptive", times=(0.0, 1.0)).load(tmp_path / "model")
    with pytest.raises(InputError, match="export the model with the form 'driven'"):
        model.solve(inputs("float64"), dense=True)


def test_a_solve_with_float32_times_has_exact_dense_output_and_events(tmp_path):
    """Keeping the steps changes no bit of the outputs, and an event has the time and state of torchdiffeq."""
    y0, times = np.array([1.0, 0.0], np.float32), np.linspace(0, 3, 31)
    settings = {"rtol": 1e-4, "atol": 1e-5, "options": {"dtype": "float32"}}
    plain, dense_solution = (odelet.odeint(swing, y0, times, **settings, dense=dense) for dense in (False, True))
    assert dense_solution.stats == plain.stats
    assert np.array_equal(dense_solution.outputs["y"], plain.outputs["y"])
    assert np.array_equal(dense_solution.at(times), plain.outputs["y"])

    class Until(torch.nn.Module):
        def forward(self, x):
            options = {"dtype": torch.float32}
            slope, happens = (lambda t, y: torch.stack([y[1], -y[0]])), (lambda t, y: y[0] - 0.25 * t)
            time, states = odeint(
                slope, x, torch.tensor([0.0, 1.0]), rtol=1e-4, atol=1e-5, event_fn=happens, options=options
            )
            return time, states

    x = torch.from_numpy(y0)
    captured = capture(Callee(Until(), (x,), {}), {}, Overrides(), opset=20)
    (time, states), (count,) = run_reference(Callee(Until(), (x,), {}), (x,), Overrides())
    for form in ("adaptive", "driven"):
        solution = load_captured(captured, form, tmp_path / form).solve(y0)
        event_time, event_state = solution.outputs.values()
        assert solution.stats.steps == count.steps
        # An event time is the middle of a bracket halved down to atol; rounding may choose the bracket beside it.
        assert event_time == pytest.approx(time, abs=1e-5)
        assert event_state == pytest.approx(states, abs=1e-5)
