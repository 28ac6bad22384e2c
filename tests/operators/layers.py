"""torch.nn.functional, and layers that are no function of it."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from operators import Operator, unit

TABLE = torch.linspace(-1, 1, 16).reshape(4, 4).sin()
KERNEL = torch.linspace(-1, 1, 24).reshape(2, 4, 3).cos()
PLANE = torch.linspace(-1, 1, 36).reshape(2, 2, 3, 3).cos()


def seeded(make: type[nn.Module], *args: object, **kwargs: object) -> nn.Module:
    """A layer with the weights that its seed gives, without gradients."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make(*args, **kwargs).eval().requires_grad_(False)


def _padded(x: Tensor) -> Tensor:
    """A mask of padding (batch, length) that leaves the first element of each row."""
    return torch.cat([torch.zeros_like(x[:, :1, 0]), x[:, 1:, 0]], 1) > 0.5


def first(layer: nn.Module) -> Operator:
    """A layer's first output."""
    return lambda x: layer(x)[0]


def channels(x: Tensor) -> Tensor:
    """(batch, 4, 3 or more): the length last."""
    return torch.cat([x, x * x, x.sin()], 1).mT


def plane(x: Tensor) -> Tensor:
    """(batch, 2, 4, 3 or more)."""
    return torch.stack([channels(x), channels(x) * 2], 1)


def whole(x: Tensor) -> Tensor:
    """Whole numbers from 0 to 3 (batch, length)."""
    return (2 + 1.99 * unit(x[..., 0])).floor().long()


