"""Options of the adaptive methods have the effect that they have in torchdiffeq, in numpy and in exported models."""

import numpy as np
import pytest
import torch
import torchdiffeq
from support.lowering import load_captured
from support.problems import torch_solve
from support.rosters import ADAPTIVE
from torch import nn

import odelet
from odelet.errors import InputError
from odelet_export.capture.capture import capture
from odelet_export.model.callee import Callee
from odelet_export.model.overrides import Overrides
from odelet_export.model.reference import run_reference
from odelet_intercept.errors import CaptureError

KINKS = [0.3, 0.7, 1.1]


def kinked(xp, t, y):
    """A slope that jumps at the kinks."""
    push = sum((t > kink) * 1.0 for kink in KINKS)
    return xp.stack([y[1], -4 * y[0] + push])


def smooth(xp, t, y):
    return xp.stack([y[1], -y[0] + xp.sin(3 * t)])


# The same options for odelet.odeint (numpy) and for torchdiffeq (torch).
OPTIONS = {
    "step_t": ({"step_t": KINKS}, {"step_t": torch.tensor(KINKS, dtype=torch.float64)}),
    "step_t unsorted, some outside": (
        {"step_t": [5, 0.7, -1, 0.3, 1.1]},
        {"step_t": torch.tensor([5, 0.7, -1, 0.3, 1.1], dtype=torch.float64)},
    ),
    "jump_t": ({"jump_t": KINKS}, {"jump_t": torch.tensor(KINKS, dtype=torch.float64)}),
    "both": ({"step_t": [0.3, 1.0], "jump_t": [0.7, 1.1]},) * 2,
    "dtype": ({"dtype": "float32"}, {"dtype": torch.float32}),
    "dtype and points": ({"dtype": "float32", "jump_t": KINKS}, {"dtype": torch.float32, "jump_t": KINKS}),
    "norm": ({"norm": lambda y: abs(y).max()}, {"norm": lambda y: y.abs().max()}),
    "bounds": ({"min_step": 0.03, "max_step": 0.2, "first_step": 0.1},) * 2,
    "factors": ({"safety": 0.7, "ifactor": 3.0, "dfactor": 0.5},) * 2,
}


