"""Options and times that are tensors keep a size of their own in each call: one, several, or none."""

import numpy as np
import pytest
import torch
from torchdiffeq import odeint

import odelet
from odelet_export import export

X = torch.tensor([[1.0, -0.5], [0.3, 0.8]])


def stopping(x, t, points, *, name):
    """Steps that end at the points; the model reads the sizes of both, so none may be fixed."""
    scale = 1.0 + points.shape[0] / 8 + t.shape[0] / 16

    def field(s, y):
        return torch.cos(5 * s) - scale * y

    return odeint(field, x, t, rtol=1e-5, atol=1e-5, options={name: points})


def grids(x, t, points):
    scale = 1.0 + points.shape[0] / 8

    def grid(_func, _y0, times):
        return torch.cat([times[:1], points, times[-1:]])

    return odeint(lambda s, y: torch.cos(s) - scale * y, x, t, method="rk4", options={"grid_constructor": grid})


SIZES = [(2, 0), (2, 1), (5, 0), (5, 3), (1, 0), (1, 2)]  # how many times, how many points


def check(model, out, *, sizes=SIZES, decimals=4, **options):
    """Export at five times and four points, and compare with torch at other numbers of both."""
    dynamic = {"x": {0: "batch"}, "t": {0: "times"}, "points": {0: "points"}}
    example = (X, torch.linspace(0.0, 1.0, 6), torch.tensor([0.25, 0.4, 0.6, 0.9]))
    export(model, example, out, dynamic=dynamic, samples=1, **options)
    artifact = odelet.load(out)
    for times, count in sizes:
        t, points = torch.linspace(0.0, 1.0, times), torch.linspace(0.31, 0.83, count)
        expected = model(X, t, points)
        np.testing.assert_array_almost_equal(artifact(X.numpy(), t.numpy(), points.numpy()), expected, decimals)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "form"), [("jump_t", "adaptive"), ("step_t", "driven")])
def test_the_points_of_a_call_may_be_none(name, form, tmp_path):
    check(lambda x, t, points: stopping(x, t, points, name=name), tmp_path / "out", form=form)


@pytest.mark.slow
def test_the_points_of_a_call_may_be_none_where_each_batch_row_has_its_steps(tmp_path):
    # Each row takes steps of its own, and so differs from torch's common steps within the tolerance.
    def model(x, t, points):
        return stopping(x, t, points, name="jump_t")

    check(model, tmp_path / "out", form="adaptive", per_sample=True, decimals=3)


@pytest.mark.slow
def test_a_grid_that_the_model_makes_may_have_no_inner_points(tmp_path):
    check(grids, tmp_path / "out", sizes=[(2, 0), (5, 1), (2, 6)])


def test_a_list_without_points_is_no_option(tmp_path):
    def model(x):
        return odeint(lambda s, y: -y, x, torch.tensor([0.0, 1.0]), options={"jump_t": [], "step_t": None})

    exported = export(model, (X,), tmp_path / "out", samples=1)
    assert exported.parity.passed
