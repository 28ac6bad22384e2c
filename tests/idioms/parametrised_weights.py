"""Weights under parametrisations (orthogonal, weight norm, spectral norm), and other constants by operators that ONNX
lacks."""

import warnings

import torch
from torch import nn
from torch.nn.utils import parametrizations
from torchdiffeq import odeint

from idioms import Case


def case_parametrised_layers():
    net = nn.Sequential(
        parametrizations.orthogonal(nn.Linear(3, 3)),
        nn.Tanh(),
        parametrizations.orthogonal(nn.Linear(3, 3), orthogonal_map="householder"),
        nn.Tanh(),
        parametrizations.orthogonal(nn.Linear(3, 3), orthogonal_map="cayley"),
        parametrizations.weight_norm(nn.Linear(3, 4)),
        nn.Tanh(),
        parametrizations.spectral_norm(nn.Linear(4, 3)),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch prefers the parametrisations above
        old = nn.utils.spectral_norm(nn.Linear(3, 3)), nn.utils.weight_norm(nn.Linear(3, 3))

    def model(x):
        return odeint(lambda t, y: net(y) + old[1](old[0](y)), x, torch.tensor([0.0, 1.0]), method="rk4")[-1]

    for layer in (net, *old):
        layer.eval()
    return Case(model, (torch.randn(3, 3),))


def case_frequencies():
    def model(x):
        k = torch.fft.fftfreq(x.shape[1], 1 / 8)
        return odeint(lambda t, u: torch.fft.ifft(-(k**2) * torch.fft.fft(u)).real * 0.01, x, torch.tensor([0.0, 1.0]))[
            -1
        ]

    return Case(model, (torch.randn(3, 8),))


def case_factors_of_a_constant():
    matrix = torch.randn(5, 3, dtype=torch.float64)

    def model(x):
        basis, _ = torch.linalg.qr(matrix.float())
        rates, vectors = torch.linalg.eigh(matrix.float().T @ matrix.float())
        return odeint(lambda t, y: -(y @ vectors * rates) @ vectors.T, x @ basis, torch.tensor([0.0, 1.0]))[-1]

    return Case(model, (torch.randn(3, 5),))
