"""odelet.sdeint gives the states of torchsde.sdeint along the same path, and samples that depend on a seed alone."""

import warnings

import numpy as np
import pytest

pytest.importorskip("torchsde")

from support.sdes import PAIRS, Increments, Problem, drawn, torch_sdeint, torchsde_name

import odelet
from odelet import InputError, Status
from odelet.loops.brownian import BridgedPath
from odelet.methods.sde_steps import SDE_METHODS, sde_method
from odelet.numerics.grid import accumulated_points
from odelet.random_numbers import keys, noise_array

EXACT = {"float64": 1e-12, "float32": 1e-5}


def sdeint(problem, name, y0, t, **settings):
    """The solution for a problem and a method of the roster."""
    key, options = torchsde_name(name)
    terms = {"sde_type": problem.calculus, "noise_type": problem.noise, "method": key, "options": options}
    settings = {"correction": problem.correction(SDE_METHODS[name]), **settings}
    return odelet.sdeint(problem.f, problem.g, y0, t, **terms, **settings)


def largest(ours, theirs):
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


@pytest.mark.parametrize("dtype", EXACT)
@pytest.mark.parametrize(("name", "noise"), PAIRS)
def test_states_are_torchsdes_along_given_noise(name, noise, dtype):
    """Output times lie within steps, several of them in one."""
    method = SDE_METHODS[name]
    problem, t = Problem(noise, method.calculus, dtype), np.array([0.0, 0.13, 0.15, 0.5, 0.74], dtype)
    steps = len(accumulated_points(t, 0.1)) - 1
    for batch in (1, 3, 64):
        y0, arrays = problem.start(batch), drawn(method, steps, batch, problem.channels, dtype)
        path = Increments(method, arrays, problem.channels)
        theirs = torch_sdeint(problem, name, y0, t, path, dt=0.1)
        noise_given = dict(zip(method.draws, arrays, strict=True))
        solution = sdeint(problem, name, y0, t, dt=0.1, noise=noise_given)
        assert solution.status is Status.OK and solution.outputs["y"].dtype == dtype
        assert solution.outputs["y"].shape == (5, batch, problem.width)
        assert largest(solution.outputs["y"], theirs) < EXACT[dtype]
        assert list(solution.noise) == list(method.draws)
        stats = solution.stats.solves[0]
        assert (stats.method, stats.steps, stats.time) == (name, steps, t[-1])
        assert stats.evaluations == steps * method.drifts + method.remembers


@pytest.mark.parametrize("case", ["ito_srid2-diagonal", "ito_sra1-additive", "stratonovich_heun-general"])
def test_adaptive_steps_are_torchsdes_along_a_seeds_path(case):
    name, noise = case.split("-")
    method = SDE_METHODS[name]
    problem, t = Problem(noise, method.calculus), np.array([0.0, 0.4, 1.0])
    y0, settings = problem.start(5), {"dt": 0.2, "rtol": 3e-3, "atol": 3e-3, "adaptive": True}
    solution = sdeint(problem, name, y0, t, seed=4, **settings)
    key = keys(4, 0, range(5))
    theirs = torch_sdeint(
        problem, name, y0, t, BridgedPath(method, key, 0.0, problem.channels, np.dtype("float64")), **settings
    )
    assert largest(solution.outputs["y"], theirs) < 1e-9
    assert solution.stats.solves[0].error_ratio[0] <= 1
    assert solution.stats.evaluations == 3 * method.drifts * solution.stats.steps
    by_key = sdeint(problem, name, y0, t, noise={"key": key}, **settings)
    np.testing.assert_array_equal(by_key.outputs["y"], solution.outputs["y"])