ACTIVATIONS: dict[str, Operator] = {
    name: getattr(F, name)
    for name in (
        *("celu", "elu", "gelu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "logsigmoid", "mish", "relu"),
        *("relu6", "rrelu", "selu", "sigmoid", "silu", "softplus", "softsign", "tanh", "tanhshrink", "hardshrink"),
        *("softshrink", "glu"),
    )
} | {
    "gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
    "glu length": lambda x: F.glu(torch.cat([x, x * x], 1), 1),
    "prelu": lambda x: F.prelu(x, torch.tensor([0.1])),
    "threshold": lambda x: F.threshold(x, 0.1, 0.2),
    "softmin": lambda x: F.softmin(x, -1),
    "softmax": lambda x: F.softmax(x, -1),
    "log_softmax": lambda x: F.log_softmax(x, -1),
    "normalize": lambda x: F.normalize(x, dim=-1),
    "dropout": lambda x: F.dropout(x, 0.5, training=False),
    "alpha_dropout": lambda x: F.alpha_dropout(x, 0.5, training=False),
}

LAYERS: dict[str, Operator] = {
    "linear": lambda x: F.linear(x, TABLE, TABLE[0]),
    "layer_norm": lambda x: F.layer_norm(x, (4,), TABLE[0], TABLE[1]),
    "rms_norm": lambda x: F.rms_norm(x, (4,), TABLE[0]),
    "group_norm": lambda x: F.group_norm(channels(x), 2),
    "instance_norm": lambda x: F.instance_norm(channels(x)),
    "batch_norm": lambda x: F.batch_norm(channels(x), TABLE[0], TABLE[1].square() + 1),
    "local_response_norm": lambda x: F.local_response_norm(channels(x), 2),
    "conv1d": lambda x: F.conv1d(channels(x), KERNEL, padding=1),
    "conv1d same": lambda x: F.conv1d(channels(x), KERNEL, padding="same"),
    "conv1d dilated": lambda x: F.conv1d(channels(x), KERNEL[..., :2], dilation=2),
    "conv1d stride": lambda x: F.conv1d(channels(x), KERNEL, stride=2),
    "conv1d groups": lambda x: F.conv1d(channels(x), KERNEL.reshape(4, 2, 3), groups=2),
    "conv2d": lambda x: F.conv2d(plane(x), PLANE, padding=1),
    "conv2d circular": lambda x: F.conv2d(F.pad(plane(x), (1, 1, 1, 1), "circular"), PLANE),
    "conv3d": lambda x: F.conv3d(plane(x).unsqueeze(1), torch.ones(1, 1, 1, 3, 3)),
    "conv_transpose1d": lambda x: F.conv_transpose1d(channels(x), KERNEL.transpose(0, 1), stride=2),
    "conv_transpose2d": lambda x: F.conv_transpose2d(plane(x), PLANE, stride=2, output_padding=1),
    "unfold": lambda x: F.unfold(plane(x), 3, padding=1),
    "fold": lambda x: F.fold(x.mT.reshape(x.shape[0], 4, -1)[:, :, :1].repeat(1, 1, 9), (4, 4), 2),
    "max_pool1d": lambda x: F.max_pool1d(channels(x), 2),
    "max_pool2d": lambda x: F.max_pool2d(plane(x), 2),
    "avg_pool1d": lambda x: F.avg_pool1d(channels(x), 2),
    "avg_pool2d": lambda x: F.avg_pool2d(plane(x), 3, stride=1, padding=1),
    "lp_pool1d": lambda x: F.lp_pool1d(channels(x), 2.0, 2),
    "adaptive_avg_pool1d": lambda x: F.adaptive_avg_pool1d(channels(x), 1),
    "adaptive_avg_pool2d": lambda x: F.adaptive_avg_pool2d(plane(x), 1),
    "adaptive_max_pool1d": lambda x: F.adaptive_max_pool1d(channels(x), 1),
    "adaptive_avg_pool fixed": lambda x: F.adaptive_avg_pool1d(x, 2),
    "interpolate": lambda x: F.interpolate(channels(x), scale_factor=2.0),
    "interpolate linear": lambda x: F.interpolate(channels(x), scale_factor=2.0, mode="linear"),
    "interpolate size": lambda x: F.interpolate(channels(x), size=7, mode="linear", align_corners=True),
    "interpolate bilinear": lambda x: F.interpolate(plane(x), scale_factor=2, mode="bilinear"),
    "interpolate like": lambda x: F.interpolate(plane(x)[..., :2], size=plane(x).shape[-2:], mode="nearest"),
    "interpolate bicubic": lambda x: F.interpolate(plane(x), scale_factor=2, mode="bicubic"),
    "interpolate area": lambda x: F.interpolate(channels(x), size=2, mode="area"),
    "grid_sample": lambda x: F.grid_sample(plane(x), unit(x)[..., :2].unsqueeze(1), align_corners=True),
    "affine_grid": lambda x: F.affine_grid(x[:, :1, :3].repeat(1, 2, 1), [x.shape[0], 1, 3, 3], align_corners=True),
    "pixel_shuffle": lambda x: F.pixel_shuffle(x.reshape(x.shape[0], x.shape[1], 4, 1).transpose(1, 2), 2),
    "pixel_unshuffle": lambda x: F.pixel_unshuffle(plane(x)[..., :2], 2),
    "channel_shuffle": lambda x: F.channel_shuffle(plane(x).transpose(1, 2), 2),
    "pad": lambda x: F.pad(x, (1, 0, 0, 1), value=0.5),
    "pad reflect": lambda x: F.pad(channels(x), (1, 1), "reflect"),
    "pad replicate": lambda x: F.pad(channels(x), (1, 1), "replicate"),
    "pad circular": lambda x: F.pad(channels(x), (1, 1), "circular"),
    "pad size": lambda x: F.pad(x, (0, 0, 0, x.shape[1])),
    "embedding": lambda x: F.embedding(whole(x), TABLE),
    "embedding_bag": lambda x: F.embedding_bag(whole(x), TABLE, mode="mean"),
    "one_hot": lambda x: F.one_hot(whole(x), 4).float() @ TABLE,
    "attention": lambda x: F.scaled_dot_product_attention(x, x, x),
    "attention causal": lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True),
    "attention mask": lambda x: F.scaled_dot_product_attention(
        x, x, x, attn_mask=torch.ones(x.shape[1], x.shape[1]).tril().bool()
    ),
    "attention bias": lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=x @ x.mT),
    "attention heads": lambda x: (
        F.scaled_dot_product_attention(*(x.unflatten(-1, (2, 2)).transpose(1, 2) for _ in range(3)))
        .transpose(1, 2)
        .flatten(-2)
    ),
    "pairwise_distance": lambda x: F.pairwise_distance(x, x * x),
    "pdist": lambda x: F.pdist(torch.cat([x, x * x])[:, 0]),
    "gumbel free": lambda x: F.softmax(x / 0.5, -1),
}
_multihead = seeded(nn.MultiheadAttention, 4, 2, batch_first=True)
LAYERS["multihead"] = lambda x: _multihead(x, x, x)[0]
_transformer = seeded(nn.TransformerEncoderLayer, 4, 2, 8, batch_first=True)
LAYERS["transformer"] = lambda x: _transformer(x)
LAYERS["transformer masked"] = lambda x: _transformer(
    x, src_mask=nn.Transformer.generate_square_subsequent_mask(x.shape[1]), is_causal=True
)
LAYERS["transformer padded"] = lambda x: _transformer(x, src_key_padding_mask=_padded(x))
_decoder = seeded(nn.TransformerDecoderLayer, 4, 2, 8, batch_first=True)
LAYERS["transformer decoder"] = lambda x: _decoder(x, x * 2)
for _name in ("GRU", "LSTM", "RNN"):
    LAYERS[_name.lower()] = first(seeded(getattr(nn, _name), 4, 3, batch_first=True))
_lstm_cell, _gru_cell, _rnn_cell = (seeded(kind, 4, 4) for kind in (nn.LSTMCell, nn.GRUCell, nn.RNNCell))
LAYERS |= {
    "lstm_cell": lambda x: _lstm_cell(x[:, 0], (x[:, -1], x[:, 0]))[1],
    "gru_cell": lambda x: _gru_cell(x[:, 0], x[:, -1]),
    "rnn_cell": lambda x: _rnn_cell(x[:, 0], x[:, -1]),
    "Bilinear": (lambda layer: lambda x: layer(x, x * x))(seeded(nn.Bilinear, 4, 4, 3)),
    "LayerNorm": seeded(nn.LayerNorm, 4).__call__,
    "Embedding": (lambda layer: lambda x: layer(whole(x)))(seeded(nn.Embedding, 4, 3)),
    "BatchNorm1d": (lambda layer: lambda x: layer(channels(x)))(seeded(nn.BatchNorm1d, 4)),
    "Softmax2d": lambda x: nn.Softmax2d()(plane(x)),
}

