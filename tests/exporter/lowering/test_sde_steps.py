"""Exported SDEs take torchsde's steps: their number on a grid, and each try where steps follow an error estimate."""

import numpy as np
import pytest

pytest.importorskip("torchsde")

from support.sde_lowering import load_sde
from support.sdes import Increments, Problem, drawn, torch_sdeint

from odelet.loops.brownian import BridgedPath
from odelet.methods.sde_steps import SDE_METHODS

EXACT = {"float32": 1e-5, "float64": 1e-12}


def error(ours, theirs):
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


@pytest.mark.parametrize("dtype", EXACT)
@pytest.mark.parametrize("dt", [0.1, 0.01, 0.001, 0.05, 0.3])
def test_the_number_of_steps_is_torchsdes(dt, dtype, tmp_path):
    problem, method = Problem("additive", "ito", dtype), SDE_METHODS["ito_euler"]
    model = load_sde("ito_euler", "additive", dtype, "rolled", tmp_path / "model", times=(0.0, 1.0), dt=dt)
    (shape,) = [tensor.shape for tensor in model.card.inputs if tensor.name == "noise_0"]
    y0 = problem.start(3)
    normals = drawn(method, shape[0], 3, problem.channels, dtype)
    path = Increments(method, normals, problem.channels)
    theirs = torch_sdeint(problem, "ito_euler", y0, np.array([0.0, 1.0], dtype), path, dt=dt)
    assert len(path.asked) == shape[0] == model.card.solves[0].steps
    solution = model.solve(y0, noise_0=normals[0])
    assert solution.stats.steps == solution.stats.accepted == shape[0]
    assert error(solution.outputs[model.card.outputs[0].name], theirs) < (1e-12 if dtype == "float64" else 2e-4)


class Asked:
    """A path that counts how often it is asked for an increment. forget: as a path has it."""

    def __init__(self, path):
        self._path, self.count = path, 0

    def increment(self, t, t1):
        self.count += 1
        return self._path.increment(t, t1)


# Methods and kinds of noise, each with tolerances that make some tries fail.
ADAPTIVE = {
    "ito_euler-additive": 0.01,
    "ito_milstein-diagonal": 0.003,
    "ito_srid2-diagonal": 0.001,
    "ito_sra1-additive": 0.001,
    "stratonovich_midpoint-general": 0.002,
    "stratonovich_reversible_heun-additive": 0.003,
    "stratonovich_log_ode-general": 0.002,
}


@pytest.mark.parametrize("case", ADAPTIVE)
def test_adaptive_steps_are_torchsdes(case, tmp_path):
    name, noise = case.rsplit("-", 1)
    method, problem, times = SDE_METHODS[name], Problem(noise, SDE_METHODS[name].calculus), (0.2, 0.21, 0.7, 0.9)
    settings = {"dt": 0.3, "rtol": ADAPTIVE[case], "atol": ADAPTIVE[case], "adaptive": True}
    model = load_sde(name, noise, "float64", "driven", tmp_path / "model", times=times, **settings)
    (name_of_keys,) = model.card.solves[0].brownian.inputs
    rejected = 0
    for batch in (1, 3, 64):
        y0 = problem.start(batch, seed=batch)
        solution = model.solve(y0, seed=batch).raise_if_failed()
        keys = solution.noise[name_of_keys]
        path = Asked(BridgedPath(method, keys, times[0], problem.channels, np.dtype("float64")))
        theirs = torch_sdeint(problem, name, y0, np.array(times), path, **settings)
        assert solution.stats.steps == path.count / 3
        rejected += solution.stats.rejected
        np.testing.assert_allclose(solution.outputs[model.card.outputs[0].name], theirs, rtol=1e-9, atol=1e-9)
        again = model.solve(y0, **{name_of_keys: keys})
        assert (again.outputs[model.card.outputs[0].name] == solution.outputs[model.card.outputs[0].name]).all()
    assert rejected > 0


@pytest.mark.parametrize("form", ["rolled", "driven"])
@pytest.mark.parametrize("dtype", EXACT)
def test_a_sample_is_the_same_in_every_batch(form, dtype, tmp_path):
    problem = Problem("general", "stratonovich", dtype)
    settings = {"times": (0.0, 0.5), "dt": 0.1}
    model = load_sde("stratonovich_heun", "general", dtype, form, tmp_path / form, **settings)
    other = load_sde("stratonovich_heun", "general", dtype, "unrolled", tmp_path / "unrolled", **settings)
    y0 = problem.start(64)
    whole = model.solve(y0, seed=5)
    unrolled = other.solve(y0, seed=5)
    output = model.card.outputs[0].name
    assert error(unrolled.outputs[output], whole.outputs[output]) < EXACT[dtype]
    for i in (0, 7, 63):
        alone = model.solve(y0[:1] if i == 0 else y0[: i + 1], seed=5)
        assert (np.asarray(alone.noise["noise_0"])[:, i] == np.asarray(whole.noise["noise_0"])[:, i]).all()
        assert error(alone.outputs[output][:, i], whole.outputs[output][:, i]) < EXACT[dtype]
    assert (np.asarray(unrolled.noise["noise_0"]) == np.asarray(whole.noise["noise_0"])).all()
    assert error(model.solve(y0, seed=6).outputs[output], whole.outputs[output]) > 1e-2
