"""SDEs in every method, with every kind of noise, in every form, equal torchsde at batch sizes that were not traced."""

import numpy as np
import pytest

pytest.importorskip("torchsde")

from support.sde_lowering import SDE_FORMS, load_sde
from support.sdes import PAIRS, Increments, Problem, drawn, torch_sdeint

from odelet.methods.sde_steps import SDE_METHODS
from odelet.numerics.grid import accumulated_points

# The largest error, relative to the largest element of the solution.
ALLOWED = {"float32": 1e-5, "float64": 1e-12}
# Output times of which one lies within a step, and the last step is shorter than the others.
TIMES, DT = (0.1, 0.24, 0.55), 0.1


def check_equal(model, problem, name, batch):
    """Assert that a loaded model gives torchsde's states along a path of our own."""
    method = SDE_METHODS[name]
    ts, y0 = np.array(TIMES, problem.dtype), problem.start(batch, seed=batch)
    steps = len(accumulated_points(ts, DT)) - 1
    normals = drawn(method, steps, batch, problem.channels, problem.dtype, seed=batch)
    path = Increments(method, normals, problem.channels)
    theirs = torch_sdeint(problem, name, y0, ts, path, dt=DT)
    ours = model(y0, **dict(zip((one.name for one in model.card.noise), normals, strict=True)))
    assert len(path.asked) == steps
    assert ours.dtype == problem.dtype
    assert ours.shape == (len(TIMES), batch, problem.width)
    error = np.abs(ours - theirs).max() / np.abs(theirs).max()
    assert error < ALLOWED[problem.dtype]


# Each method and kind of noise in each form, with the dtypes in turn; the two dtypes of a form share their emission.
EVERY = [
    (name, noise, list(ALLOWED)[(number + place) % 2], form)
    for number, (name, noise) in enumerate(PAIRS)
    for place, form in enumerate(SDE_FORMS)
]
# One of them for each method and kind of noise, with the forms in turn.
SOME = [EVERY[len(SDE_FORMS) * i + i % len(SDE_FORMS)] for i in range(len(PAIRS))]


def check_case(name, noise, dtype, form, folder):
    model = load_sde(name, noise, dtype, form, folder, times=TIMES, dt=DT)
    assert [solve.form for solve in model.card.solves] == [form]
    assert [solve.method for solve in model.card.solves] == [name]
    for batch in (1, 3, 64):
        check_equal(model, Problem(noise, SDE_METHODS[name].calculus, dtype), name, batch)


@pytest.mark.parametrize(("name", "noise", "dtype", "form"), SOME)
def test_every_method_with_every_noise_equals_torchsde(name, noise, dtype, form, tmp_path):
    check_case(name, noise, dtype, form, tmp_path / "model")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "noise", "dtype", "form"), [case for case in EVERY if case not in SOME])
def test_every_method_noise_and_form_equals_torchsde(name, noise, dtype, form, tmp_path):
    check_case(name, noise, dtype, form, tmp_path / "model")
