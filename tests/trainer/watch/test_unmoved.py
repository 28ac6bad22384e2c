"""A watch moves no step: without weights nothing changes, to the last bit, and with weights the steps stay the same."""

from dataclasses import dataclass

import pytest
import torch
import torchdiffeq
from torch import nn
from torchdiffeq import odeint, odeint_adjoint, odeint_event

from odelet_intercept.installed import SOLVERS
from odelet_train import watched

TIMES = torch.linspace(0.0, 1.0, 4)
WEIGHTS = {"kinetic": 0.3, "jacobian": 0.2, "second": 0.1}
ADAPTIVE = [name for name in SOLVERS if hasattr(SOLVERS[name], "tableau") and name != "scipy_solver"]
METHODS = [name for name in SOLVERS if name != "scipy_solver"]


class Field(nn.Module):
    """A field of a tensor, or of a tensor and an integral beside it, which notes the steps of its solver."""

    def __init__(self, paired=False):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
        self.paired, self.steps = paired, []

    def forward(self, t, y):
        z = y[0] if self.paired else y
        v = 3 * self.net(torch.cat([z, t.expand(len(z), 1)], 1))
        return (v, v.pow(2).sum(1)) if self.paired else v

    def net_alone(self, t, y):
        return self.forward(t, y)

    def callback_step(self, t0, y0, dt):
        z = y0[0] if self.paired else y0
        self.steps.append((float(t0.detach()), float(dt.detach()), z.detach().clone()))


@dataclass(frozen=True)
class Case:
    """A solve: its function, the dtype, whether the state is a tuple, and the arguments."""

    solver: object = odeint
    dtype: torch.dtype = torch.float32
    paired: bool = False
    times: torch.Tensor = TIMES
    how: object = None


def own_norm(state):
    parts = state if isinstance(state, tuple) else (state,)
    return sum(part.abs().amax() for part in parts)


def adjoint_norm(state):
    return max(part.abs().amax() if part.numel() else part.new_zeros(()) for part in state)


CASES = {
    **{f"{m}": Case(how={"method": m}) for m in METHODS},
    **{f"{m} float64": Case(dtype=torch.float64, how={"method": m}) for m in METHODS},
    **{f"{m} tuple": Case(paired=True, how={"method": m}) for m in METHODS},
    **{f"{m} adjoint": Case(odeint_adjoint, paired=True, how={"method": m}) for m in METHODS},
    "default method": Case(),
    "backward in time": Case(times=TIMES.flip(0)),
    "norm": Case(how={"method": "dopri5", "options": {"norm": own_norm}}),
    "norm of a tuple": Case(paired=True, how={"method": "dopri5", "options": {"norm": own_norm}}),
    "seminorm": Case(odeint_adjoint, how={"adjoint_options": {"norm": "seminorm"}}),
    "adjoint norm": Case(odeint_adjoint, how={"adjoint_options": {"norm": adjoint_norm}}),
    "adjoint norm of a tuple": Case(odeint_adjoint, paired=True, how={"adjoint_options": {"norm": adjoint_norm}}),
    "adjoint method": Case(odeint_adjoint, how={"adjoint_method": "rk4", "adjoint_options": {"step_size": 0.1}}),
    "step size": Case(how={"method": "rk4", "options": {"step_size": 0.07}}),
    "cubic": Case(how={"method": "midpoint", "options": {"step_size": 0.2, "interp": "cubic", "perturb": True}}),
    "jumps": Case(how={"method": "dopri5", "options": {"jump_t": torch.tensor([0.4]), "step_t": torch.tensor([0.7])}}),
    "first step": Case(how={"method": "bosh3", "options": {"first_step": 0.01, "max_num_steps": 500}}),
    "tolerance by element": Case(how={"rtol": 1e-4, "atol": torch.tensor([1e-3, 1e-5, 1e-4])}),
    "tolerance by part": Case(paired=True, how={"rtol": (1e-4, 1e-2), "atol": (1e-5, 1e-1)}),
    "grid": Case(how={"method": "euler", "options": {"grid_constructor": lambda f, y, t: lengths(f, y, t)}}),
    "grid of a tuple": Case(
        paired=True, how={"method": "euler", "options": {"grid_constructor": lambda f, y, t: lengths(f, y, t)}}
    ),
}


def lengths(f, y0, t):
    """A grid that depends on the field and on the state."""
    shorter = float((f(t[0], y0).abs().mean() / (1 + y0.abs().mean())).detach())
    inner = t[0] + (t[-1] - t[0]) * torch.linspace(0, 1, 9) ** (1 + 0.1 * shorter)
    inner[-1] = t[-1]
    return inner


def solved(case, **watch):
    """What a solve gives under a watch: the result, the gradients of a loss, the steps, and the watch; without keywords
    there is no watch."""
    torch.manual_seed(0)
    field = Field(case.paired).to(case.dtype)
    y0 = torch.randn(5, 3, dtype=case.dtype)
    state = (y0, torch.zeros(5, dtype=case.dtype)) if case.paired else y0
    how = {"rtol": 1e-4, "atol": 1e-5, **(case.how or {})}
    solves = None
    if watch:
        with watched(**watch) as solves:
            found = case.solver(field, state, case.times.to(case.dtype), **how)
    else:
        found = case.solver(field, state, case.times.to(case.dtype), **how)
    parts = found if case.paired else (found,)
    sum(part.square().mean() for part in parts).backward()
    return [part.detach() for part in parts], [p.grad for p in field.parameters()], field.steps, solves


