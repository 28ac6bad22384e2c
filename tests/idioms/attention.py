"""A field over any number of embedded tokens: attention, LayerNorm, dropout."""

import torch
import torch.nn.functional as F
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class TransformerField(nn.Module):
    def __init__(self, dim=8, heads=2):
        super().__init__()
        self.attn = nn.MultiheadAttention(dim, heads, batch_first=True, dropout=0.1)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 16), nn.GELU(), nn.Dropout(0.1), nn.Linear(16, dim))

    def forward(self, t, x):
        h = self.norm1(x)
        h = self.attn(h, h, h, need_weights=False)[0]
        return h + self.mlp(self.norm2(x + h)) * torch.cos(t)


class TokenOde(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.field = TransformerField()
        self.head = nn.Linear(8, 11)

    def forward(self, tokens):
        x = self.embed(tokens)
        x = odeint(self.field, x, torch.tensor([0.0, 0.5, 1.0]), method="rk4")[-1]
        return F.log_softmax(self.head(x), dim=-1)


def case():
    dynamic = {"tokens": {0: "batch", 1: "length"}}
    return Case(TokenOde().train(), (torch.randint(0, 11, (2, 5)),), dynamic)