@pytest.mark.parametrize("dtype", EXACT)
@pytest.mark.parametrize("name", ["ito_srid2", "stratonovich_log_ode"])
def test_a_row_has_the_same_noise_in_every_batch(name, dtype):
    """The noise is bit-equal, and that of an artifact's inputs with this seed."""
    method = SDE_METHODS[name]
    problem = Problem("general" if "area" in method.draws else "diagonal", method.calculus, dtype)
    y0 = problem.start(64)
    many = sdeint(problem, name, y0, [0.0, 0.5], dt=0.05, seed=9)
    one = sdeint(problem, name, y0[:1], [0.0, 0.5], dt=0.05, seed=9)
    assert largest(one.outputs["y"], many.outputs["y"][:, :1]) < EXACT[dtype]
    m, steps = problem.channels, many.stats.steps
    shapes = [(steps, 64, m), (steps, 64, m), (steps, 64, m, m)][: len(method.draws)]
    arrays = [noise_array("normal", 9, i, shape, dtype, sample_axis=1, step_axis=0) for i, shape in enumerate(shapes)]
    given = dict(zip(method.draws, arrays, strict=True))
    again = sdeint(problem, name, y0, [0.0, 0.5], dt=0.05, noise=given)
    np.testing.assert_array_equal(again.outputs["y"], many.outputs["y"])


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_noise_of_a_solution_brings_the_same_answer(adaptive):
    problem = Problem("diagonal")
    terms = {"dt": 0.1, "adaptive": adaptive, "rtol": 1e-2, "atol": 1e-2}
    first, other = (sdeint(problem, "ito_srid2", problem.start(3), [0, 1], **terms) for _ in range(2))
    assert (first.outputs["y"][1] != other.outputs["y"][1]).all()
    for same in ({"noise": first.noise}, {"seed": int(first.noise["seed"])}):
        again = sdeint(problem, "ito_srid2", problem.start(3), [0, 1], **same, **terms)
        np.testing.assert_array_equal(again.outputs["y"], first.outputs["y"])


def test_the_dtype_of_times_is_torchsdes():
    """Times in a list have that of the state, and those of an array their own; the steps follow from it."""
    for dtype, steps in (("float32", 101), ("float64", 100)):
        problem = Problem("diagonal", "ito", dtype)
        solution = sdeint(problem, "ito_euler", problem.start(1), [0, 1], dt=0.01, seed=0)
        assert solution.stats.steps == steps
    seen = set()

    def drift(t, y):
        seen.add((t.dtype.name, y.dtype.name))
        return -y

    y0 = np.ones((1, 1), np.float32)
    solution = odelet.sdeint(drift, lambda t, y: y, y0, np.array([0.0, 1.0]), dt=0.01, seed=0)
    assert solution.stats.steps == 100 and seen == {("float64", "float32")}
    assert solution.outputs["y"].dtype == np.float32


@pytest.mark.parametrize(
    ("sde_type", "noise_type", "method"),
    [
        ("ito", "diagonal", "srk"),
        ("ito", "additive", "srk"),
        ("ito", "scalar", "srk"),
        ("ito", "general", "euler"),
        ("stratonovich", "diagonal", "midpoint"),
        ("stratonovich", "general", "midpoint"),
    ],
)
def test_the_default_methods_are_torchsdes(sde_type, noise_type, method):
    problem = Problem(noise_type, sde_type)
    terms = {"sde_type": sde_type, "noise_type": noise_type, "dt": 0.5}
    solution = odelet.sdeint(problem.f, problem.g, problem.start(1), [0.0, 1.0], **terms)
    assert solution.stats.solves[0].method == sde_method(method, sde_type, noise_type).name


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_mean_and_variance_of_an_ornstein_uhlenbeck_process(adaptive):
    """Over 100,000 paths of one call, within 4 standard errors. Adaptive steps are those of the whole batch; a state
    that is read between the ends of a step lacks some of its variance."""
    count, rate, mean, noise = 100_000, 1.5, 0.7, 0.8
    solution = odelet.sdeint(
        lambda t, y: rate * (mean - y),
        lambda t, y: np.full((*y.shape, 1), noise),
        np.full((count, 1), -1.0),
        [0.0, 1.0] if adaptive else [0.0, 0.5, 1.0],
        noise_type="additive",
        dt=0.05,
        adaptive=adaptive,
        rtol=1e-3,
        atol=1e-3,
        seed=2026,
    )
    for t, y in zip((0.5, 1.0)[adaptive:], solution.outputs["y"][1:, :, 0], strict=True):
        decay, variance = np.exp(-rate * t), noise**2 * (1 - np.exp(-2 * rate * t)) / (2 * rate)
        assert abs(y.mean() - (mean + (-1 - mean) * decay)) < 4 * np.sqrt(variance / count)
        assert abs(y.var() - variance) < 4 * variance * np.sqrt(2 / count)


