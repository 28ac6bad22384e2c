"""Models that draw random numbers: one for each way to draw, and models of the literature that draw."""

import torch
from torch import distributions, nn
from torch.nn import functional
from torchdiffeq import odeint

TIMES = torch.tensor([0.0, 0.5, 1.0])

# By name: ways to draw (rows, n) numbers, as functions of a table of rates in (0, 1), (rows, 4).
DRAWS = {
    "randn": lambda p: torch.randn(p.shape[0], 4),
    "randn of a size": lambda p: torch.randn(size=(2 * p.shape[0], 3), dtype=torch.float64)[: p.shape[0]],
    "randn_like": lambda p: torch.randn_like(p),
    "rand": lambda p: torch.rand(p.shape),
    "rand_like": lambda p: torch.rand_like(p, dtype=torch.float64),
    "randint": lambda p: torch.randint(-2, 3, (p.shape[0], 4)),
    "randint_like": lambda p: torch.randint_like(p, 5),
    "random_": lambda p: torch.empty_like(p).random_(1, 4),
    "randperm": lambda p: torch.randperm(6)[None].expand(p.shape[0], 6),
    "normal": lambda p: torch.normal(p, 2 * p),
    "normal of numbers": lambda p: torch.normal(1.0, 2.0, (p.shape[0], 4)),
    "normal_": lambda p: torch.zeros_like(p).normal_(1.0, std=0.5),
    "uniform_": lambda p: torch.empty_like(p).uniform_(-1, 3),
    "exponential_": lambda p: torch.empty_like(p).exponential_(2.0),
    "log_normal_": lambda p: torch.empty_like(p).log_normal_(0.1, 0.5),
    "cauchy_": lambda p: torch.empty_like(p).cauchy_(1.0, 0.5),
    "geometric_": lambda p: torch.empty_like(p).geometric_(0.3),
    "bernoulli": lambda p: torch.bernoulli(p),
    "bernoulli_": lambda p: torch.empty_like(p).bernoulli_(0.3),
    "bernoulli_ of rates": lambda p: torch.empty_like(p).bernoulli_(p),
    "multinomial": lambda p: torch.multinomial(p, 7, replacement=True),
    "multinomial without replacement": lambda p: torch.multinomial(p, 2),
    "dropout": lambda p: functional.dropout(p, 0.3, training=True),
    "dropout1d": lambda p: functional.dropout1d(p[:, :, None].expand(-1, -1, 3), 0.4, training=True).flatten(1),
    "dropout2d": lambda p: functional.dropout2d(p[:, :, None, None], 0.4, training=True).flatten(1),
    "gumbel_softmax": lambda p: functional.gumbel_softmax(p.log(), tau=0.7),
    "gumbel_softmax, hard": lambda p: functional.gumbel_softmax(p.log(), hard=True),
    "Normal": lambda p: distributions.Normal(p, p + 1).rsample(),
    "Uniform": lambda p: distributions.Uniform(-p, p).rsample(),
    "Laplace": lambda p: distributions.Laplace(p, p).rsample(),
    "Exponential": lambda p: distributions.Exponential(p).rsample(),
    "Bernoulli": lambda p: distributions.Bernoulli(p).sample(),
    "Categorical": lambda p: distributions.Categorical(p).sample()[:, None],
    "Gumbel": lambda p: distributions.Gumbel(p, 1.0).rsample(),
    "Geometric": lambda p: distributions.Geometric(p).sample(),
    "MultivariateNormal": lambda p: distributions.MultivariateNormal(p, scale_tril=torch.eye(4).cumsum(0)).rsample(),
}


class All(nn.Module):
    """A solve whose initial state has the numbers of every way to draw, side by side."""

    def forward(self, p):
        start = torch.cat([draw(p).float() for draw in DRAWS.values()], 1)
        return odeint(lambda t, y: -0.1 * y, start, TIMES, method="euler")[-1]


class Latent(nn.Module):
    """A latent ODE: an encoder gives mean and deviation of the initial state, and noise is added to the solution."""

    def __init__(self):
        super().__init__()
        self.encoder, self.field = nn.Linear(3, 8), nn.Linear(4, 4)

    def forward(self, x, t):
        mean, log_std = self.encoder(x).chunk(2, -1)
        start = distributions.Normal(mean, log_std.exp()).rsample()
        path = odeint(lambda t, y: torch.tanh(self.field(y)), start, t, rtol=1e-4, atol=1e-5)
        return path + 0.1 * torch.randn_like(path)


class Hutchinson(nn.Module):
    """A continuous normalizing flow whose trace is estimated with noise drawn at the field's first call."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3))
        self.e = None

    def field(self, t, state):
        with torch.enable_grad():
            x = state[0].requires_grad_(True)
            if self.e is None:
                self.e = torch.randn_like(x)
            dx = self.net(x)
            (gradient,) = torch.autograd.grad(dx, x, self.e, create_graph=True)
        return dx, -(gradient * self.e).sum(-1, keepdim=True)

    def forward(self, x):
        self.e = None
        start = x, torch.zeros(x.shape[0], 1)
        z, log_p = odeint(self.field, start, TIMES, rtol=1e-4, atol=1e-5)
        return z[-1], log_p[-1]
