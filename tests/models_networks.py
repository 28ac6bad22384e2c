"""Neural ODEs as people write them: classifiers, sequence models, flows, mechanics."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from models_case import BATCH, Case
from torch import nn
from torchdiffeq import odeint, odeint_adjoint


class ConcatConv(nn.Module):
    def __init__(self, channels, *, transpose=False):
        super().__init__()
        layer = nn.ConvTranspose2d if transpose else nn.Conv2d
        self.layer = layer(channels + 1, channels, 3, padding=1)

    def forward(self, t, x):
        time = torch.ones_like(x[:, :1, :, :]) * t
        return self.layer(torch.cat([time, x], 1))


class ConvField(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm1 = nn.GroupNorm(min(4, channels), channels)
        self.conv1 = ConcatConv(channels)
        self.norm2 = nn.GroupNorm(min(4, channels), channels)
        self.conv2 = ConcatConv(channels, transpose=True)
        self.relu = nn.ReLU(inplace=True)
        self.nfe = 0

    def forward(self, t, x):
        self.nfe += 1
        hidden = self.conv1(t, self.relu(self.norm1(x)))
        return self.conv2(t, self.relu(self.norm2(hidden)))


class OdeBlock(nn.Module):
    """The wrapper of many repositories: keeps the times, casts them, counts evaluations."""

    def __init__(self, field, tol=1e-3):
        super().__init__()
        self.dynamics = field
        self.tol = tol
        self.span = torch.tensor([0, 1]).float()

    def forward(self, x):
        self.span = self.span.type_as(x)
        ends = odeint_adjoint(self.dynamics, x, self.span, rtol=self.tol, atol=self.tol)
        return ends[1]

    @property
    def nfe(self):
        return self.dynamics.nfe

    @nfe.setter
    def nfe(self, value):
        self.dynamics.nfe = value


class Flatten(nn.Module):
    def forward(self, x):
        count = torch.prod(torch.tensor(x.shape[1:])).item()
        return x.reshape(-1, count)


def conv_odenet():
    """4-D state, GroupNorm, in-place ReLU, a transposed convolution, a Flatten that counts by a tensor."""
    stem = [nn.Conv2d(1, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(inplace=True)]
    head = [nn.GroupNorm(4, 8), nn.AdaptiveAvgPool2d((1, 1)), Flatten(), nn.Linear(8, 10)]
    return Case(nn.Sequential(*stem, OdeBlock(ConvField(8)), *head).train(), (torch.randn(1, 1, 9, 9),), _first())


def _first():
    return {"input": {0: "batch"}}


class AugmentedField(nn.Module):
    def __init__(self, dim, hidden, *, time_dependent=True):
        super().__init__()
        self.time_dependent = time_dependent
        self.fc1 = nn.Linear(dim + time_dependent, hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.act = nn.Softplus()

    def forward(self, t, x):
        if self.time_dependent:
            clock = torch.ones(x.shape[0], 1) * t
            x = torch.cat([clock, x], 1)
        return self.fc2(self.act(self.fc1(x)))


class AugmentedOde(nn.Module):
    def __init__(self, data_dim=2, augment_dim=3):
        super().__init__()
        self.augment_dim = augment_dim
        self.field = AugmentedField(data_dim + augment_dim, 16)
        self.head = nn.Linear(data_dim + augment_dim, 1)

    def forward(self, x, eval_times=None):
        aug = torch.zeros(x.shape[0], self.augment_dim).to(x)
        state = torch.cat([x, aug], 1)
        times = torch.tensor([0, 1]).float() if eval_times is None else eval_times.type_as(x)
        out = odeint(self.field, state, times, rtol=1e-3, atol=1e-3, method="dopri5", options={"max_num_steps": 1000})
        features = out[1] if eval_times is None else out.permute(1, 0, 2)
        return features, torch.tanh(self.head(features))


def augmented():
    return Case(AugmentedOde(), (torch.randn(3, 2),))


def augmented_times():
    """The whole trajectory, permuted, at times that the caller gives."""
    dynamic = BATCH | {"eval_times": {0: "times"}}
    return Case(AugmentedOde(), (torch.randn(4, 2), torch.linspace(0, 1, 6)), dynamic)


class SpiralField(nn.Module):
    """torchdiffeq's ode_demo: a state (batch, 1, 2), cubed."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))
        for layer in self.net:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.1)
                nn.init.constant_(layer.bias, 0)

    def forward(self, t, y):
        return self.net(y**3)