@pytest.mark.parametrize(
    ("method", "dtype"), [*((method, "float64") for method in ADAPTIVE), ("bosh3", "float32"), ("dopri5", "float32")]
)
@pytest.mark.parametrize(("ours", "theirs"), OPTIONS.values(), ids=OPTIONS)
def test_numpy_solves_with_options_equal_those_of_torchdiffeq(ours, theirs, method, dtype):
    field, y0 = (kinked if "step_t" in ours or "jump_t" in ours else smooth), np.array([1.0, 0.5], dtype)
    t = np.array([0.0, 0.5, 1.5])
    settings = {"method": method, "rtol": 1e-4, "atol": 1e-5}
    expected = torch_solve(lambda t, y: field(torch, t, y), y0, t, options=theirs, **settings)
    solution = odelet.odeint(lambda t, y: field(np, t, y), y0, t, options=ours, **settings)
    (stats,) = solution.stats.solves
    if dtype == "float64":
        counts = (stats.steps, stats.accepted, stats.evaluations)
        assert counts == (expected.steps, expected.accepted, expected.evaluations)
    # The error estimate of dopri8 is near rounding at these tolerances.
    rtol = 2e-5 if dtype == "float32" else 1e-6 if method == "dopri8" else 1e-12
    np.testing.assert_allclose(solution.outputs["y"], expected.outputs[0], rtol=rtol, atol=rtol)


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("tolerances", [(1e-3, (1e-4, 1e-7)), ((1e-3, 1e-6), 1e-5), ((1e-3, 1e-6), (1e-4, 1e-7))])
def test_each_part_has_its_own_tolerance(tolerances, direction):
    y0 = (np.array([[1.0, 0.5]]), np.array([0.2, 0.1, 0.3]))
    t = direction * np.array([0.0, 1.0, 2.0])
    rtol, atol = tolerances
    expected = torch_solve(
        lambda t, y: (torch.sin(y[0]), torch.cos(5 * t) - y[1]), y0, t, method="dopri5", rtol=rtol, atol=atol
    )
    # torchdiffeq rounds a row of tolerances to float32.
    rtol, atol = (np.float32(x).astype(float) if isinstance(x, tuple) else x for x in tolerances)
    solution = odelet.odeint(lambda t, y: (np.sin(y[0]), np.cos(5 * t) - y[1]), y0, t, rtol=rtol, atol=atol)
    (stats,) = solution.stats.solves
    assert (stats.steps, stats.accepted, stats.evaluations) == (
        expected.steps,
        expected.accepted,
        expected.evaluations,
    )
    for ours, theirs in zip(solution.outputs.values(), expected.outputs, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("controller", ["pi", "pid"])
def test_pi_and_pid_keep_the_tolerance_with_fewer_rejections(controller):
    """The time scale of the field swings, so that the integral controller often tries steps that are too long."""

    def field(t, y):
        return (1 + 50 * np.sin(4 * t) ** 8) * np.array([y[1], -y[0]])

    t = np.linspace(0, 5, 6)
    tight = odelet.odeint(field, np.array([1.0, 0.0]), t, method="dopri8", rtol=1e-12, atol=1e-12).outputs["y"]
    runs = {
        name: odelet.odeint(field, np.array([1.0, 0.0]), t, rtol=1e-5, atol=1e-5, options={"controller": name})
        for name in ("integral", controller)
    }
    errors = {name: np.abs(run.outputs["y"] - tight).max() for name, run in runs.items()}
    assert errors[controller] < 3 * errors["integral"]
    assert runs[controller].stats.rejected < runs["integral"].stats.rejected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "l1"}, "norm='l1' is neither a function nor one of rms, max"),
        ({"step_t": 1.0}, "step_t must be a 1-D array of finite times"),
        ({"jump_t": [0.5, np.nan]}, "jump_t must be a 1-D array of finite times"),
        ({"step_t": [0.5], "jump_t": [0.5]}, "must have no time twice"),
        ({"dtype": "int32"}, "dtype='int32' is not one of float64, float32"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        odelet.odeint(lambda t, y: -y, np.ones(2), [0, 1], options=options)


class Model(nn.Module):
    """A solve of a field that jumps, with any settings; an option "points" stands for the input `points`."""

    jumps = True

    def __init__(self, **settings):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.outer = nn.Linear(3, 8), nn.Linear(8, 2)
        self.settings = settings
        self.double()

    def slope(self, t, y):
        push = (t > 0.4).to(y.dtype) + (t > 0.8).to(y.dtype) if self.jumps else 0
        columns = torch.cat([y, (t + push).expand(y.shape[0], 1)], dim=1)
        return self.outer(torch.tanh(self.inner(columns)))

    def forward(self, x, t, points):
        settings = {**self.settings, "options": {**self.settings.get("options", {})}}
        for name, value in settings["options"].items():
            settings["options"][name] = points if value == "points" else value
        return torchdiffeq.odeint(self.slope, x, t, rtol=1e-4, atol=1e-5, **settings)


class Smooth(Model):
    """A field that does not jump: in float32, rounding decides the steps at a jump that no option names."""

    jumps = False


class Pair(Smooth):
    """A state of two parts, with a tolerance for each."""

    def forward(self, x, t, points):
        def slope(t, state):
            dy = self.slope(t, state[0])
            return dy, (dy * dy).sum(1) + points.sum()

        y, length = torchdiffeq.odeint(slope, (x, x[:, 0] * 0), t, rtol=(1e-4, 1e-2), atol=[1e-5, 1e-3])
        return y, length


class Number(Model):
    """A state of shape ()."""

    def forward(self, x, t, points):
        return torchdiffeq.odeint(lambda t, y: torch.sin(3 * t) - y * points.mean(), x.mean(), t, rtol=1e-4, atol=1e-5)


MODELS = {
    "step_t an input": (Model(options={"step_t": "points"}), "float64"),
    "jump_t an input": (Model(options={"jump_t": "points"}), "float64"),
    "jump_t a tensor": (
        Model(options={"jump_t": torch.tensor([0.4, 0.8], dtype=torch.float64)}, method="bosh3"),
        "float64",
    ),
    "both, one a list": (Model(options={"step_t": [0.2, 0.6], "jump_t": "points"}, method="bosh3"), "float64"),
    "times in float32": (Smooth(options={"dtype": torch.float32, "jump_t": "points"}).float(), "float32"),
    "tolerances of parts": (Pair(), "float64"),
    "tolerances of parts in float32": (Pair().float(), "float32"),
    "a number": (Number(), "float64"),
    "a number in float32": (Number().float(), "float32"),
}


@pytest.mark.parametrize(("model", "dtype"), MODELS.values(), ids=MODELS)
def test_exported_solves_with_options_equal_those_of_torchdiffeq(model, dtype, tmp_path):
    number = getattr(torch, dtype)
    x = torch.tensor([[1.0, -0.5], [0.3, 0.8]], dtype=number)
    t = torch.linspace(0, 1, 3, dtype=number)
    callee = Callee(model, (x, t, torch.tensor([0.4, 0.8], dtype=number)), {})
    dynamic = {"x": {0: "batch"}, "t": {0: "times"}, "points": {0: "points"}}
    captured = capture(callee, dynamic, Overrides(), opset=20)
    models = {form: load_captured(captured, form, tmp_path / form) for form in ("adaptive", "driven")}
    generator = torch.Generator().manual_seed(1)
    for times, points in (([0, 0.5, 1.5], [0.8, 0.4]), ([1.2, 0.3], [0.7, 0.5, 0.9])):
        tensors = (
            torch.randn(3, 2, generator=generator, dtype=number),
            torch.tensor(times, dtype=number),
            torch.tensor(points, dtype=number),
        )
        expected, (count,) = run_reference(callee, tensors, Overrides())
        for form, exported in models.items():
            solution = exported.solve(*(tensor.numpy() for tensor in tensors)).raise_if_failed()
            (stats,) = solution.stats.solves
            if dtype == "float64":
                counts = (stats.steps, stats.accepted)
                assert counts == (count.steps, count.accepted), (form, times)
            for ours, theirs in zip(solution.outputs.values(), expected, strict=True):
                np.testing.assert_allclose(
                    ours, theirs, rtol=1e-11 if dtype == "float64" else 3e-5, atol=1e-5 if dtype == "float32" else 1e-11
                )


def test_evaluations_past_a_jump_are_counted(tmp_path):
    model, _ = MODELS["jump_t a tensor"]
    x, t = torch.ones(1, 2, dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64)
    callee = Callee(model, (x, t, x[0]), {})
    driven = load_captured(capture(callee, {}, Overrides(), opset=20), "driven", tmp_path)
    _, (count,) = run_reference(callee, (x, t, x[0]), Overrides())
    assert driven.solve(x.numpy(), t.numpy(), x[0].numpy()).stats.evaluations == count.evaluations


def test_a_point_named_twice_is_a_status_or_an_error(tmp_path):
    model, _ = MODELS["step_t an input"]
    x, t, points = (torch.tensor(v, dtype=torch.float64) for v in ([[1.0, 0.0]], [0.0, 1.0], [0.4, 0.8]))
    captured = capture(Callee(model, (x, t, points), {}), {}, Overrides(), opset=20)
    twice = np.array([0.4, 0.4])
    adaptive = load_captured(captured, "adaptive", tmp_path / "adaptive")
    with pytest.raises(InputError, match="hold a time twice"):
        adaptive.solve(x.numpy(), t.numpy(), twice)
    with pytest.raises(InputError, match="no time twice"):
        load_captured(captured, "driven", tmp_path / "driven")(x.numpy(), t.numpy(), twice)


def test_tolerances_of_parts_can_be_set_in_a_call(tmp_path):
    model, _ = MODELS["tolerances of parts"]
    x, t, points = (torch.tensor(v, dtype=torch.float64) for v in ([[1.0, 0.0]], [0.0, 1.0], [0.4, 0.8]))
    arrays = [v.numpy() for v in (x, t, points)]
    captured = capture(Callee(model, (x, t, points), {}), {}, Overrides(), opset=20)
    for form in ("adaptive", "driven"):
        exported = load_captured(captured, form, tmp_path / form)
        loose, same, tight = (
            exported.solve(*arrays, rtol=rtol, atol=1e-9).stats.steps for rtol in (1e-2, [1e-2, 1e-2], [1e-2, 1e-9])
        )
        assert loose == same < tight
        with pytest.raises(InputError, match="rtol=.* must be one positive number, or 2 of them"):
            exported(*arrays, rtol=[1e-3])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rtol": (1e-3, 1e-4)}, r"rtol has 2 numbers for a state of 1 parts; give one number for each part"),
        ({"rtol": "tight"}, r"rtol='tight' must be a number, or one for each part"),
        ({"options": {"dtype": torch.int64}}, r"option dtype=torch.int64 must be a floating-point torch dtype"),
    ],
)
def test_settings_that_cannot_be_exported_are_refused(settings, message):
    class Bad(nn.Module):
        def forward(self, x):
            return torchdiffeq.odeint(lambda t, y: -y, x, torch.tensor([0.0, 1.0]), method="dopri5", **settings)

    with pytest.raises(CaptureError, match=message):
        capture(Callee(Bad(), (torch.ones(2, 2),), {}), {}, Overrides(), opset=20)
