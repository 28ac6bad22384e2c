"""Reading a solve at any time."""

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
def test_at_output_times_it_equals_the_outputs_and_between_them_the_solution(method, times):
    y0 = np.array([np.cos(times[0]), -np.sin(times[0])])
    # Steps that are short: the quartic, of order 4, errs more than a step of dopri8 does.
    settings = {"method": method, "rtol": 1e-6, "atol": 1e-6, "options": {"max_step": 0.2}}
    kept = odelet.odeint(swing, y0, times, **settings, dense=True)
    plain = odelet.odeint(swing, y0, times, **settings)
    assert np.array_equal(kept.outputs["y"], plain.outputs["y"])
    assert np.array_equal(kept.at(times), plain.outputs["y"])
    assert kept.stats == plain.stats
    between = np.linspace(times[0], times[-1], 37)
    # bosh3's middle, which is torchdiffeq's, is of second order.
    assert kept.at(between)[:, 0] == pytest.approx(np.cos(between), abs=3e-3 if method == "bosh3" else 1e-4)
    assert kept.at(float(between[5])).shape == (2,)
    assert kept.at(between.reshape(37, 1)).shape == (37, 1, 2)


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
def test_fixed_steps_are_kept_too(method, options, error, dtype):
    """A step is read by the line or the cubic that the outputs are read by, and the outputs are the same bits."""
    y0, times = np.array([1.0, 0.0], dtype), np.array([0, -0.75, -1.1, -2.0], dtype)
    kept, plain = (
        odelet.odeint(swing, y0, times, method=method, options=options, dense=dense) for dense in (True, False)
    )
    assert np.array_equal(kept.outputs["y"], plain.outputs["y"])
    assert np.array_equal(kept.at(times), plain.outputs["y"])
    between = np.linspace(0, -2, 33)
    assert kept.at(between)[:, 0] == pytest.approx(np.cos(between), abs=error)
    with pytest.raises(InputError, match="outside the range that was solved, 0 to -2"):
        kept.at(0.1)


def test_fixed_steps_of_a_driven_model_are_kept_too(tmp_path):
    case = Case(method="rk4", form="driven", pair=True, times=(0.0, 0.3, 1.0), options=(("steps", 10),))
    model, x = case.load(tmp_path / "model"), inputs("float64", 3)
    kept, plain = model.solve(x, dense=True), model.solve(x)
    assert kept.stats == plain.stats
    for part, whole in zip(kept.at([0.0, 0.3, 1.0]), plain.outputs.values(), strict=True):
        assert np.array_equal(part, whole)
    with pytest.raises(InputError, match="takes fixed steps .rk4., between which no events are looked for"):
        model.solve(x, events=[odelet.Event(lambda t, s: t - 0.5)])


def test_a_time_that_was_not_solved_names_the_range():
    kept = odelet.odeint(swing, np.ones(2), [0, 1], dense=True)
    with pytest.raises(InputError, match=r"t=-0\.5 is outside the range that was solved, 0 to 1"):
        kept.at([0.5, -0.5])
    with pytest.raises(InputError, match="dense=True"):
        odelet.odeint(swing, np.ones(2), [0, 1]).at(0.5)


def test_a_driven_model_with_a_tuple_state(tmp_path):
    case = Case(method="dopri5", form="driven", pair=True, times=(0.0, 0.3, 1.0))
    model, x = case.load(tmp_path / "model"), inputs("float64", 3)
    kept, plain = model.solve(x, dense=True), model.solve(x)
    assert kept.stats == plain.stats
    for part, whole in zip(kept.at([0.0, 0.3, 1.0]), plain.outputs.values(), strict=True):
        assert np.array_equal(part, whole)
    event = odelet.Event(lambda t, s: t - 0.5, terminal=True)
    stopped = model.solve(x, events=[event])
    assert stopped.events[0].times == pytest.approx([0.5])
    assert stopped.status is odelet.Status.EVENT
    assert np.array_equal(stopped.events[0].states[0][0], kept.at(stopped.events[0].times[0])[0])


def test_other_forms_refuse(tmp_path):
    model = Case(method="dopri5", form="adaptive", times=(0.0, 1.0)).load(tmp_path / "model")
    with pytest.raises(InputError, match="export the model with the form 'driven'"):
        model.solve(inputs("float64"), dense=True)


def test_times_in_float32_are_read_as_the_solver_counts_them(tmp_path):
    """What is watched reads the same bits as what is not, and an event is where torchdiffeq finds it."""
    y0, times = np.array([1.0, 0.0], np.float32), np.linspace(0, 3, 31)
    settings = {"rtol": 1e-4, "atol": 1e-5, "options": {"dtype": "float32"}}
    plain, kept = (odelet.odeint(swing, y0, times, **settings, dense=dense) for dense in (False, True))
    assert kept.stats == plain.stats
    assert np.array_equal(kept.outputs["y"], plain.outputs["y"])
    assert np.array_equal(kept.at(times), plain.outputs["y"])

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
        found, reached = solution.outputs.values()
        assert solution.stats.steps == count.steps
        # The middle of a bracket that is halved down to atol: where rounding decides, of the one beside it.
        assert found == pytest.approx(time, abs=1e-5)
        assert reached == pytest.approx(states, abs=1e-5)
