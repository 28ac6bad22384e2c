"""The time as a number that an operator takes beside its tensors: a padding's value, a slope, a factor."""

import torch
import torch.nn.functional as F
from torchdiffeq import odeint

from idioms import Case

M = torch.linspace(-0.5, 0.4, 12).reshape(4, 3)


def of(field):
    return Case(lambda x: odeint(field, x, torch.tensor([0.0, 0.6]), rtol=1e-4, atol=1e-5), (torch.randn(3, 3),))


def case_padding():
    def field(t, y):
        number = F.pad(y, (1, 0), "constant", t.item())[:, :3] + F.pad(y, (-1, 1), value=float(t))
        return torch.tanh(F.pad(y, (0, 1), value=t) @ M) + number

    return of(field)


def case_activations():
    def field(t, y):
        rising = F.hardtanh(y, -1.0, float(t) + 0.2) + F.leaky_relu(y, float(t)) + F.elu(y, alpha=float(t))
        rising = rising + F.leaky_relu(y - 0.1, t, inplace=True) + F.softplus(y, beta=t.item() + 1)
        return rising + F.celu(y, t.item() + 0.5) - F.softshrink(y, float(t)) - F.hardshrink(2 * y, lambd=float(t))

    return of(field)


def case_products():
    def field(t, y):
        elements = torch.addcmul(y, y, y, value=-float(t)) + torch.addcdiv(y, y, 1 + y.square(), value=t)
        matrices = torch.addmm(y, y, M[:3], beta=float(t), alpha=t.item()) - torch.addmv(M[0], M[:3], M[1], alpha=t)
        batches = torch.baddbmm(y[:, None], y[:, None], M[:3].expand(y.shape[0], 3, 3), beta=float(t))
        outer = torch.addr(M[:3], M[0], M[1], beta=t)
        written = (2 * y).addcmul_(y, y, value=t.item())
        return torch.tanh(outer[0] + matrices + batches[:, 0] + elements - written)

    return of(field)


def case_guards():
    def field(t, y):
        number = torch.nan_to_num((y - 9).sqrt(), nan=float(t))
        norms = F.normalize(y, dim=-1, eps=t.item() + 0.5) - F.layer_norm(y, (3,), eps=float(t) + 0.1)
        return number + norms + F.layer_norm(y, (3,), M[0], M[1], t.item() + 0.1)

    return of(field)