def refused(message, *, g=None, y0=None, t=(0.0, 1.0), **settings):
    problem = Problem(settings.get("noise_type", "diagonal"))
    with pytest.raises(InputError) as error:
        odelet.sdeint(problem.f, g or problem.g, problem.start(2) if y0 is None else y0, t, dt=0.25, **settings)
    assert str(error.value) == message


CORRECTIONS = {
    "milstein": "v (batch, m), that returns the sum over j and l of g_jl dg_jl/dy_i v_l; or take "
    "options={'grad_free': True}, which needs none",
    "log_ode": "a (batch, m, m), that returns the sum over j, k, l of dg_il/dy_j g_jk a_kl; or take "
    "method='midpoint', which is this method without that term",
}


def test_arguments_that_cannot_be_are_refused():
    takes = "takes derivatives of g: give correction, a function of t, y and"
    refused(f"method='milstein' {takes} {CORRECTIONS['milstein']}", method="milstein")
    refused(
        f"method='log_ode' {takes} {CORRECTIONS['log_ode']}",
        method="log_ode",
        sde_type="stratonovich",
        noise_type="general",
    )
    none = "takes no correction for {} noise; leave correction out"
    refused(f"method='srk' {none.format('diagonal')}", method="srk", correction=print)
    refused(f"method='milstein' {none.format('additive')}", method="milstein", noise_type="additive", correction=print)
    refused("options step are not known for method 'srk'; it has none", method="srk", options={"step": 1})
    refused(
        "options step are not known for method 'milstein'; known is grad_free", method="milstein", options={"step": 1}
    )
    refused("sde_type='itô' is not one of ito, stratonovich", sde_type="itô")
    refused("method='heun' is not one of euler, milstein, srk, the methods for SDEs in the ito sense", method="heun")
    refused("method='srk' solves diagonal, scalar noise; the SDE has general noise", method="srk", noise_type="general")
    levy = {"method": "log_ode", "sde_type": "stratonovich", "noise_type": "general", "options": {"levy": "none"}}
    refused("options: levy='none' is not one of foster, davie", **levy)
    refused("seed and noise exclude each other; leave one of them out", seed=1, noise={})
    for seed in (-1, 2**64, 1.0, True):
        refused(f"seed={seed!r} must be a whole number from 0 to 2**64 - 1, or None", seed=seed)
    with pytest.raises(InputError, match="noise_type='white' is not one of diagonal, additive, scalar, general"):
        odelet.sdeint(print, print, np.ones((1, 1)), [0, 1], noise_type="white")


def test_a_state_and_times_that_cannot_be_are_refused():
    refused("y0 must be a float32 or float64 array (batch, d); got float64 of shape (3,)", y0=np.ones(3))
    refused("y0 must be a float32 or float64 array (batch, d); got int64 of shape (1, 1)", y0=np.ones((1, 1), int))
    with pytest.raises(InputError, match=r"t must be strictly increasing; .* negate the time in f and g"):
        odelet.sdeint(print, print, np.ones((1, 1)), [1.0, 0.0])
    refused("t must be strictly increasing or strictly decreasing; got [0. 0.]", t=[0.0, 0.0])
    for dt in (0.0, np.inf):
        with pytest.raises(InputError, match=rf"dt={dt} must be positive and finite"):
            odelet.sdeint(print, print, np.ones((1, 1)), [0.0, 1.0], dt=dt)
    with pytest.raises(InputError, match=r"dt=1e-09 must be positive, and not too small for times from 0 to 1"):
        odelet.sdeint(print, print, np.ones((1, 1)), [0.0, 1.0], dt=1e-9)
    with pytest.raises(InputError, match=r"rtol=-1 must be finite and not negative"):
        odelet.sdeint(print, print, np.ones((1, 1)), [0.0, 1.0], rtol=-1, adaptive=True)