class Spiral(nn.Module):
    def __init__(self):
        super().__init__()
        self.func = SpiralField()

    def forward(self, starts, ts):
        return odeint(self.func, starts, ts, rtol=1e-4, atol=1e-5)


def spiral():
    dynamic = {"starts": {0: "batch"}, "ts": {0: "times"}}
    return Case(Spiral(), (torch.rand(5, 1, 2) + 0.5, torch.linspace(0, 2.5, 8)), dynamic)


class LinearTruth(nn.Module):
    """The true spiral: no weights but a plain attribute, a state without a batch."""

    def __init__(self):
        super().__init__()
        self.matrix = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]])

    def forward(self, t, y):
        return torch.mm(y**3, self.matrix)


def linear_truth():
    field = LinearTruth()

    def solve(y0):
        t = torch.linspace(0.0, 3.0, 11)
        with torch.no_grad():
            return odeint(field, y0, t, method="dopri5", rtol=1e-5)

    return Case(solve, (torch.tensor([[2.0, 0.5]]),), {})


class LatentOde(nn.Module):
    """GRU encoder run backwards over the sequence, a latent solve, a decoder: torchdiffeq's latent_ode."""

    def __init__(self, obs=2, hidden=6, latent=4):
        super().__init__()
        self.gru = nn.GRU(obs, hidden, batch_first=True)
        self.to_latent = nn.Linear(hidden, 2 * latent)
        self.func = nn.Sequential(nn.Linear(latent, 12), nn.ELU(inplace=True), nn.Linear(12, latent))
        self.decoder = nn.Sequential(nn.Linear(latent, 8), nn.ReLU(inplace=True), nn.Linear(8, obs))

    def forward(self, x, ts):
        _, h = self.gru(x.flip(1))
        mean, logvar = self.to_latent(h[-1]).chunk(2, dim=-1)
        z = odeint(lambda t, z: self.func(z), mean, ts, rtol=1e-3, atol=1e-4).permute(1, 0, 2)
        return {"x": self.decoder(z), "mean": mean, "logvar": logvar}


def latent_ode():
    dynamic = BATCH | {"ts": {0: "times"}}
    return Case(LatentOde(), (torch.randn(3, 7, 2), torch.linspace(0, 1, 5)), dynamic)


