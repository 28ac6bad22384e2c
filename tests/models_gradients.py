"""Fields that take gradients of their own: flows with a trace, energies, second order systems."""

import math

import torch
from models_case import BATCH, Case
from torch import nn
from torch.func import jacrev, jvp, vmap
from torchdiffeq import odeint, odeint_adjoint


class TimedTanh(nn.Module):
    """A mixture of rank-one tanh layers whose weights a small network makes from the time."""

    def __init__(self, dim=2, units=4):
        super().__init__()
        self.dim, self.units = dim, units
        self.weights_of = nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, units * (2 * dim + 1)))

    def forward(self, t, z):
        made = self.weights_of(t.view(1, 1)).view(self.units, 2 * self.dim + 1)
        inward, outward, offset = made.split([self.dim, self.dim, 1], dim=1)
        return torch.tanh(z @ inward.T + offset.T) @ outward / self.units


class Density(nn.Module):
    """A continuous normalizing flow, solved backwards: the divergence of the field is taken column by column."""

    def __init__(self):
        super().__init__()
        self.velocity = TimedTanh()
        self.register_buffer("times", torch.tensor([4.0, 0.0]))

    def field(self, t, state):
        position = state[0]
        with torch.enable_grad():
            position.requires_grad_(True)
            velocity = self.velocity(t, position)
            columns = velocity.unbind(1)
            gradients = [torch.autograd.grad(column.sum(), position, create_graph=True)[0] for column in columns]
        divergence = sum(gradient[:, i] for i, gradient in enumerate(gradients))
        return velocity, -divergence[:, None]

    def forward(self, x):
        state = (x, x.new_zeros(x.shape[0], 1))
        path, change = odeint(self.field, state, self.times, rtol=1e-3, atol=1e-3)
        base = -0.5 * path[-1].square().sum(1) - math.log(2 * math.pi)
        return base - change[-1, :, 0]


def cnf():
    return Case(Density(), (torch.randn(4, 2),))


class Hutchinson(nn.Module):
    """FFJORD: the trace estimated with noise drawn at the field's first call of each solve."""

    def __init__(self, dim=3):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, 8), nn.Softplus(), nn.Linear(8, dim))

    def forward(self, x, eps):
        def field(t, state):
            z = state[0]
            with torch.enable_grad():
                z = z.requires_grad_(True)
                dz = self.net(z) * (1 + t)
                e_dzdx = torch.autograd.grad(dz, z, eps, create_graph=True)[0]
            return dz, -(e_dzdx * eps).sum(1, keepdim=True), dz.square().sum(1, keepdim=True)

        zeros = torch.zeros(x.shape[0], 1, dtype=x.dtype)
        z, logp, energy = odeint(field, (x, zeros, zeros.clone()), torch.tensor([0.0, 1.0]), rtol=1e-4, atol=1e-4)
        return z[-1], logp[-1].squeeze(-1), energy[-1].mean()


def ffjord():
    return Case(Hutchinson(), (torch.randn(3, 3), torch.randn(3, 3)), {"x": {0: "batch"}, "eps": {0: "batch"}})


class ConvFlow(nn.Module):
    """A convolutional flow on images: the gradient goes back through convolutions."""

    def __init__(self, channels=2):
        super().__init__()
        self.a = nn.Conv2d(1, channels, 3, padding=1)
        self.b = nn.ConvTranspose2d(channels, 1, 3, padding=1)

    def field(self, t, state):
        x, _ = state
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            dx = self.b(torch.tanh(self.a(x)))
            (vjp,) = torch.autograd.grad(dx, x, torch.ones_like(dx), create_graph=True)
        return dx, -vjp.flatten(1).sum(1)

    def forward(self, x):
        y, div = odeint(self.field, (x, x.new_zeros(x.shape[0])), torch.tensor([0.0, 1.0]), method="rk4")
        return y[-1], div[-1]


def conv_flow():
    return Case(ConvFlow(), (torch.randn(2, 1, 4, 4),))


class HamiltonianField(nn.Module):
    def __init__(self, dim=2):
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(2 * dim, 12), nn.Tanh(), nn.Linear(12, 1))

    def forward(self, t, qp):
        with torch.enable_grad():
            qp = qp.requires_grad_()
            h = self.energy(qp).sum()
            dh = torch.autograd.grad(h, qp, create_graph=self.training)[0]
        dq, dp = torch.chunk(dh, 2, dim=-1)
        return torch.cat([dp, -dq], dim=-1)