def test_functions_of_another_shape_are_refused():
    y0, t = np.ones((2, 3)), [0.0, 1.0]
    with pytest.raises(InputError, match=r"f returned an array of shape \(3,\); it must be \(2, 3\)$"):
        odelet.sdeint(lambda t, y: y[0], lambda t, y: y, y0, t)
    with pytest.raises(
        InputError, match=r"g returned an array of shape \(2, 3, 1\); it must be \(2, 3\), as the noise"
    ):
        odelet.sdeint(lambda t, y: y, lambda t, y: y[:, :, None], y0, t)
    with pytest.raises(InputError, match=r"g returned .* \(2, 3\); it must be \(2, 3, m\), as the noise is general"):
        odelet.sdeint(lambda t, y: y, lambda t, y: y, y0, t, noise_type="general")
    with pytest.raises(InputError, match=r"g returned .* \(2, 3, 2\); it must be \(2, 3, 1\), as the noise is scalar"):
        odelet.sdeint(lambda t, y: y, lambda t, y: np.ones((2, 3, 2)), y0, t, noise_type="scalar")
    with pytest.raises(InputError, match=r"correction returned an array of shape \(\); it must be \(2, 3\)"):
        terms = {"method": "milstein", "correction": lambda t, y, v: 0.0}
        odelet.sdeint(lambda t, y: y, lambda t, y: y, y0, t, **terms)


def test_noise_that_does_not_fit_is_refused():
    refused(
        "noise holds w float64 (3, 2, 4); it must hold standard normal numbers, w (4, 2, 4), h (4, 2, 4), or be left "
        "out for numbers of a seed",
        noise={"w": np.ones((3, 2, 4))},
    )
    refused(
        "noise holds nothing; it must hold standard normal numbers, w (4, 2, 4), or be left out for numbers of a seed",
        method="euler",
        noise={},
    )
    refused(
        "noise holds key float64 (2,); it must hold an int64 key for each row, key (2,), or be left out for numbers "
        "of a seed",
        adaptive=True,
        noise={"key": np.ones(2)},
    )


def test_a_solve_that_fails_is_a_status():
    problem = Problem("diagonal")
    y0 = problem.start(2)
    solution = odelet.sdeint(lambda t, y: y * np.inf, problem.g, y0, [0.0, 1.0], dt=0.1)
    assert solution.status is Status.NOT_FINITE
    for adaptive in (False, True):
        terms = {"dt": 0.1, "adaptive": adaptive, "rtol": 1e-3, "atol": 1e-3, "seed": 1}
        solution = odelet.sdeint(problem.f, problem.g, y0, [0.0, 1.0], max_evals=10, **terms)
        assert solution.status is Status.EVALUATION_LIMIT and np.isfinite(solution.outputs["y"]).all()
        assert odelet.sdeint(problem.f, problem.g, y0, [0.0], **terms).stats.steps == 0
    solution = odelet.sdeint(problem.f, problem.g, y0, [0.0, 1.0], max_steps=2, **terms)
    assert solution.status is Status.STEP_LIMIT
    with pytest.raises(
        odelet.SolveError, match=r"solve 0 \(ito_srid2\) stopped at time .*: the step limit was reached"
    ):
        solution.raise_if_failed()
    with pytest.raises(InputError, match="deadline=0 must be positive and finite"):
        odelet.sdeint(problem.f, problem.g, y0, [0.0, 1.0], deadline=0)


def test_steps_whose_error_is_above_the_tolerance_bring_a_warning():
    problem = Problem("diagonal")
    terms = {"adaptive": True, "dt": 0.1, "dt_min": 0.05, "rtol": 1e-9, "atol": 1e-9, "seed": 0}
    message = r"solve 0 \(ito_srid2\): steps of the least length, dt_min, were accepted with an error of up to .* times"
    with pytest.warns(RuntimeWarning, match=message):
        solution = odelet.sdeint(problem.f, problem.g, problem.start(2), [0.0, 0.5], **terms)
    assert solution.status is Status.OK and solution.stats.solves[0].error_ratio[0] > 1
    with pytest.warns(
        RuntimeWarning, match="adaptive steps of method='euler' need not converge .* for diagonal noise; take"
    ):
        odelet.sdeint(problem.f, problem.g, problem.start(2), [0.0, 0.5], method="euler", adaptive=True, atol=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        additive = Problem("additive")
        terms = {"noise_type": "additive", "method": "euler", "adaptive": True, "atol": 1.0}
        odelet.sdeint(additive.f, additive.g, additive.start(2), [0.0, 0.5], **terms)
