"""Models that make no solve, written as their authors write them: a residual network and three kinds of flows."""

import math

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    """A residual block with the normalisation before each convolution."""

    def __init__(self, before, after, stride):
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(before), nn.BatchNorm2d(after)
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x):
        inner = F.relu(self.norm1(x))
        return self.shortcut(x) + self.conv2(F.relu(self.norm2(self.conv1(inner))))


class ResNet(nn.Module):
    """The twin of an ODE-Net: residual blocks where that has a solve."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.blocks = nn.Sequential(Block(4, 4, 1), Block(4, 8, 2), Block(8, 8, 1))
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        return self.head(F.adaptive_avg_pool2d(self.blocks(self.stem(x)), 1).flatten(1)).log_softmax(-1)


class Coupling(nn.Module):
    """An affine coupling layer: the masked half stays, and decides how the other half is scaled and shifted."""

    def __init__(self, mask):
        super().__init__()
        size = len(mask)
        self.register_buffer("mask", mask)
        self.scale = nn.Sequential(nn.Linear(size, 8), nn.LeakyReLU(), nn.Linear(8, size), nn.Tanh())
        self.shift = nn.Sequential(nn.Linear(size, 8), nn.LeakyReLU(), nn.Linear(8, size))

    def parts(self, x):
        kept = x * self.mask
        return kept, self.scale(kept) * (1 - self.mask), self.shift(kept) * (1 - self.mask)

    def forward(self, x):
        kept, scale, shift = self.parts(x)
        return kept + (1 - self.mask) * (x * torch.exp(scale) + shift), scale.sum(1)

    def inverse(self, z):
        kept, scale, shift = self.parts(z)
        return kept + (1 - self.mask) * (z - shift) * torch.exp(-scale)


class RealNVP(nn.Module):
    """The density of its input, and as many samples."""

    def __init__(self, size=4, layers=4):
        super().__init__()
        even = torch.arange(size) % 2
        self.layers = nn.ModuleList(Coupling((even if i % 2 else 1 - even).float()) for i in range(layers))
        self.register_buffer("mean", torch.zeros(size))

    @property
    def prior(self):
        return torch.distributions.Independent(torch.distributions.Normal(self.mean, torch.ones_like(self.mean)), 1)

    def density(self, x):
        log_det = x.new_zeros(x.shape[0])
        for layer in self.layers:
            x, change = layer(x)
            log_det = log_det + change
        return x, self.prior.log_prob(x) + log_det

    def inverse(self, z):
        for layer in reversed(self.layers):
            z = layer.inverse(z)
        return z

    def forward(self, x):
        z, log_prob = self.density(x)
        return {"z": z, "log_prob": log_prob, "sample": self.inverse(self.prior.sample((x.shape[0],)))}


class ActNorm(nn.Module):
    """A scale and a shift for each channel, set by the first batch of training."""

    def __init__(self, channels):
        super().__init__()
        self.loc = nn.Parameter(torch.randn(1, channels, 1, 1))
        self.scale = nn.Parameter(torch.rand(1, channels, 1, 1) + 0.5)
        self.register_buffer("initialized", torch.tensor(1, dtype=torch.uint8))

    def forward(self, x):
        _, _, height, width = x.shape
        if self.initialized.item() == 0:
            self.loc.data.copy_(-x.mean((0, 2, 3), keepdim=True))
        return self.scale * (x + self.loc), height * width * torch.log(torch.abs(self.scale)).sum()

    def inverse(self, z):
        return z / self.scale - self.loc


class Mixing(nn.Module):
    """The invertible 1x1 convolution, by its whole matrix."""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.linalg.qr(torch.randn(channels, channels))[0][:, :, None, None])

    def forward(self, x):
        _, _, height, width = x.shape
        log_det = height * width * torch.slogdet(self.weight.squeeze().double())[1].float()
        return F.conv2d(x, self.weight), log_det

    def inverse(self, z):
        return F.conv2d(z, self.weight.squeeze().inverse().unsqueeze(2).unsqueeze(3))


class MixingLU(nn.Module):
    """The invertible 1x1 convolution, by the LU decomposition of its matrix."""

    def __init__(self, channels):
        super().__init__()
        p, lower, upper = torch.linalg.lu(torch.linalg.qr(torch.randn(channels, channels))[0])
        diagonal = torch.diagonal(upper)
        self.register_buffer("p", p)
        self.register_buffer("mask", torch.triu(torch.ones_like(upper), 1))
        self.register_buffer("sign", torch.sign(diagonal))
        self.register_buffer("eye", torch.eye(channels))
        self.lower, self.upper = nn.Parameter(lower), nn.Parameter(torch.triu(upper, 1))
        self.log_size = nn.Parameter(torch.log(torch.abs(diagonal)))

    def matrix(self):
        upper = self.upper * self.mask + torch.diag(self.sign * torch.exp(self.log_size))
        return self.p @ (self.lower * self.mask.T + self.eye) @ upper

    def forward(self, x):
        _, _, height, width = x.shape
        return F.conv2d(x, self.matrix()[:, :, None, None]), height * width * self.log_size.sum()

    def inverse(self, z):
        return F.conv2d(z, self.matrix().inverse()[:, :, None, None])


class AffineCoupling(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(channels // 2, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, channels, 1))

    def parts(self, half):
        scale, shift = self.net(half).chunk(2, 1)
        return torch.sigmoid(scale + 2), shift

    def forward(self, x):
        first, second = x.chunk(2, 1)
        scale, shift = self.parts(first)
        return torch.cat([first, (second + shift) * scale], 1), torch.log(scale).flatten(1).sum(1)

    def inverse(self, z):
        first, second = z.chunk(2, 1)
        scale, shift = self.parts(first)
        return torch.cat([first, second / scale - shift], 1)


class Glow(nn.Module):
    """The density of small images, and the images of given latents."""

    def __init__(self):
        super().__init__()
        layers = [layer(4) for layer in (ActNorm, Mixing, AffineCoupling, ActNorm, MixingLU, AffineCoupling)]
        self.layers, self.prior = nn.ModuleList(layers), nn.Conv2d(2, 4, 3, padding=1)

    def density(self, x):
        batch, channels, height, width = x.shape
        squeezed = x.view(batch, channels, height // 2, 2, width // 2, 2).permute(0, 1, 3, 5, 2, 4)
        z, log_det = squeezed.contiguous().view(batch, channels * 4, height // 2, width // 2), 0
        for layer in self.layers:
            z, change = layer(z)
            log_det = log_det + change
        first, second = z.chunk(2, 1)
        mean, log_scale = self.prior(first).chunk(2, 1)
        scaled = (second - mean) ** 2 / torch.exp(2 * log_scale)
        log_prob = -0.5 * math.log(2 * math.pi) - log_scale - 0.5 * scaled
        return z, log_prob.view(batch, -1).sum(1) + log_det

    def inverse(self, z):
        for layer in reversed(self.layers):
            z = layer.inverse(z)
        batch, channels, height, width = z.shape
        unfolded = z.view(batch, channels // 4, 2, 2, height, width).permute(0, 1, 4, 2, 5, 3)
        return unfolded.contiguous().view(batch, channels // 4, height * 2, width * 2)

    def forward(self, x, z):
        return *self.density(x), self.inverse(z)


class ResidualLayer(nn.Module):
    """y = x + g(x), with the logarithm of the determinant by a power series of products with the Jacobian matrix."""

    def __init__(self, size, terms):
        super().__init__()
        spectral_norm = nn.utils.parametrizations.spectral_norm
        self.net = nn.Sequential(spectral_norm(nn.Linear(size, 8)), nn.ELU(), spectral_norm(nn.Linear(8, size)))
        self.terms = terms

    def forward(self, x):
        with torch.enable_grad():
            x = x.requires_grad_(True)
            g = 0.7 * self.net(x)
            probe = torch.randn_like(x)
            product, log_det = probe, torch.zeros(x.shape[0])
            for k in range(1, self.terms + 1):
                product = torch.autograd.grad(g, x, product, create_graph=True, retain_graph=True)[0]
                log_det = log_det + (-1) ** (k + 1) / k * (product * probe).sum(1)
        return x + g, log_det


class ResidualFlow(nn.Module):
    """The log-density of a residual flow, with a random probe in each layer."""

    def __init__(self, size=3, layers=2, terms=4):
        super().__init__()
        self.layers = nn.ModuleList(ResidualLayer(size, terms) for _ in range(layers))

    def forward(self, x):
        log_det = 0
        for layer in self.layers:
            x, change = layer(x)
            log_det = log_det + change
        return x, -0.5 * (x**2).sum(1) - 0.5 * x.shape[1] * math.log(2 * math.pi) + log_det
