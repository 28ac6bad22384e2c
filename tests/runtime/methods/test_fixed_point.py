"""Fixed points on numpy arrays: exact answers, and properties that theorems prove."""

from functools import partial

import numpy as np
import pytest

from odelet.methods.fixed_point import ITERATIONS, iterate, solve_by_elimination, status_code
from odelet.numerics.backend import NUMPY
from odelet.numerics.state import Layout
from odelet.status import Status

PLAIN, ANDERSON = ITERATIONS["fixed_point"], ITERATIONS["anderson"]
RNG = np.random.default_rng(0)


def linear(n, samples=1, factor=0.95, seed=0):
    """f(z) = A z + b on samples (samples, n), and its exact fixed points. factor: the largest |eigenvalue| of A."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(n, n)), rng.normal(size=(samples, n))
    a *= factor / abs(np.linalg.eigvals(a)).max()
    return (lambda z: z @ a.T + b), np.linalg.solve(np.eye(n) - a, b.T).T


def solved(method, f, z0, *, per_sample=False, measure=None, atol=1e-10, rtol=0.0, limit=1000, stops=True):
    """The answer of an iteration, in the shape of z0, and its last state."""
    layout = Layout.of([z0], user_norm=measure, per_sample=per_sample)

    def rows(row):
        return layout.pack([f(layout.unpack(row, xp=NUMPY)[0])], xp=NUMPY)

    with np.errstate(all="ignore"):
        state = iterate(
            *(method, rows, layout.pack([z0], xp=NUMPY)),
            **{"rtol": rtol, "atol": atol, "limit": limit, "stops": stops, "layout": layout, "xp": NUMPY},
        )
    return layout.unpack(state.best, xp=NUMPY)[0], state


def status(state):
    return Status(int(status_code(state, xp=NUMPY)))


@pytest.mark.parametrize("method", ITERATIONS.values(), ids=ITERATIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_iterations_solve_a_linear_system(method, dtype):
    f, exact = linear(8, samples=3, factor=0.8)
    atol = 1e-6 if dtype == np.float32 else 1e-11
    z, state = solved(method, lambda z: f(z).astype(dtype), np.zeros((3, 8), dtype), atol=atol)
    assert (status(state), z.dtype) == (Status.OK, dtype)
    assert abs(z - exact).max() < 30 * atol


def test_plain_iteration_stops_at_the_first_small_change():
    f, _ = linear(5, factor=0.7)
    changes, z = [], np.zeros((1, 5))
    for _ in range(200):
        changes.append(np.sqrt(np.mean((f(z) - z) ** 2)) <= 1e-4 * np.sqrt(np.mean(f(z) ** 2)) + 1e-5)
        z = f(z)
    _, state = solved(PLAIN, f, np.zeros((1, 5)), rtol=1e-4, atol=1e-5)
    assert state.turns == changes.index(True) + 1


def test_anderson_with_one_turn_in_memory_is_the_plain_iteration():
    f, _ = linear(6)
    for tau in (1.0, 0.8):
        plain, one = (solved(m.with_options(tau=tau), f, np.ones((1, 6))) for m in (PLAIN, ANDERSON.with_options(m=1)))
        assert plain[1].turns == one[1].turns > 90
        assert np.allclose(plain[0], one[0], rtol=0, atol=1e-14)


@pytest.mark.parametrize("n", [2, 4, 6])
def test_anderson_solves_a_linear_system_of_n_unknowns_in_n_plus_2_turns(n):
    """Some combination of n + 1 changes is zero: Walker & Ni 2011, theorem 2.2."""
    f, exact = linear(n)
    z, state = solved(ANDERSON.with_options(m=n + 2, lam=0.0), f, np.zeros((1, n)))
    assert state.turns <= n + 2
    assert abs(z - exact).max() < 1e-9
    assert solved(PLAIN, f, np.zeros((1, n)))[1].turns > 200


def test_anderson_halves_the_turns_of_a_nonlinear_problem_at_any_scale():
    w = np.random.default_rng(3).normal(size=(20, 20)) * 0.25
    turns = {}
    for scale in (1.0, 1e-6):
        b = np.random.default_rng(4).normal(size=(1, 20))
        f = partial(lambda z, b, s: s * np.tanh(z / s @ w.T + b), b=b, s=scale)
        for name, method in ITERATIONS.items():
            _, state = solved(method, f, np.zeros((1, 20)), atol=1e-11 * scale)
            assert status(state) is Status.OK
            turns[name, scale] = int(state.turns)
    assert turns["anderson", 1.0] < 0.5 * turns["fixed_point", 1.0]
    assert abs(turns["anderson", 1.0] - turns["anderson", 1e-6]) <= 1


def test_weights_minimize_the_combined_change():
    """The weights sum to 1 and solve this least squares problem, here by its normal equations."""
    samples, width, m = 3, 7, 4
    changes = [RNG.normal(size=(m, samples, width)), RNG.normal(size=(m, samples, 2))]
    weights = ANDERSON.with_options(m=m, lam=0.0)._weights(changes, xp=NUMPY)
    for i in range(samples):
        g = np.concatenate([part[:, i] for part in changes], axis=1)
        bordered = np.block([[g @ g.T, np.ones((m, 1))], [np.ones((1, m)), np.zeros((1, 1))]])
        expected = np.linalg.solve(bordered, [0] * m + [1])[:m]
        assert weights[:, i] == pytest.approx(expected, rel=1e-9)


def test_elimination_solves_many_systems_at_once():
    half = RNG.normal(size=(5, 6, 6))
    a, b = half @ half.transpose(0, 2, 1) + 0.1 * np.eye(6), RNG.normal(size=(5, 6))
    system = np.concatenate([a, b[:, :, None]], axis=2).transpose(1, 2, 0)
    solutions = solve_by_elimination(system, 6, xp=NUMPY).T
    assert solutions == pytest.approx(np.linalg.solve(a, b[..., None])[..., 0], rel=1e-9)


def test_damping_converges_where_the_plain_iteration_does_not():
    f = partial(lambda z, b: -1.5 * z + b, b=np.ones((1, 3)))
    assert status(solved(PLAIN, f, np.zeros((1, 3)), limit=50)[1]) is Status.NOT_CONVERGED
    z, state = solved(PLAIN.with_options(tau=0.5), f, np.zeros((1, 3)))
    assert status(state) is Status.OK
    assert z == pytest.approx(np.full((1, 3), 0.4), rel=1e-9)


@pytest.mark.parametrize("method", ITERATIONS.values(), ids=ITERATIONS)
def test_a_sample_of_a_batch_has_the_turns_and_answer_of_the_sample_alone(method):
    f, exact = linear(5, samples=4, factor=0.9)
    z0 = exact + np.array([1e-3, 1.0, 1e-9, 10.0])[:, None]
    z, state = solved(method, f, z0, per_sample=True)
    assert len(set(state.turns.tolist())) > 2
    for i in range(4):
        alone, one = solved(method, lambda z, i=i: f(np.repeat(z, 4, axis=0))[i : i + 1], z0[i : i + 1])
        assert state.turns[i] == one.turns
        assert z[i] == pytest.approx(alone[0], rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("method", ITERATIONS.values(), ids=ITERATIONS)
def test_turns_after_convergence_change_nothing(method):
    f, _ = linear(4, samples=3, factor=0.8)
    z0 = np.array([[0.0], [1e3], [-7.0]]) * np.ones((3, 4))
    for per_sample in (False, True):
        stopped, went_on = (solved(method, f, z0, per_sample=per_sample, stops=stops) for stops in (True, False))
        assert np.array_equal(stopped[0], went_on[0])
        assert np.array_equal(stopped[1].turns, went_on[1].turns)


def test_without_convergence_the_answer_is_that_of_the_smallest_change():
    size = 3.0
    changes = []

    def f(z):  # its changes shrink, and then grow
        changes.append(abs(z - 2).max() + 0.5)
        return z + changes[-1]

    z, state = solved(PLAIN, f, np.array([[-size]]), limit=5)
    assert (status(state), state.turns) == (Status.NOT_CONVERGED, 5)
    z_before = -size + sum(changes[: int(np.argmin(changes))])
    assert z.item() == pytest.approx(z_before + min(changes))


@pytest.mark.parametrize("start", [1.0, np.nan, np.inf])
def test_a_value_that_is_not_finite_ends_the_iteration(start):
    z, state = solved(ANDERSON, lambda z: np.exp(z) ** 4, np.array([[start]]))
    assert status(state) is Status.NOT_FINITE
    assert state.turns < 20
    assert np.isnan(start) or np.isinf(start) or np.isfinite(z).all()


def test_an_exact_guess_takes_one_turn_and_lam_may_be_zero():
    f = partial(lambda z, b: 0.5 * z + b, b=np.ones((1, 1)))
    z, state = solved(ANDERSON.with_options(lam=0.0), f, np.full((1, 1), 2.0))
    assert (z.item(), state.turns, status(state)) == (2.0, 1, Status.OK)
    for m in (2, 6):
        z, state = solved(ANDERSON.with_options(m=m, lam=0.0), f, np.zeros((1, 1)))
        assert (z.item(), status(state)) == (pytest.approx(2.0, abs=1e-9), Status.OK)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"m": 0}, "m=0 must be a whole number from 1 to 16"),
        ({"m": 2.5}, "m=2.5 must be a whole number"),
        ({"lam": -1.0}, "lam=-1.0 must be finite and not negative"),
        ({"tau": 0.0}, "tau=0.0 must be above 0 and at most 1"),
    ],
)
def test_options_out_of_range_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        ANDERSON.with_options(**options)
