"""The steps of SDE methods are torchsde's, and their strong orders are the declared ones."""

import numpy as np
import pytest

pytest.importorskip("torchsde")

from support.sdes import PAIRS, Increments, Problem, drawn, solve, torch_sdeint

from odelet.methods.sde import Sde
from odelet.methods.sde_steps import SDE_METHODS, sde_method
from odelet.numerics.grid import accumulated_points

EXACT = {"float64": 1e-13, "float32": 1e-6}


@pytest.mark.parametrize("dtype", EXACT)
@pytest.mark.parametrize(("name", "noise"), PAIRS)
def test_the_steps_are_torchsdes(name, noise, dtype):
    method = SDE_METHODS[name]
    problem = Problem(noise, method.calculus, dtype)
    ts = np.array([0.1, 0.6, 1.1], dtype)
    grid = accumulated_points(ts, 0.1)
    for batch in (1, 3, 64):
        y0 = problem.start(batch)
        normals = drawn(method, len(grid) - 1, batch, problem.channels, dtype)
        theirs = torch_sdeint(problem, name, y0, ts, Increments(method, normals, problem.channels), dt=0.1)
        ours = solve(method, problem.sde(method), y0, grid, normals)
        assert ours.dtype == dtype
        assert np.abs(ours - theirs[-1]).max() < EXACT[dtype] * np.abs(theirs[-1]).max()


@pytest.mark.parametrize("dtype", EXACT)
@pytest.mark.parametrize("dt", [0.1, 0.01, 0.001, 0.05, 0.3])
@pytest.mark.parametrize("ends", [(0.0, 1.0), (0.0, 0.5, 1.0), (-0.3, 1.7), (2.0, 2.2)])
def test_the_grid_is_torchsdes(dt, ends, dtype):
    method, problem = SDE_METHODS["ito_euler"], Problem("diagonal", "ito", dtype)
    ts = np.array(ends, dtype)
    path = Increments(method, [np.zeros((2100, 1, problem.channels), dtype)], problem.channels)
    torch_sdeint(problem, "ito_euler", problem.start(1), ts, path, dt=dt)
    points = accumulated_points(ts, dt)
    assert points.dtype == ts.dtype
    assert path.asked == list(zip(points[:-1].tolist(), points[1:].tolist(), strict=True))


def test_a_grid_that_cannot_be_is_refused():
    for t, dt in (([0.0, 1.0], 0.0), ([0.0, 1.0], -0.1), ([0.0, 1.0], float("nan")), ([0.0, 1.0], 1e-9)):
        with pytest.raises(ValueError, match="must be positive, and not too small for times from 0 to 1"):
            accumulated_points(np.array(t), dt)
    with pytest.raises(ValueError, match="dt=1e-09 must be positive, and not too small"):
        accumulated_points(np.array([100.0, 100.001], np.float32), 1e-9)
    assert accumulated_points(np.array([3.0]), 0.1).tolist() == [3.0]


def geometric(calculus, noise, mu=0.4, sigma=0.8):
    """Geometric Brownian motion from 1, with the exact state at a time for the Brownian motion there."""
    columns = (lambda y: y) if noise == "diagonal" else (lambda y: y[:, :, None])
    sde = Sde(
        noise=noise,
        width=1,
        channels=1,
        drift=lambda t, y: mu * y,
        diffusion=lambda t, y: columns(sigma * y),
        correction=lambda t, y, v: sigma**2 * y * v,
    )
    drift = mu - sigma**2 / 2 if calculus == "ito" else mu
    return sde, lambda t, w: np.exp(drift * t + sigma * w)


def measured_order(method, sde, exact, counts=(8, 16, 32, 64), paths=5000):
    """The slope of the strong error at time 1 over the number of steps, both as logarithms."""
    errors = []
    for count in counts:
        grid = np.linspace(0, 1, count + 1)
        normals = drawn(method, count, paths, 1, seed=count)
        end = solve(method, sde, np.ones((paths, 1)), grid, normals)
        w = normals[0].sum(axis=0) / np.sqrt(count)
        errors.append(np.abs(end - exact(1.0, w)).mean())
    return -np.polyfit(np.log(counts), np.log(errors), 1)[0]


# Methods for the Stratonovich sense gain half an order where channels commute, as one channel does with itself.
COMMUTING = {"ito_euler": 0.5}


@pytest.mark.parametrize(("name", "noise"), [pair for pair in PAIRS if pair[1] in ("diagonal", "scalar")])
def test_the_strong_order_on_geometric_brownian_motion(name, noise):
    method = SDE_METHODS[name]
    expected = COMMUTING.get(name, max(method.strong_order, 1.0))
    assert measured_order(method, *geometric(method.calculus, noise)) == pytest.approx(expected, abs=0.15)


