"""Flow matching: conditional sampling with classifier-free guidance, with the time embedded for each sample."""

import math

import torch
import torch.nn.functional as F
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class SinusoidalEmbedding(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, t):
        half = self.dim // 2
        rates = torch.exp(-math.log(10000) * torch.arange(0, half, dtype=torch.float32) / half).to(t.device)
        args = t[:, None].float() * rates[None]
        return torch.cat([torch.cos(args), torch.sin(args)], dim=-1)


class VelocityNet(nn.Module):
    def __init__(self, dim=2, hidden=16, classes=3):
        super().__init__()
        self.embed_t = nn.Sequential(SinusoidalEmbedding(8), nn.Linear(8, hidden), nn.SiLU(), nn.Linear(hidden, hidden))
        self.embed_c = nn.Embedding(classes, hidden)
        self.inp, self.out = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.norm = nn.LayerNorm(hidden)

    def forward(self, t, x, label):
        t = t.expand(x.shape[0])
        emb = self.embed_t(t) + self.embed_c(label)
        scale, shift = (emb, emb.roll(1, -1))
        h = self.norm(self.inp(x)) * (1 + scale) + shift
        return self.out(F.silu(h))


class FlowSampler(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = VelocityNet()

    def forward(self, noise, label, guidance: float = 1.5):
        def velocity(t, x):
            cond = self.net(t, x, label)
            uncond = self.net(t, x, torch.zeros_like(label))
            return uncond + guidance * (cond - uncond)

        t = torch.linspace(0, 1, 2, device=noise.device)
        return odeint(velocity, noise, t, atol=1e-4, rtol=1e-4, method="dopri5")[-1]


def case():
    args = (torch.randn(4, 2), torch.tensor([0, 1, 2, 1]), 1.5)
    return Case(FlowSampler(), args, {"noise": {0: "batch"}, "label": {0: "batch"}})
