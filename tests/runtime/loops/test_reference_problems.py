"""The reference problems have their published end values, and our answers have the errors of torchdiffeq's.

Where rounding decides, the allowed difference is measured: torchdiffeq runs again on slopes that are changed by a unit
in the last place at random, and our answer may differ by as much as its own answer then does.
"""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from support.problems import JUMPING, PROBLEMS, torch_solve
from support.rosters import ADAPTIVE, FIXED

import odelet
from odelet.numerics.tableau import TABLEAUS

EVERY = PROBLEMS | JUMPING
# By tolerance: methods of lower order are left out, as they need too many steps.
LOWEST_ORDER = {1e-3: 2, 1e-6: 3, 1e-9: 5}
TIMES = np.linspace(0, 20, 6)


@pytest.mark.parametrize("name", EVERY)
def test_the_equations_have_the_published_end_values(name):
    """SciPy's DOP853 gives these values, when it solves from jump to jump."""
    problem = EVERY[name]
    y, cuts = np.array(problem.y0, float), [0, *problem.jumps, 20]
    for start, end in zip(cuts[:-1], cuts[1:], strict=True):
        before = np.nextafter(end, 0) if end in problem.jumps else end
        solution = solve_ivp(problem.on(np), (start, before), y, method="DOP853", rtol=1e-12, atol=1e-14)
        y = solution.y[:, -1]
    where, values = problem.end
    assert y[where] == pytest.approx(values, rel=0, abs=2e-10)


@dataclass(frozen=True)
class Answer:
    """A solution. counts: steps, accepted, evaluations. y: (times, n). error: absolute, at the last time."""

    counts: tuple[int, int, int]
    y: np.ndarray
    error: float

    @classmethod
    def of(cls, problem, y, *counts):
        where, values = problem.end
        return cls(counts, y.astype(float), np.abs(y[-1][where] - values).max())

    def apart(self, other):
        """The largest difference of two solutions, over the largest element of the other."""
        return np.abs(self.y - other.y).max() / np.abs(other.y).max()


def ours(problem, dtype="float64", *, times=TIMES, **settings):
    solution = odelet.odeint(problem.on(np), np.array(problem.y0, dtype), times.astype(dtype), **settings)
    stats = solution.raise_if_failed().stats
    assert stats.rejected == stats.steps - stats.accepted
    return Answer.of(problem, solution.outputs["y"], stats.steps, stats.accepted, stats.evaluations)


def theirs(problem, dtype="float64", *, times=TIMES, noise=None, **settings):
    """The answer of torchdiffeq. noise: the seed of rounding errors that are added to each slope; None for none."""
    rng = np.random.default_rng(noise)

    def field(t, y):
        slope = problem.field(torch, t, y)
        if noise is None:
            return slope
        units = torch.from_numpy(rng.integers(-1, 2, size=tuple(slope.shape)).astype(dtype))
        return slope * (1 + units * torch.finfo(slope.dtype).eps)

    solution = torch_solve(field, np.array(problem.y0, dtype), times.astype(dtype), **settings)
    return Answer.of(problem, solution.outputs[0], solution.steps, solution.accepted, solution.evaluations)


def cases():
    """Each method at each tolerance, at 1e-3 on every second problem and else on every fifth, in turn."""
    for tolerance, lowest in LOWEST_ORDER.items():
        for i, method in enumerate(ADAPTIVE):
            if TABLEAUS[method].order >= lowest:
                for j, name in enumerate(PROBLEMS):
                    if (i + j) % (2 if tolerance == 1e-3 else 5) == 0:
                        yield method, tolerance, name
    # Steps are many and short at a jump that no option names, the more so the higher the order.
    for i, method in enumerate(ADAPTIVE):
        yield from ((method, 1e-2 if method == "dopri8" else 1e-3, name) for name in list(JUMPING)[i % 2 :: 2])