class RnnCellEncoder(nn.Module):
    """An encoder written as a loop over the observations, as latent_ode_demo does."""

    def __init__(self, obs=2, hidden=5, latent=3):
        super().__init__()
        self.hidden = hidden
        self.mix = nn.Linear(obs + hidden, hidden)
        self.summary = nn.Linear(hidden, latent * 2)
        self.fc1, self.fc2 = nn.Linear(latent, 8), nn.Linear(8, latent)

    def field(self, t, x):
        return self.fc2(F.elu(self.fc1(x)))

    def forward(self, x):
        h = torch.zeros(x.size(0), self.hidden).to(x.device)
        for i in reversed(range(x.size(1))):
            h = torch.tanh(self.mix(torch.cat((x[:, i, :], h), dim=1)))
        out = self.summary(h)
        mean = out[:, : out.shape[1] // 2]
        return odeint(self.field, mean, torch.linspace(0, 1, steps=4), method="midpoint")


def rnn_encoder():
    return Case(RnnCellEncoder(), (torch.randn(3, 5, 2),))


class OdeRnn(nn.Module):
    """A solve between any two observations, then a GRU cell: as many solves as observations."""

    def __init__(self, obs=2, hidden=4):
        super().__init__()
        self.cell = nn.GRUCell(obs, hidden)
        self.field = AugmentedField(hidden, 8, time_dependent=False)
        self.hidden = hidden

    def forward(self, x):
        h = x.new_zeros(x.shape[0], self.hidden)
        times = torch.arange(x.shape[1] + 1, dtype=x.dtype) / x.shape[1]
        for i in range(x.shape[1]):
            h = odeint(self.field, h, times[i : i + 2], method="euler", options={"step_size": 0.1})[-1]
            h = self.cell(x[:, i], h)
        return h


def ode_rnn():
    return Case(OdeRnn(), (torch.randn(2, 3, 2),))


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
    """Flow matching: the time, expanded over the batch, is embedded and scales the features."""

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
    """Conditional sampling with classifier-free guidance."""

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


def flow_matching():
    args = (torch.randn(4, 2), torch.tensor([0, 1, 2, 1]), 1.5)
    return Case(FlowSampler(), args, {"noise": {0: "batch"}, "label": {0: "batch"}})


class TinyUnet(nn.Module):
    """A velocity over images: down, up, skip connection, time through FiLM."""

    def __init__(self, channels=4):
        super().__init__()
        self.time = nn.Sequential(nn.Linear(1, channels), nn.GELU())
        self.down = nn.Conv2d(1, channels, 3, padding=1)
        self.mid = nn.Conv2d(channels, channels, 3, padding=1)
        self.up = nn.Conv2d(2 * channels, 1, 3, padding=1)

    def forward(self, t, x):
        film = self.time(t.reshape(1, 1).expand(x.shape[0], 1))[:, :, None, None]
        a = F.silu(self.down(x)) + film
        b = F.silu(self.mid(F.avg_pool2d(a, 2)))
        b = F.interpolate(b, scale_factor=2, mode="nearest")
        return self.up(torch.cat([a, b], 1))


class ImageFlow(nn.Module):
    def __init__(self):
        super().__init__()
        self.v = TinyUnet()

    def forward(self, x):
        t = torch.linspace(0, 1, 5, device=x.device)
        x = odeint(self.v, x, t, method="midpoint", options=dict(step_size=0.25))[-1]
        return x.clamp(-1, 1)


def image_flow():
    return Case(ImageFlow(), (torch.randn(2, 1, 8, 8),))


class TransformerField(nn.Module):
    """Attention, LayerNorm and dropout in a field over tokens."""

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


def tokens():
    dynamic = {"tokens": {0: "batch", 1: "length"}}
    return Case(TokenOde().train(), (torch.randint(0, 11, (2, 5)),), dynamic)


class GraphField(nn.Module):
    """Message passing over a fixed graph, degrees kept as a buffer, scaled dot products."""

    def __init__(self, nodes=5, dim=3):
        super().__init__()
        adjacency = (torch.rand(nodes, nodes) < 0.5).float() + torch.eye(nodes)
        self.register_buffer("adj", adjacency / adjacency.sum(1, keepdim=True))
        self.weight = nn.Parameter(torch.randn(dim, dim) / dim)
        self.alpha = nn.Parameter(torch.tensor(0.3))

    def forward(self, t, x):
        alpha = torch.sigmoid(self.alpha)
        ax = torch.einsum("ij,bjd->bid", self.adj, x)
        return alpha * (ax - x) + torch.relu(torch.einsum("bnd,de->bne", x, self.weight))


class GraphOde(nn.Module):
    def __init__(self):
        super().__init__()
        self.func = GraphField()
        self.t = nn.Parameter(torch.tensor([0.0, 1.2]), requires_grad=False)

    def forward(self, x):
        return odeint_adjoint(self.func, x, self.t, method="dopri5", rtol=1e-3, atol=1e-3)[-1].mean(1)


def graph_ode():
    return Case(GraphOde(), (torch.randn(3, 5, 3),))


class CubicPath(nn.Module):
    """A neural controlled equation: dz = f(z) dX, with X a cubic through the data, evaluated by hand."""

    def __init__(self, channels=2, hidden=4):
        super().__init__()
        self.channels, self.hidden = channels, hidden
        self.initial = nn.Linear(channels, hidden)
        self.linear = nn.Linear(hidden, hidden * channels)
        self.readout = nn.Linear(hidden, 1)

    def forward(self, a, b):
        def field(t, z):
            velocity = b + 2 * t * a
            matrix = torch.tanh(self.linear(z)).view(*z.shape[:-1], self.hidden, self.channels)
            return torch.matmul(matrix, velocity.unsqueeze(-1)).squeeze(-1)

        z = odeint(field, self.initial(b), torch.tensor([0.0, 1.0]), rtol=1e-3, atol=1e-3)
        return self.readout(z[-1])


def controlled():
    dynamic = {"a": {0: "batch"}, "b": {0: "batch"}}
    return Case(CubicPath(), (torch.randn(3, 2), torch.randn(3, 2)), dynamic)


class LinearInterpolated(nn.Module):
    """Looks a control up in a table of samples, between knots, with searchsorted-free arithmetic."""

    def __init__(self, knots=6):
        super().__init__()
        self.register_buffer("knots", torch.linspace(0, 1, knots))
        self.gain = nn.Linear(2, 2)

    def forward(self, y0, control):
        def at(t):
            hat = torch.relu(1 - (t - self.knots).abs() * (len(self.knots) - 1))
            return control @ hat

        def field(t, y):
            return torch.tanh(self.gain(y)) + at(t).unsqueeze(-1)

        return odeint(field, y0, torch.linspace(0, 1, 4), method="rk4", options={"step_size": 0.05})

    # the batch is the first axis of both


def interpolated():
    dynamic = {"y0": {0: "batch"}, "control": {0: "batch"}}
    return Case(LinearInterpolated(), (torch.randn(3, 2), torch.randn(3, 6)), dynamic)


class Forecast(NamedTuple):
    path: torch.Tensor
    end: torch.Tensor


class LotkaVolterra(nn.Module):
    """A mechanistic field: parameters, columns by unbind, stack, a named tuple out, float64."""

    def __init__(self):
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([1.5, 1.0, 3.0, 1.0], dtype=torch.float64))

    def field(self, t, z):
        x, y = z.unbind(-1)
        a, b, c, d = self.theta
        return torch.stack([a * x - b * x * y, -c * y + d * x * y], dim=-1)

    def forward(self, x):
        t = torch.arange(0.0, 2.0, 0.5, dtype=torch.float64)
        path = odeint(self.field, x, t, rtol=1e-6, atol=1e-8, method="dopri8")
        return Forecast(path, path[-1])