def equal(a, b):
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def equal_steps(a, b):
    same = [x[:2] for x in a] == [y[:2] for y in b]
    return same and equal([x[2] for x in a], [y[2] for y in b])


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:Functional iteration did not converge")
def test_steps_are_those_without_a_watch(name):
    case = CASES[name]
    outputs, gradients, steps, _ = solved(case)
    assert steps
    still = solved(case, kinetic=0.0, jacobian=0.0, second=0.0, steer=0.0, adjoint=False)
    assert equal(still[0], outputs) and equal(still[1], gradients) and equal_steps(still[2], steps)
    assert still[3].cost == 0.0 and still[3].integrals == {}
    weighted = solved(case, **WEIGHTS)
    assert equal(weighted[0], outputs) and equal_steps(weighted[2], steps)
    torch.testing.assert_close(weighted[1], gradients, rtol=2e-3, atol=1e-4)
    assert weighted[3].calls == still[3].calls and sum(still[3].calls.values()) > 0
    assert (sum(still[3].backward_calls.values()) > 0) == (case.solver is odeint_adjoint)
    assert all(float(value) > 0 for value in weighted[3].integrals.values())
    assert list(weighted[3].integrals) == list(WEIGHTS)


@pytest.mark.parametrize("solver", [odeint, odeint_adjoint])
@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("method", ["dopri5", "rk4"])
def test_events_and_their_gradients_stay(solver, paired, reverse, method):
    def event_fn(t, y):
        return (y[0] if paired else y)[0] - 0.5

    def field(t, y):
        v = rate * (y[0] if paired else y) * (-1 if reverse else 1)
        return (v, torch.zeros_like(y[1])) if paired else v

    def run(**watch):
        y0 = torch.tensor([1.0, 2.0], dtype=torch.float64)
        state = (y0, torch.zeros(2, dtype=torch.float64)) if paired else y0
        how = {"odeint_interface": odeint_adjoint, "adjoint_params": (rate,)} if solver is odeint_adjoint else {}
        options = {"options": {"step_size": 0.02}} if method == "rk4" else {}
        rate.grad = None

        def solve():
            return odeint_event(
                field, state, torch.zeros((), dtype=torch.float64), event_fn=event_fn, reverse_time=reverse,
                method=method, atol=1e-8, rtol=1e-8, **options, **how,
            )  # fmt: skip

        solves = None
        if watch:
            with watched(**watch) as solves:
                t, y = solve()
        else:
            t, y = solve()
        (t + (y[0] if paired else y)[-1].sum()).backward()
        return [t.detach(), *((part.detach() for part in y) if paired else [y.detach()])], [rate.grad.clone()], solves

    rate = torch.tensor(-0.7, dtype=torch.float64, requires_grad=True)
    plain, still, weighted = run(), run(kinetic=0.0), run(kinetic=1.0)
    assert equal(plain[0], still[0]) and equal(plain[1], still[1]) and equal(plain[0], weighted[0])
    torch.testing.assert_close(plain[1], weighted[1], rtol=1e-6, atol=1e-9)
    # y = y0 exp(-0.7 s) falls from (1, 2) to (0.5, 1): the integral of 0.7^2 y^2 is 0.35 (y0^2 - y1^2), halved.
    assert float(weighted[2].integrals["kinetic"]) == pytest.approx(0.35 * (1 + 4 - 0.25 - 1) / 2, rel=1e-3)
    assert plain[0][0] == pytest.approx(torch.log(torch.tensor(2.0)).item() / (-0.7 if reverse else 0.7), rel=1e-3)


def test_callbacks_get_the_models_own_state():
    seen = []

    class Noted(Field):
        def callback_accept_step(self, t0, y0, dt):
            seen.append(("accept", y0.shape))

        def callback_step_adjoint(self, t0, state, dt):
            seen.append(("adjoint", [part.shape for part in state]))

    torch.manual_seed(0)
    field = Noted()
    for watch in ({}, {"kinetic": 0.1, "jacobian": 0.1}):
        seen.clear()
        with watched(**watch):
            y = odeint_adjoint(field, torch.randn(5, 3), TIMES, rtol=1e-4)
        y.sum().backward()
        shapes = [(), (5, 3), (5, 3), *[p.shape for p in field.parameters()]]
        assert ("accept", (5, 3)) in seen and ("adjoint", shapes) in seen
        assert all(shape in ((5, 3), shapes) for _, shape in seen)


def test_a_model_without_random_numbers_draws_none():
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    with watched(kinetic=0.1, second=0.1):
        odeint(Field(), torch.ones(5, 3), TIMES, method="rk4")
    torch.manual_seed(0)
    Field()
    after = torch.random.get_rng_state()
    torch.manual_seed(0)
    with watched(kinetic=0.1, second=0.1):
        odeint(Field(), torch.ones(5, 3), TIMES, method="rk4")
    assert torch.equal(torch.random.get_rng_state(), after) and not torch.equal(before, after)


def test_odeint_dense_and_scipy_are_counted():
    torch.manual_seed(0)
    field = Field().net_alone
    with watched() as solves:
        dense = torchdiffeq.odeint_dense(field, torch.ones(2, 3), torch.tensor(0.0), torch.tensor(1.0))
        line = odeint(field, torch.ones(2, 3), TIMES, method="scipy_solver")
    assert dense(torch.tensor(0.5)).shape == (2, 3) and line.shape == (4, 2, 3)
    assert [solve.entry for solve in solves.solves] == ["odeint_dense", "odeint"]
    assert all(solve.calls > 5 for solve in solves.solves)
