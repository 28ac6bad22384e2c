"""The regularisers are the integrals of their definitions, and their gradients are those of finite differences."""

import math
import weakref

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint
from torchdiffeq import odeint, odeint_adjoint, odeint_event

from odelet_train import watched
from odelet_train.watch.settings import KINDS

ENDS = torch.tensor([0.0, 1.5], dtype=torch.float64)
EXACT = {"rtol": 1e-9, "atol": 1e-9}


def rows(batch, dim):
    return torch.linspace(-1, 2, batch * dim, dtype=torch.float64).reshape(batch, dim)


@pytest.mark.parametrize("solver", [odeint, odeint_adjoint])
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("backward", [False, True])
def test_kinetic_energy_of_a_linear_field_is_its_closed_form(solver, batch, backward):
    rates = torch.tensor([-0.5, 0.3, -1.2], dtype=torch.float64)
    times, y0 = (ENDS.flip(0) if backward else ENDS), rows(batch, 3)
    how = {"adjoint_params": ()} if solver is odeint_adjoint else {}
    with watched(kinetic=0.5) as solves:
        solver(lambda t, y: rates * y, y0, times, **EXACT, **how)
    span = float(times[-1] - times[0])
    exact = (rates / 2 * y0**2 * torch.expm1(2 * rates * span)).mean().abs()
    assert float(solves.integrals["kinetic"]) == pytest.approx(float(exact), rel=1e-7)
    assert float(solves.cost) == pytest.approx(0.5 * float(exact), rel=1e-7)


def test_the_jacobians_estimate_has_the_squared_norm_as_its_mean():
    torch.manual_seed(0)
    matrix = torch.tensor([[0.5, -1.0], [0.2, 0.7]], dtype=torch.float64)
    with watched(jacobian=1.0) as solves:
        odeint(lambda t, y: y @ matrix.T, torch.zeros(20000, 2, dtype=torch.float64), ENDS, method="rk4")
    exact = 1.5 * matrix.square().sum() / 2
    assert float(solves.integrals["jacobian"]) == pytest.approx(float(exact), rel=0.03)


@pytest.mark.parametrize(
    ("field", "exact"),
    [
        (lambda t, y: -2 * y, 4 * (1 - math.exp(-6))),  # y'' = 4 y and y = exp(-2 t)
        (lambda t, y: t**2 * torch.ones_like(y), 4 * 1.5**3 / 3),
        (lambda t, y: torch.ones_like(y), 0.0),
        (lambda t, y: torch.sin(t) * y, None),
    ],
)
def test_the_second_derivative_is_the_total_one(field, exact):
    with watched(second=1.0) as solves:
        y = odeint(field, torch.ones(2, 1, dtype=torch.float64), torch.linspace(0, 1.5, 301).double(), **EXACT)
    assert not y.requires_grad
    if exact is None:  # y = exp(1 - cos t), y'' = (cos t + sin^2 t) y
        t = torch.linspace(0, 1.5, 301).double()
        exact = float(torch.trapezoid(((torch.cos(t) + torch.sin(t) ** 2) * y[:, 0, 0]) ** 2, t))
        assert float(solves.integrals["second"]) == pytest.approx(exact, rel=1e-4)
    else:
        assert float(solves.integrals["second"]) == pytest.approx(exact, rel=1e-6, abs=1e-12)


def test_parts_that_the_field_does_not_read_do_not_count():
    def flow(t, state):
        return -state[0], 100 * state[0].sum(1)

    def pair(t, state):
        return state[1], -state[0]

    y0 = rows(4, 3)
    with watched(kinetic=1.0) as solves:
        odeint(flow, (y0, y0[:, 0]), ENDS, **EXACT)
    exact = (0.5 * y0**2 * -math.expm1(-3)).mean()
    assert float(solves.integrals["kinetic"]) == pytest.approx(float(exact), rel=1e-7)
    with watched(kinetic=1.0) as solves:
        odeint(pair, (y0, y0), ENDS, **EXACT)
    assert float(solves.integrals["kinetic"]) == pytest.approx(1.5 * float(y0.square().mean()), rel=1e-7)


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()

    def forward(self, t, y):
        return self.net(torch.cat([y, t.expand(len(y), 1)], 1))