def lotka_volterra():
    return Case(LotkaVolterra(), (torch.rand(3, 2, dtype=torch.float64) + 0.5,))


class Epidemic(nn.Module):
    """A state without a batch: one vector, indexed and stacked."""

    def __init__(self):
        super().__init__()
        self.beta, self.gamma = nn.Parameter(torch.tensor(0.4)), nn.Parameter(torch.tensor(0.1))

    def forward(self, t, y):
        s, i = y[0], y[1]
        n = y.sum()
        flow = self.beta * s * i / n
        return torch.stack((-flow, flow - self.gamma * i, self.gamma * i))


def epidemic():
    field = Epidemic()

    def forecast(y0, t):
        return odeint_adjoint(field, y0, t, rtol=1e-5, atol=1e-6)

    return Case(forecast, (torch.tensor([0.9, 0.1, 0.05]), torch.linspace(0, 20, 5)), {"t": {0: "times"}})


class PaddedHeat(nn.Module):
    """A heat equation by differences, padded; the time through where; complex indexing."""

    def __init__(self, cells=12):
        super().__init__()
        self.register_buffer("weight", torch.tensor([[[1.0, -2.0, 1.0]]]))
        self.register_buffer("sensors", torch.tensor([1, 5, 9]))

    def field(self, t, u):
        padded = F.pad(u.unsqueeze(1), (1, 1), mode="replicate")
        lap = F.conv1d(padded, self.weight).squeeze(1)
        source = torch.where(t < 0.5, torch.ones_like(u), torch.zeros_like(u))
        du = lap + source
        return torch.cat([torch.zeros_like(du[:, :1]), du[:, 1:-1], torch.zeros_like(du[:, -1:])], dim=1)

    def forward(self, x):
        path = odeint(self.field, x, torch.linspace(0, 1, 3), method="rk4", options={"step_size": 0.05})
        return path[1:, :, self.sensors], path[..., ::2]


def heat():
    return Case(PaddedHeat(), (torch.randn(2, 12),))


class BatchSecond(nn.Module):
    """The batch in the second axis, a recurrent field with chunk."""

    def __init__(self, hidden=4):
        super().__init__()
        self.lin = nn.Linear(hidden, 3 * hidden)

    def field(self, t, h):
        r, z, g = self.lin(h).chunk(3, dim=-1)
        return (1 - torch.sigmoid(z)) * (torch.tanh(g * torch.sigmoid(r)) - h)

    def forward(self, h0):
        return odeint(self.field, h0, torch.tensor([0.0, 0.3, 1.0]), method="bosh3", rtol=1e-3, atol=1e-4)[1:]


def batch_second():
    return Case(BatchSecond(), (torch.randn(2, 3, 4),), {"h0": {1: "batch"}})


CASES = [
    conv_odenet,
    augmented,
    augmented_times,
    spiral,
    linear_truth,
    latent_ode,
    rnn_encoder,
    ode_rnn,
    flow_matching,
    image_flow,
    tokens,
    graph_ode,
    controlled,
    interpolated,
    lotka_volterra,
    epidemic,
    heat,
    batch_second,
]
