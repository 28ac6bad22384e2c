"""A flow-matching sampler whose field is a diffusion transformer, called twice for guidance: a large model to export.

By default it has 12 layers of width 384 and 32 million parameters, which is the size DiT-S of Peebles & Xie, Scalable
Diffusion Models with Transformers (2023).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torchdiffeq import odeint


def _modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return x * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)


class _TimeEmbedding(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        frequencies = torch.exp(-math.log(10000) * torch.arange(128, dtype=torch.float32, device=t.device) / 128)
        angles = t[:, None].float() * frequencies[None]
        embedded: Tensor = self.layers(torch.cat([torch.cos(angles), torch.sin(angles)], -1))
        return embedded


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, count, width = x.shape
        qkv = self.qkv(x).reshape(batch, count, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        attended = nn.functional.scaled_dot_product_attention(query, key, value)
        mixed: Tensor = self.out(attended.transpose(1, 2).reshape(batch, count, width))
        return mixed


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(width, elementwise_affine=False, eps=1e-6) for _ in range(2))
        self.attention = _Attention(width, heads)
        self.layers = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
        )
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(condition).chunk(6, dim=1)
        x = x + gate1.unsqueeze(1) * self.attention(_modulated(self.norm1(x), shift1, scale1))
        return x + gate2.unsqueeze(1) * self.layers(_modulated(self.norm2(x), shift2, scale2))


class Transformer(nn.Module):
    """The field: a velocity in the shape of x (batch, 4, 16, 16), at times (batch,) and for labels (batch,)."""

    def __init__(self, *, layers: int, width: int, heads: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Conv2d(4, width, 2, 2)
        self.places = nn.Parameter(torch.randn(1, 64, width) * 0.02)
        self.time, self.label = _TimeEmbedding(width), nn.Embedding(classes + 1, width)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))
        self.out = nn.Linear(width, 16)

    def forward(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        tokens = self.embedding(x).flatten(2).transpose(1, 2) + self.places
        condition = self.time(t) + self.label(label)
        for block in self.blocks:
            tokens = block(tokens, condition)
        shift, scale = self.modulation(condition).chunk(2, dim=1)
        patches = self.out(_modulated(self.norm(tokens), shift, scale)).reshape(x.shape[0], 8, 8, 2, 2, 4)
        return torch.einsum("nhwpqc->nchpwq", patches).reshape(x.shape)


class Sampler(nn.Module):
    """Samples (batch, 4, 16, 16) from noise z of the same shape, by 8 steps of euler. y: labels (batch,), below 10."""

    def __init__(self, *, layers: int = 12, width: int = 384, heads: int = 6, guidance: float = 2.0) -> None:
        super().__init__()
        self.field = Transformer(layers=layers, width=width, heads=heads, classes=10)
        self.guidance = guidance

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        def velocity(t: Tensor, x: Tensor) -> Tensor:
            times = t.expand(x.shape[0])
            with_label = self.field(x, times, y)
            without = self.field(x, times, torch.full_like(y, 10))
            return without + self.guidance * (with_label - without)

        path: Tensor = odeint(velocity, z, torch.linspace(0, 1, 9, device=z.device), method="euler")
        return path[-1]


class GuidedTokens(nn.Module):
    """A field of sequences (batch, tokens, channels): a transformer that is called with a label and without, for
    classifier-free guidance."""

    def __init__(
        self,
        *,
        tokens: int,
        layers: int = 2,
        width: int = 256,
        heads: int = 4,
        channels: int = 16,
        guidance: float = 2.0,
    ) -> None:
        super().__init__()
        self.embedding, self.out = nn.Linear(channels, width), nn.Linear(width, channels)
        self.places = nn.Parameter(torch.randn(1, tokens, width) * 0.02)
        self.time, self.label = _TimeEmbedding(width), nn.Embedding(2, width)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.guidance = guidance

    def velocity(self, t: Tensor, x: Tensor, label: Tensor) -> Tensor:
        """The velocity of x at the time t, for labels (batch,)."""
        condition = self.time(t.expand(x.shape[0])) + self.label(label)
        tokens = self.embedding(x) + self.places
        for block in self.blocks:
            tokens = block(tokens, condition)
        velocity: Tensor = self.out(self.norm(tokens))
        return velocity

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        label = torch.ones(x.shape[0], dtype=torch.long, device=x.device)
        with_label, without = self.velocity(t, x, label), self.velocity(t, x, torch.zeros_like(label))
        return without + self.guidance * (with_label - without)


def sampler() -> Sampler:
    """The sampler with random weights, which are the same at each call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Sampler().eval()


def small_sampler() -> Sampler:
    """The same sampler with 2 layers of width 64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Sampler(layers=2, width=64, heads=2).eval()