SOLVES = {
    "rk4": lambda field, y0: odeint(field, y0, ENDS, method="rk4", options={"step_size": 0.5}),
    "adaptive": lambda field, y0: odeint(field, y0, ENDS, rtol=1e-10, atol=1e-12),
    "adjoint": lambda field, y0: odeint_adjoint(field, y0, ENDS, rtol=1e-10, atol=1e-12),
    "backward": lambda field, y0: odeint(field, y0, ENDS.flip(0), method="rk4", options={"step_size": 0.5}),
    "event": lambda field, y0: odeint_event(
        lambda t, y: field(t, y) + torch.tensor([1.0, 0.5]),
        y0,
        torch.zeros((), dtype=torch.float64),
        event_fn=lambda t, y: y[0, 0] - 0.4,
        rtol=1e-11,
        atol=1e-13,
    )[1],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", SOLVES)
def test_gradients_are_those_of_finite_differences(kind, way):
    torch.manual_seed(0)
    field, y0 = Small(), rows(2, 2).requires_grad_(True)
    parameters = [y0, *field.parameters()]

    def cost():
        torch.manual_seed(1)
        with watched(**{kind: 1.0}) as solves:
            SOLVES[way](field, y0)
        return solves.cost

    gradients = torch.autograd.grad(cost(), parameters, allow_unused=True)
    generator = torch.Generator().manual_seed(2)
    along = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
    exact = sum(float((g * a).sum()) for g, a in zip(gradients, along, strict=True) if g is not None)
    size, costs = 1e-4, []
    for sign in (1, -1):
        with torch.no_grad():
            for p, a in zip(parameters, along, strict=True):
                p.add_(a, alpha=sign * size)
            costs.append(float(cost()))
            for p, a in zip(parameters, along, strict=True):
                p.sub_(a, alpha=sign * size)
    assert exact == pytest.approx((costs[0] - costs[1]) / (2 * size), rel=1e-5, abs=1e-7)


def test_a_checkpoint_changes_neither_cost_nor_gradients():
    torch.manual_seed(0)
    field, y0 = Small(), rows(3, 2).requires_grad_(True)

    def run(again):
        field.zero_grad()
        torch.manual_seed(1)

        def solve(y):
            return odeint(field, y, ENDS, method="rk4")[-1]

        with watched(kinetic=0.1) as solves:
            y = checkpoint(solve, y0, use_reentrant=False) if again else solve(y0)
            (y.sum() + solves.cost).backward()
        return solves, [p.grad.clone() for p in field.parameters()]

    (once, gradients), (twice, others) = run(False), run(True)
    assert once.calls == twice.calls and torch.equal(once.cost, twice.cost)
    assert all(torch.equal(a, b) for a, b in zip(gradients, others, strict=True))


class Conditioned(nn.Module):
    """A model whose field reads a tensor of the model's that is no parameter of the field."""

    def __init__(self):
        super().__init__()
        self.encoder, self.net = nn.Linear(2, 2).double(), nn.Linear(4, 2).double()

    def forward(self, x):
        code = self.encoder(x)
        return odeint(lambda t, y: torch.tanh(self.net(torch.cat([y, code], 1))), x, ENDS, rtol=1e-9, atol=1e-9)[-1]


def test_adjoint_gives_gradients_to_all_that_a_field_reads():
    torch.manual_seed(0)
    model, x = Conditioned(), rows(3, 2)

    def gradients(**watch):
        model.zero_grad()
        with watched(**watch) as solves:
            y = model(x)
        (y.square().sum() + solves.cost).backward()
        return [p.grad.clone() for p in model.parameters()], solves

    for weights in ({}, {"kinetic": 0.3, "jacobian": 0.1}):
        torch.manual_seed(1)
        plain, _ = gradients(**weights)
        torch.manual_seed(1)
        adjoint, solves = gradients(adjoint=True, **weights)
        torch.testing.assert_close(adjoint, plain, rtol=1e-5, atol=1e-7)
        assert min(solves.backward_calls.values()) > 0


def test_adjoint_refuses_to_lose_a_gradient():
    early, late = (nn.Parameter(torch.ones(2)) for _ in range(2))
    with watched(adjoint=True):
        y = odeint(lambda t, y: -y * (early if t < 0.5 else late), torch.ones(2), torch.tensor([0.0, 1.0]))
    with pytest.raises(ValueError, match=r"adjoint=True: the field reads 1 tensors .*did not read at the start"):
        y.sum().backward()


class Peak(TorchDispatchMode):
    """Notes the most bytes of tensors that live at once."""

    def __init__(self):
        super().__init__()
        self.now, self.most, self.known = 0, 0, set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        for value in tree_leaves(found):
            if isinstance(value, torch.Tensor):
                self.note(value.untyped_storage())
        return found

    def note(self, storage):
        key, size = storage._cdata, storage.nbytes()
        if key not in self.known:
            self.known.add(key)
            self.now, self.most = self.now + size, max(self.most, self.now + size)
            weakref.finalize(storage, self.forget, key, size)

    def forget(self, key, size):
        self.known.discard(key)
        self.now -= size


def test_memory_by_adjoint_does_not_grow_with_the_steps():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 16))
    y0, most = torch.randn(256, 16), {}
    for adjoint in (False, True):
        for steps in (10, 100):
            with Peak() as peak, watched(adjoint=adjoint):
                y = odeint(lambda t, y: net(y), y0, torch.tensor([0.0, 1.0]), method="rk4",
                           options={"step_size": 1 / steps})[-1]  # fmt: skip
                y.square().mean().backward()
            most[adjoint, steps] = peak.most
    assert most[True, 100] <= 1.2 * most[True, 10]
    assert most[False, 100] > 5 * most[False, 10]