LOSSES: dict[str, Operator] = {
    **{
        name: (lambda loss: lambda x: loss(x, x * x))(getattr(F, name))
        for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
    },
    "kl_div": lambda x: F.kl_div(F.log_softmax(x, -1), F.softmax(x * x, -1), reduction="batchmean"),
    "cross_entropy": lambda x: F.cross_entropy(x[:, 0], whole(x)[:, 0]),
    "cross_entropy soft": lambda x: F.cross_entropy(x[:, 0], F.softmax(x[:, -1], -1)),
    "nll_loss": lambda x: F.nll_loss(F.log_softmax(x[:, 0], -1), whole(x)[:, 0], reduction="none"),
    "binary_cross_entropy": lambda x: F.binary_cross_entropy(x.sigmoid(), (x > 0).float()),
    "bce_with_logits": lambda x: F.binary_cross_entropy_with_logits(x, (x > 0).float()),
    "gaussian_nll_loss": lambda x: F.gaussian_nll_loss(x, x * x, x.abs() + 0.1),
    "poisson_nll_loss": lambda x: F.poisson_nll_loss(x, x.abs()),
    "cosine_embedding_loss": lambda x: F.cosine_embedding_loss(x[:, 0], x[:, -1] * 2, torch.ones(x.shape[0])),
    "hinge_embedding_loss": lambda x: F.hinge_embedding_loss(x, torch.ones_like(x)),
    "margin_ranking_loss": lambda x: F.margin_ranking_loss(x, x * x, torch.ones_like(x)),
    "triplet_margin_loss": lambda x: F.triplet_margin_loss(x, x * x, x + 1),
    "soft_margin_loss": lambda x: F.soft_margin_loss(x, torch.ones_like(x)),
    "multi_margin_loss": lambda x: F.multi_margin_loss(x[:, 0], whole(x)[:, 0]),
}

DISTRIBUTIONS: dict[str, Operator] = {
    "Normal": lambda x: torch.distributions.Normal(x, x.abs() + 0.1).log_prob(x * x),
    "MultivariateNormal": lambda x: torch.distributions.MultivariateNormal(
        torch.zeros(4), TABLE @ TABLE.T + torch.eye(4)
    ).log_prob(x),
    "Laplace": lambda x: torch.distributions.Laplace(x, 1.0).log_prob(x * x),
    "Gamma": lambda x: torch.distributions.Gamma(x.abs() + 0.5, 1.0).log_prob(x.abs() + 0.1),
    "Beta": lambda x: torch.distributions.Beta(2.0, x.abs() + 0.5).log_prob(x.sigmoid()),
    "Bernoulli": lambda x: torch.distributions.Bernoulli(logits=x).log_prob((x > 0).float()),
    "Categorical": lambda x: torch.distributions.Categorical(logits=x).log_prob(whole(x)),
    "Poisson": lambda x: torch.distributions.Poisson(x.abs() + 0.1).log_prob(whole(x).unsqueeze(-1).float()),
    "Exponential": lambda x: torch.distributions.Exponential(x.abs() + 0.1).log_prob(x.abs()),
    "LogNormal": lambda x: torch.distributions.LogNormal(x, 1.0).log_prob(x.abs() + 0.1),
    "StudentT": lambda x: torch.distributions.StudentT(3.0, x).log_prob(x * x),
    "Cauchy": lambda x: torch.distributions.Cauchy(x, 1.0).log_prob(x * x),
    "Uniform": lambda x: torch.distributions.Uniform(-9.0, 9.0 + x.abs()).log_prob(x),
    "Dirichlet": lambda x: torch.distributions.Dirichlet(x.abs() + 0.5).log_prob(F.softmax(x, -1)),
    "kl": lambda x: torch.distributions.kl_divergence(
        torch.distributions.Normal(x, x.abs() + 0.1), torch.distributions.Normal(0.0, 1.0)
    ),
    "Independent": lambda x: torch.distributions.Independent(torch.distributions.Normal(x, 1.0), 1).log_prob(x * x),
    "Mixture": lambda x: torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=x), torch.distributions.Normal(x, 1.0)
    ).log_prob(x[..., 0]),
    "entropy": lambda x: torch.distributions.Categorical(logits=x).entropy(),
    "cdf": lambda x: torch.distributions.Normal(0.0, 1.0).cdf(x),
    "icdf": lambda x: torch.distributions.Normal(0.0, 1.0).icdf(x.sigmoid()),
}

OPERATORS = {
    **{f"F.{name}": function for name, function in {**ACTIVATIONS, **LAYERS, **LOSSES}.items()},
    **{f"distributions.{name}": function for name, function in DISTRIBUTIONS.items()},
}
