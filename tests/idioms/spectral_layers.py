"""A Fourier neural operator as the field, with weights on the lowest modes, on grids of any size."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Spectral1d(nn.Module):
    def __init__(self, channels, modes):
        super().__init__()
        self.modes = modes
        self.weights = nn.Parameter(torch.rand(channels, channels, modes, dtype=torch.cfloat) / channels**2)

    def forward(self, x):
        lowest = torch.fft.rfft(x)
        out = torch.zeros(x.shape[0], x.shape[1], x.size(-1) // 2 + 1, dtype=torch.cfloat)
        out[:, :, : self.modes] = torch.einsum("bix,iox->box", lowest[:, :, : self.modes], self.weights)
        return torch.fft.irfft(out, n=x.size(-1))


class Spectral2d(nn.Module):
    def __init__(self, channels, modes):
        super().__init__()
        self.modes = modes
        shape = (channels, channels, modes, modes)
        self.low = nn.Parameter(torch.rand(*shape, dtype=torch.cfloat) / channels**2)
        self.high = nn.Parameter(torch.rand(*shape, dtype=torch.cfloat) / channels**2)

    def forward(self, x):
        m, x_ft = self.modes, torch.fft.rfft2(x)
        out = torch.zeros(x.shape[0], x.shape[1], x.size(-2), x.size(-1) // 2 + 1, dtype=torch.cfloat)
        out[:, :, :m, :m] = torch.einsum("bixy,ioxy->boxy", x_ft[:, :, :m, :m], self.low)
        out[:, :, -m:, :m] = torch.einsum("bixy,ioxy->boxy", x_ft[:, :, -m:, :m], self.high)
        return torch.fft.irfft2(out, s=(x.size(-2), x.size(-1)))


class Operator(nn.Module):
    def __init__(self, spectral, local):
        super().__init__()
        self.spectral, self.local = spectral, local

    def field(self, t, u):
        return torch.tanh(self.spectral(u) + self.local(u)) - u

    def forward(self, x):
        return odeint(self.field, x, torch.linspace(0.0, 1.0, 3), method="rk4")[-1]


def case_1d():
    axes = {"x": {0: "batch", 2: "length"}}
    return Case(Operator(Spectral1d(3, 4), nn.Conv1d(3, 3, 1)), (torch.randn(2, 3, 16),), axes)


def case_2d():
    axes = {"x": {0: "batch", 2: "height", 3: "width"}}
    return Case(Operator(Spectral2d(2, 3), nn.Conv2d(2, 2, 1)), (torch.randn(2, 2, 8, 12),), axes)
