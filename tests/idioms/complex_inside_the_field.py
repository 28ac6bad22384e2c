"""A Schroedinger equation: the state holds real and imaginary parts, and the field computes with complex numbers."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Schroedinger(nn.Module):
    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        a = torch.randn(3, 3, dtype=torch.cfloat, generator=generator)
        self.register_buffer("hamiltonian", a + a.mH)
        self.drive = nn.Parameter(torch.tensor(0.5))

    def field(self, t, parts):
        psi = torch.view_as_complex(parts)
        hamiltonian = self.hamiltonian * torch.exp(1j * self.drive * t)
        hamiltonian = (hamiltonian + hamiltonian.conj().T) / 2
        slope = -1j * torch.einsum("ij,bj->bi", hamiltonian, psi)
        return torch.view_as_real(slope)

    def forward(self, x):
        psi = torch.polar(torch.softmax(x, -1), x)
        parts = odeint(self.field, torch.view_as_real(psi), torch.linspace(0.0, 1.0, 3), method="rk4")[-1]
        return torch.view_as_complex(parts).abs() ** 2


def case():
    return Case(Schroedinger(), (torch.randn(4, 3),))
