"""A field that differentiates by its state, or by a layer's output, without requires_grad_(): as in torch's grad mode,
these need gradients already, since they come from weights. As ODE2VAE and some Hamiltonian models do."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case

TIMES = torch.tensor([0.0, 1.0])


def case_by_the_state():
    encoder, net = nn.Linear(4, 3), nn.Linear(3, 3)

    def field(t, state):
        v = torch.tanh(net(state[0]))
        (slope,) = torch.autograd.grad(v[:, 0], state[0], torch.ones_like(v[:, 0]), create_graph=True)
        return v, -slope[:, 0]

    def model(x):
        with torch.enable_grad():
            z = encoder(x)
            return odeint(field, (z, z.new_zeros(z.shape[0])), TIMES, rtol=1e-4, atol=1e-4)[1][-1]

    return Case(model, (torch.randn(3, 4),))


def case_by_the_output_of_a_layer():
    momentum, energy = nn.Linear(3, 3), nn.Linear(3, 1)

    def field(t, y):
        with torch.enable_grad():
            p = momentum(y)
            return torch.autograd.grad(energy(torch.tanh(p)).sum(), p)[0]

    def model(x):
        with torch.no_grad():
            return odeint(field, x, TIMES, method="rk4", options={"step_size": 0.25})[-1]

    return Case(model, (torch.randn(3, 3),))