def swinging():
    """An SDE with additive noise, whose drift is not linear."""
    return Sde(
        noise="additive",
        width=2,
        channels=2,
        drift=lambda t, y: np.stack([np.cos(y[:, 1]), -np.sin(y[:, 0])], axis=1),
        diffusion=lambda t, y: np.broadcast_to([[0.6, 0.0], [0.4, 1.8]], (len(y), 2, 2)) * (1 + t / 2),
    )


def rotating():
    """An SDE whose two channels do not commute."""
    turns = np.array([[[0.0, 1.0], [1.0, 0.0]], [[0.9, 0.0], [0.0, -0.9]]])

    def correction(t, y, v):
        """The sum over j, k, l of dg_il/dy_j g_jk A_kl, for g_il = sum_j turns_lij y_j."""
        return np.einsum("lij,bjk,bkl->bi", turns, np.einsum("lij,bj->bil", turns, y), v)

    return Sde(
        noise="general",
        width=2,
        channels=2,
        drift=lambda t, y: -0.5 * y,
        diffusion=lambda t, y: np.einsum("lij,bj->bil", turns, y),
        correction=correction,
    )


def order_along_a_path(method, sde, reference, fine, counts, paths=500):
    """The slope of the strong error at time 1, against many more steps of another method along the same path."""
    w, h = np.random.default_rng(3).standard_normal((2, fine, paths, sde.channels)) / np.sqrt(fine)
    h /= np.sqrt(12)

    def end(method, count):
        """The state after `count` steps, whose increments are those of the fine path together."""
        parts, areas = (x.reshape(count, fine // count, *x.shape[1:]) for x in (w, h))
        total = parts.sum(axis=1)
        # The space-time area is the mean of the path over the step, less half its end.
        area = (np.cumsum(parts, axis=1) - parts / 2 + areas).mean(axis=1) - total / 2
        normals = [total * np.sqrt(count), area * np.sqrt(12 * count)][: len(method.draws)]
        if "area" in method.draws:
            normals += drawn(method, count, paths, sde.channels)[2:]
        return solve(method, sde, np.ones((paths, sde.width)), np.linspace(0, 1, count + 1), normals)

    exact = end(reference, fine)
    errors = [np.abs(end(method, count) - exact).mean() for count in counts]
    return -np.polyfit(np.log(counts), np.log(errors), 1)[0]


@pytest.mark.parametrize("name", [name for name, noise in PAIRS if noise == "additive"])
def test_the_strong_order_for_additive_noise(name):
    order = order_along_a_path(SDE_METHODS[name], swinging(), SDE_METHODS["ito_sra1"], 1024, (16, 32, 64))
    assert order == pytest.approx(max(SDE_METHODS[name].strong_order, 1.0), abs=0.15)


@pytest.mark.parametrize("name", [name for name, noise in PAIRS if noise == "general"])
def test_the_strong_order_where_channels_do_not_commute(name):
    method = SDE_METHODS[name]
    reference = SDE_METHODS["ito_euler" if method.calculus == "ito" else "stratonovich_midpoint"]
    order = order_along_a_path(method, rotating(), reference, 2048, (8, 16, 32, 64))
    assert order == pytest.approx(method.strong_order, abs=0.15)


def test_every_method_has_a_name_of_torchsdes():
    kinds = {
        (name, calculus, noise, grad_free): sde_method(name, calculus, noise, grad_free=grad_free).name
        for name, calculus, noise, grad_free in [
            ("srk", "ito", "diagonal", False),
            ("srk", "ito", "additive", False),
            ("milstein", "ito", "scalar", True),
            ("milstein", "stratonovich", "diagonal", True),
            ("milstein", "ito", "additive", True),
            ("log_ode", "stratonovich", "general", False),
            ("log_ode", "stratonovich", "diagonal", False),
            ("euler", "ito", "general", False),
        ]
    }
    assert list(kinds.values()) == [
        "ito_srid2",
        "ito_sra1",
        "ito_milstein_grad_free",
        "stratonovich_milstein_grad_free",
        "ito_milstein",
        "stratonovich_log_ode",
        "stratonovich_midpoint",
        "ito_euler",
    ]


@pytest.mark.parametrize("name", ["heun", "srid2", "sra1", "milstein_grad_free", "dopri5"])
def test_a_name_that_is_no_method_of_the_calculus_is_refused(name):
    with pytest.raises(ValueError, match=rf"method='{name}' is not one of euler, milstein, srk, the methods for SDEs"):
        sde_method(name, "ito", "diagonal")


def test_a_kind_of_noise_that_the_method_does_not_solve_is_refused():
    message = "method='milstein' solves additive, diagonal, scalar noise; the SDE has general noise"
    with pytest.raises(ValueError, match=message):
        sde_method("milstein", "ito", "general")