class Hamiltonian(nn.Module):
    def __init__(self):
        super().__init__()
        self.field = HamiltonianField()

    def forward(self, q, p):
        state = torch.cat([q, p], -1)
        path = odeint(self.field, state, torch.linspace(0, 1, 3), method="rk4", options={"step_size": 0.1})
        return path.chunk(2, dim=-1)


def hamiltonian():
    return Case(Hamiltonian(), (torch.randn(3, 2), torch.randn(3, 2)), {"q": {0: "batch"}, "p": {0: "batch"}})


class Lagrangian(nn.Module):
    """Second order: the acceleration follows from first and second derivatives of an energy."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 8), nn.Softplus(), nn.Linear(8, 1))

    def field(self, t, state):
        q, v = state
        with torch.enable_grad():
            q, v = q.requires_grad_(True), v.requires_grad_(True)
            energy = self.net(torch.cat([q, v], -1)).sum() + (0.5 * v**2).sum()
            dq, dv = torch.autograd.grad(energy, (q, v), create_graph=True)
            dvq = torch.autograd.grad(dv.sum(), q, retain_graph=True)[0]
            dvv = torch.autograd.grad(dv.sum(), v)[0]
        return v, (dq - dvq * v) / (1.0 + dvv**2)

    def forward(self, x):
        q, v = odeint_adjoint(self.field, (x, torch.zeros_like(x)), torch.linspace(0.0, 1.0, 4), adjoint_params=())
        return q, v


def lagrangian():
    return Case(Lagrangian().double(), (torch.randn(3, 1).double(),))


class GradientFlow(nn.Module):
    """Energy descent with max, abs and norm in the energy, in a function rather than a module."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(3, 5))

    def forward(self, x):
        def descend(t, y):
            with torch.enable_grad():
                y = y.detach().requires_grad_(True)
                energy = (y @ self.w).logsumexp(-1).sum() + y.norm(dim=-1).sum() + (y @ self.w).amax(-1).sum()
                energy.backward()
            return -y.grad

        return odeint(descend, x, torch.tensor([0.0, 0.2]), method="heun3", options={"step_size": 0.05})[-1]


def gradient_flow():
    return Case(GradientFlow(), (torch.randn(3, 3),))


class FunctionalTrace(nn.Module):
    """The trace by torch.func: jacrev under vmap, and a directional derivative by jvp."""

    def __init__(self, dim=2):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, 8), nn.Tanh(), nn.Linear(8, dim))

    def field(self, t, state):
        z = state[0]
        jacobian = vmap(jacrev(self.net))(z)
        trace = jacobian.diagonal(dim1=-2, dim2=-1).sum(-1)
        _, along = jvp(self.net, (z,), (torch.ones_like(z),))
        return self.net(z), -trace, along

    def forward(self, x):
        z, logp, along = odeint(
            self.field,
            (x, x.new_zeros(x.shape[0]), torch.zeros_like(x)),
            torch.tensor([0.0, 1.0]),
            rtol=1e-4,
            atol=1e-4,
        )
        return z[-1], logp[-1], along[-1]


def functional_trace():
    return Case(FunctionalTrace(), (torch.randn(3, 2),))


class GroupNormFlow(nn.Module):
    """Gradients back through normalisations, attention and pooling."""

    def __init__(self, channels=4):
        super().__init__()
        self.norm = nn.GroupNorm(2, channels)
        self.layer_norm = nn.LayerNorm(channels)
        self.attn = nn.MultiheadAttention(channels, 2, batch_first=True)

    def forward(self, x):
        def field(t, y):
            with torch.enable_grad():
                y = y.requires_grad_(True)
                tokens = self.layer_norm(self.norm(y).transpose(1, 2))
                mixed, _ = self.attn(tokens, tokens, tokens, need_weights=False)
                potential = mixed.square().sum()
                return -torch.autograd.grad(potential, y)[0]

        return odeint(field, x, torch.tensor([0.0, 0.1]), method="euler", options={"step_size": 0.02})[-1]


def norm_flow():
    return Case(GroupNormFlow(), (torch.randn(2, 4, 6),), BATCH)


class RecurrentThenFlow(nn.Module):
    """A GRU before a field with gradients: tracing below autograd must keep both."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(2, 3, batch_first=True)
        self.field = HamiltonianField(dim=1)
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        h = self.head(self.gru(x)[0][:, -1])
        return odeint(self.field, h, torch.tensor([0.0, 1.0]), rtol=1e-3, atol=1e-3)[-1]


def gru_then_gradient():
    return Case(RecurrentThenFlow(), (torch.randn(3, 4, 2),))


CASES = [
    cnf,
    ffjord,
    conv_flow,
    hamiltonian,
    lagrangian,
    gradient_flow,
    functional_trace,
    norm_flow,
    gru_then_gradient,
]