@pytest.mark.parametrize(("method", "tolerance", "name"), list(cases()))
def test_float64_answers_and_steps_are_those_of_torchdiffeq(method, tolerance, name):
    problem, settings = EVERY[name], {"method": method, "rtol": tolerance, "atol": tolerance}
    try:
        expected = theirs(problem, **settings)
    except AssertionError as error:
        assert "underflow in dt" in str(error)
        with pytest.raises(odelet.SolveError, match="the step became too small"):
            ours(problem, **settings)
        return
    computed = ours(problem, **settings)
    apart, allowed, counts = computed.apart(expected), 1e-12, {expected.counts}
    # Our steps may depend on rounding where torchdiffeq's do; on smooth problems none do at tolerances above 1e-9.
    assert computed.counts == expected.counts or name in JUMPING or tolerance == 1e-9
    for seed in range(8):
        if apart <= allowed and (computed.counts == expected.counts or len(counts) > 1):
            break
        moved = theirs(problem, noise=seed, **settings)
        allowed, counts = max(allowed, 4 * moved.apart(expected)), counts | {moved.counts}
    assert computed.counts == expected.counts or len(counts) > 1
    assert apart <= allowed
    assert computed.error == pytest.approx(expected.error, rel=0, abs=allowed * np.abs(expected.y).max())


def log_ratios(computed, expected):
    """The logarithms of our errors over torchdiffeq's on each problem; rounding of float32 is added to both."""
    return np.log((np.array(computed) + ROUNDING) / (np.array(expected) + ROUNDING))


ROUNDING = 10 * np.finfo(np.float32).eps
SHORT = np.linspace(0, 5, 6)


@pytest.mark.parametrize("method", [*FIXED, *ADAPTIVE])
def test_float32_answers_with_given_steps_differ_by_rounding(method):
    """The answers differ by 1e-5 of the largest element, or by as much as rounding moves torchdiffeq's own answer."""
    options = {"step_size": 0.25} if method in FIXED else {"first_step": 0.25, "min_step": 0.25, "max_step": 0.25}
    settings = {"times": SHORT, "method": method, "options": options}
    errors = []
    for problem in list(PROBLEMS.values())[::2]:
        expected, computed = (solve(problem, "float32", **settings) for solve in (theirs, ours))
        assert computed.counts == expected.counts
        if computed.apart(expected) > 1e-5:
            moved = [theirs(problem, "float32", noise=seed, **settings) for seed in range(2)]
            assert computed.apart(expected) <= 4 * max(answer.apart(expected) for answer in moved)
        exact = theirs(problem, **settings)
        errors.append((computed.apart(exact), expected.apart(exact)))
    assert np.exp(log_ratios(*zip(*errors, strict=True)).mean()) < 1.1


@pytest.mark.parametrize("method", ADAPTIVE)
def test_float32_answers_with_error_control_are_as_exact_as_torchdiffeqs(method):
    """Error estimates near rounding move the steps, so that rounding moves the answers within the solver's error.

    Rounding moves torchdiffeq's answers too, more on some problems and less on others: single ratios of the errors were
    0.6 to 3.7 for dopri8, and the mean over half of the problems 0.98 or 1.14, by which half. So the claim that ours
    are no further from the true solutions than torchdiffeq's, times 1.1, is tested as a mean with its standard error.
    `ifactor` keeps short first steps, whose error estimates are only rounding, from deciding the other steps.
    """
    tolerance = 1e-2 if method == "adaptive_heun" else 1e-3  # a tighter tolerance takes long
    settings = {"method": method, "rtol": tolerance, "atol": tolerance, "options": {"ifactor": 2.0}}
    errors, same = [], 0
    for problem in PROBLEMS.values():
        expected, computed = (solve(problem, "float32", **settings) for solve in (theirs, ours))
        same += computed.counts == expected.counts
        size = np.abs(expected.y).max()
        if computed.apart(expected) > max(1e-5, expected.error / size):
            moved = [theirs(problem, "float32", noise=seed, **settings) for seed in range(4)]
            assert computed.apart(expected) <= 4 * max(answer.apart(expected) for answer in moved)
        errors.append((computed.error / size, expected.error / size))
    assert same >= len(PROBLEMS) - 5
    logs = log_ratios(*zip(*errors, strict=True))
    assert logs.mean() - 2 * logs.std(ddof=1) / np.sqrt(len(logs)) < np.log(1.1)
    assert logs.mean() < np.log(1.5)
