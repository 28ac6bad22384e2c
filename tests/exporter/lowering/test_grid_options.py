"""The options of fixed-step grids (perturb, interp, grid_constructor) act as they do in torchdiffeq."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torchdiffeq
from support.lowering import Case, forms_of, inputs
from support.problems import torch_solve
from support.rosters import FIXED
from torch import nn

import odelet
from odelet.numerics.interpolation import hermite
from odelet_export import export
from odelet_intercept.errors import CaptureError


def stair(xp, t, y):
    """A field that jumps at the ends of steps, so that its value there depends on the side of evaluation."""
    return xp.floor(4 * t) + 0.3 * xp.sin(y)


def uneven(func, y0, t):
    """A grid from the first output time to the last, for torch or numpy."""
    if isinstance(t, torch.Tensor):
        return t[0] + (t[-1] - t[0]) * torch.linspace(0, 1, 8, dtype=t.dtype) ** 2
    return t[0] + (t[-1] - t[0]) * torch.linspace(0, 1, 8, dtype=torch.from_numpy(t).dtype).numpy() ** 2


SETTINGS = {
    "perturbed": {"perturb": True, "step_size": 0.25},
    "perturbed at the outputs": {"perturb": True},
    "cubic": {"interp": "cubic", "step_size": 0.23},
    "cubic and perturbed": {"interp": "cubic", "step_size": 0.25, "perturb": True},
    "constructed": {"grid_constructor": uneven},
    "constructed, cubic": {"grid_constructor": uneven, "interp": "cubic"},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("t", [(0.0, 0.25, 0.3, 0.8, 1.0), (1.0, 0.75, 0.1, -0.5)], ids=["forward", "backward"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("method", FIXED)
def test_numpy_solves_with_grid_options_equal_those_of_torchdiffeq(method, dtype, t, settings):
    y0, times = np.array([0.4, -0.3, 2.0], dtype), np.array(t, dtype)
    theirs = torch_solve(lambda t, y: stair(torch, t, y), y0, times, method=method, options=settings)
    ours = odelet.odeint(lambda t, y: stair(np, t, y), y0, times, method=method, options=settings)
    assert (ours.stats.steps, ours.stats.evaluations) == (theirs.steps, theirs.evaluations)
    scale = np.abs(theirs.outputs[0]).max()
    assert np.abs(ours.outputs["y"] - theirs.outputs[0]).max() <= 20 * float(np.finfo(dtype).eps) * scale


def test_perturb_evaluates_a_jump_inside_the_step():
    options = {"step_size": 0.25}
    plain, moved = (
        odelet.odeint(
            lambda t, y: np.floor(4 * t) + 0 * y,
            np.zeros(1),
            [0.0, 1.0],
            method="rk4",
            options=options | {"perturb": perturb},
        ).outputs["y"][-1, 0]
        for perturb in (False, True)
    )
    assert moved == pytest.approx(1.5)  # the steps are constant inside
    assert plain != pytest.approx(1.5)


@pytest.mark.parametrize(
    "options", [(("perturb", True), ("step_size", 0.15)), (("interp", "cubic"), ("step_size", 0.15))]
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_form_with_grid_options_equals_torchdiffeq(dtype, options, tmp_path):
    method = "heun2"
    for pair, times in ((True, (0.0, 0.2, 0.35, 1.0)), (False, None)):
        case = Case(method=method, dtype=dtype, times=times, pair=pair, options=options)
        for form in forms_of(case):
            model = replace(case, form=form).load(tmp_path / f"{form}-{pair}")
            for given in [None] if times else [(0.5, 0.3, -0.1), (0.2, 0.9), (0.7,)]:
                x = inputs(dtype, 3, seed=2)
                theirs = case.torch(x, given)
                solution = model.solve(x) if times else model.solve(x, np.array(given, dtype))
                (stats,) = solution.stats.solves
                assert (stats.steps, stats.evaluations) == (theirs.steps, theirs.evaluations)
                for output, wanted in zip(solution.outputs.values(), theirs.outputs, strict=True):
                    assert np.abs(output - wanted).max() <= 30 * float(np.finfo(dtype).eps) * np.abs(wanted).max()


class Constructed(nn.Module):
    """A solve whose grid is computed from the state and an input."""

    def __init__(self, method="midpoint", interp="linear"):
        super().__init__()
        self.options = {"grid_constructor": self.grid, "interp": interp}
        self.method = method

    def grid(self, func, y0, t):
        # Halves only: torch.onnx rounds the constants of float64 scalars to float32.
        part = torch.sigmoid(y0.mean()) * 0.5 + 0.125
        inside = t[0] + (t[-1] - t[0]) * torch.stack([part * 0.25, part, part + 0.25])
        return torch.cat([t[:1], inside, self.more, t[-1:]]).sort().values

    def forward(self, x, more):
        self.more = more
        t = torch.tensor([0.0, 0.4, 1.0], dtype=x.dtype)
        return torchdiffeq.odeint(lambda t, y: torch.cos(3 * t) - y, x, t, method=self.method, options=self.options)


@pytest.mark.parametrize("form", ["unrolled", "rolled", "driven"])
def test_a_grid_that_the_model_computes_is_computed_in_each_call(form, tmp_path):
    model = Constructed(interp="cubic").double()
    x, more = torch.randn(2, 3, dtype=torch.float64), torch.tensor([0.3, 0.95], dtype=torch.float64)
    dynamic = {"x": {0: "batch"}} | ({} if form == "unrolled" else {"more": {0: "more"}})
    export(model, (x, more), tmp_path / "out", form=form, dynamic=dynamic, samples=2)
    loaded = odelet.load(tmp_path / "out")
    for batch, inside in ((5, [0.5, 0.51]), (1, [0.01, 0.02])):
        x = torch.randn(batch, 3, dtype=torch.float64)
        more = torch.tensor(inside, dtype=torch.float64)
        with torch.no_grad():
            wanted = model(x, more).numpy()
        assert loaded(x.numpy(), more.numpy()) == pytest.approx(wanted, rel=1e-13, abs=1e-13)
    # A grid that passes the last time is no grid.
    message = "grid_constructor returned" if form == "driven" else "a grid does not fit them"
    with pytest.raises(odelet.InputError, match=message):
        loaded.solve(x.numpy(), np.array([0.3, 1.5]))


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (lambda func, y0, t: t + func(t[0], y0).sum(), "grid_constructor calls the field"),
        (
            lambda func, y0, t: t.float(),
            "must return a 1-D torch.float64 tensor, as t is; got a torch.float32 tensor of 1 axes",
        ),
    ],
)
def test_grids_that_cannot_be_captured_are_refused(grid, message, tmp_path):
    model = Constructed().double()
    model.options["grid_constructor"] = grid
    with pytest.raises(CaptureError, match=message):
        export(model, (torch.ones(2, 3, dtype=torch.float64), torch.ones(1, dtype=torch.float64)), tmp_path / "out")


@pytest.mark.parametrize("grid", [lambda func, y0, t: t[None], lambda func, y0, t: [0.0, 1.0]])
def test_grids_that_torchdiffeq_does_not_take_fail_as_they_do_in_torch(grid, tmp_path):
    model = Constructed().double()
    model.options["grid_constructor"] = grid
    with pytest.raises(odelet.InputError, match="fails on its example .* in plain torch, .*test_grid_options.py, line"):
        export(model, (torch.ones(2, 3, dtype=torch.float64), torch.ones(1, dtype=torch.float64)), tmp_path / "out")


@pytest.mark.parametrize(
    ("method", "points"),
    [
        ("rk4", [0.0, 0.5, 0.9]),
        ("rk4", [0.1, 1.0]),
        ("rk4", [0.0, 0.7, 0.5, 1.0]),
        ("explicit_adams", [0.0, 0.5, 0.5, 1.0]),
    ],
)
def test_constructed_grids_that_do_not_fit_are_refused(method, points):
    with pytest.raises(odelet.InputError, match="grid_constructor returned .*; it must be a 1-D float64 grid"):
        odelet.odeint(
            lambda t, y: -y,
            np.ones(1),
            [0.0, 1.0],
            method=method,
            options={"grid_constructor": lambda field, y0, t: np.array(points)},
        )


def test_a_grid_of_a_one_step_method_may_have_a_time_twice():
    options = {"grid_constructor": lambda field, y0, t: np.array([0.0, 0.5, 0.5, 1.0])}
    plain = odelet.odeint(lambda t, y: -y, np.ones(1), [0.0, 0.5, 1.0], method="rk4")
    rested = odelet.odeint(lambda t, y: -y, np.ones(1), [0.0, 0.5, 1.0], method="rk4", options=options)
    assert np.array_equal(plain.outputs["y"], rested.outputs["y"])


def test_a_constant_grid_that_does_not_fit_is_refused_at_export(tmp_path):
    class Fixed(nn.Module):
        def forward(self, x):
            options = {"grid_constructor": lambda func, y0, t: torch.tensor([0.0, 0.3, 0.9], dtype=x.dtype)}
            t = torch.tensor([0.0, 1.0], dtype=x.dtype)
            return torchdiffeq.odeint(lambda t, y: -y, x, t, method="rk4", options=options)

    with pytest.raises(odelet.InputError, match="fails on its example .* in plain torch, .*: AssertionError"):
        export(Fixed(), (torch.ones(2, 3),), tmp_path / "out", form="rolled")


def test_a_cubic_is_exact_for_cubics_and_meets_both_ends():
    def f(x):
        return 1 + 2 * x - 3 * x**2 + 0.5 * x**3

    def slope(x):
        return 2 - 6 * x + 1.5 * x**2

    start, end = 0.3, 1.1
    for x in (0.0, 0.25, 0.6, 1.0):
        actual = hermite(x, end - start, f(start), f(end), slope(start), slope(end))
        assert actual == pytest.approx(f(start + x * (end - start)), rel=1e-14)
    assert hermite(1.0, end - start, f(start), f(end), slope(start), slope(end)) == f(end)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"interp": "spline"}, "interp='spline' must be one of 'linear', 'cubic'"),
        ({"perturb": 1}, "perturb=1 must be True or False"),
        ({"step_size": 0.1, "grid_constructor": uneven}, "grid_constructor excludes step_size and steps"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(odelet.InputError, match=message):
        odelet.odeint(lambda t, y: -y, np.ones(1), [0.0, 1.0], method="rk4", options=options)
