"""Layers of all kinds, as scalars of a state: what a field may take the gradient of. To add one, write it and a line
in LAYERS, with the shape of a sample."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Scalar = Callable[[Tensor], Tensor]


def module(layer: nn.Module) -> Scalar:
    """The sum of what a layer gives, unevenly weighted."""
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -0.5, 0.5)
    layer.eval()

    def scalar(y: Tensor) -> Tensor:
        made = layer(y)
        return torch.sin(made[0] if isinstance(made, tuple) else made).sum()

    return scalar


def matrix(function: Callable[[Tensor], Tensor]) -> Scalar:
    """Of a state that is made a well-conditioned square matrix."""
    return lambda y: function(torch.tanh(y) + 3 * torch.eye(y.shape[-1])).sum()


def attend(y: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(y, torch.sin(y), y * 2).square().sum()


def causal(y: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(y, torch.sin(y), y * 2, is_causal=True).square().sum()


def attention(y: Tensor) -> Tensor:
    return attend_layer(y, y, y, need_weights=False)[0].square().sum()


torch.manual_seed(0)
attend_layer = nn.MultiheadAttention(4, 2, batch_first=True).eval()
table = torch.randn(7, 4)
places = torch.tensor([2, 0, 2])
cells = nn.GRUCell(4, 3), nn.LSTMCell(4, 3)

LAYERS: dict[str, tuple[Scalar, tuple[int, ...]]] = {
    "linear": (module(nn.Linear(4, 3)), (4,)),
    "bilinear": (lambda y: torch.sin(F.bilinear(y, y, table[:4, :4].reshape(1, 4, 4))).sum(), (4,)),
    "conv1d": (module(nn.Conv1d(2, 3, 3, padding=1, stride=2)), (2, 6)),
    "conv2d": (module(nn.Conv2d(2, 4, 3, padding=1, groups=2)), (2, 4, 4)),
    "conv2d_reflect": (module(nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect")), (2, 4, 4)),
    "conv2d_circular": (module(nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular")), (2, 4, 4)),
    "conv2d_replicate": (module(nn.Conv2d(2, 2, 3, padding=1, padding_mode="replicate")), (2, 4, 4)),
    "conv3d": (module(nn.Conv3d(1, 2, 2)), (1, 3, 3, 3)),
    "conv_transpose1d": (module(nn.ConvTranspose1d(2, 3, 3, stride=2)), (2, 4)),
    "conv_transpose2d": (module(nn.ConvTranspose2d(2, 1, 3, stride=2, padding=1, output_padding=1)), (2, 3, 3)),
    "batch_norm": (module(nn.BatchNorm1d(3)), (3, 4)),
    "layer_norm": (module(nn.LayerNorm(4)), (3, 4)),
    "group_norm": (module(nn.GroupNorm(2, 4)), (4, 3)),
    "instance_norm": (module(nn.InstanceNorm2d(2, affine=True)), (2, 3, 3)),
    "rms_norm": (module(nn.RMSNorm(4)), (3, 4)),
    "local_response_norm": (module(nn.LocalResponseNorm(2)), (3, 4, 4)),
    "attend": (attend, (2, 3, 4)),
    "causal": (causal, (2, 3, 4)),
    "attention": (attention, (3, 4)),
    "encoder": (module(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)), (3, 4)),
    **{
        name.lower(): (module(getattr(nn, name)()), (5,))
        for name in (
            *("ReLU", "GELU", "SiLU", "ELU", "SELU", "CELU", "Softplus", "Mish", "Hardtanh", "Hardswish", "ReLU6"),
            *("Hardsigmoid", "LeakyReLU", "PReLU", "LogSigmoid", "Softsign", "Tanhshrink", "Softshrink", "Hardshrink"),
        )
    },
    "glu": (module(nn.GLU()), (4,)),
    "softmax": (module(nn.Softmax(-1)), (4,)),
    "log_softmax": (module(nn.LogSoftmax(-1)), (4,)),
    "max_pool1d": (module(nn.MaxPool1d(2)), (2, 6)),
    "max_pool2d": (module(nn.MaxPool2d(2)), (2, 4, 4)),
    "max_pool2d_overlap": (module(nn.MaxPool2d(3, stride=1, padding=1)), (2, 4, 4)),
    "avg_pool1d": (module(nn.AvgPool1d(2)), (2, 6)),
    "avg_pool2d": (module(nn.AvgPool2d(3, stride=2, padding=1)), (2, 4, 4)),
    "avg_pool3d": (module(nn.AvgPool3d(2)), (1, 4, 4, 4)),
    "adaptive_avg1d": (module(nn.AdaptiveAvgPool1d(2)), (2, 6)),
    "adaptive_avg2d": (module(nn.AdaptiveAvgPool2d(2)), (2, 4, 4)),
    "adaptive_avg2d_uneven": (module(nn.AdaptiveAvgPool2d(3)), (2, 4, 5)),
    "adaptive_max2d": (module(nn.AdaptiveMaxPool2d(2)), (2, 4, 4)),
    "global_avg": (module(nn.AdaptiveAvgPool2d(1)), (2, 4, 4)),
    "upsample_nearest": (module(nn.Upsample(scale_factor=2)), (2, 3, 3)),
    "upsample_bilinear": (module(nn.Upsample(scale_factor=2, mode="bilinear")), (2, 3, 3)),
    "interpolate_linear": (lambda y: F.interpolate(y, size=7, mode="linear").sin().sum(), (2, 4)),
    "interpolate_bicubic": (lambda y: F.interpolate(y, size=(6, 6), mode="bicubic").sin().sum(), (2, 4, 4)),
    "pixel_shuffle": (module(nn.PixelShuffle(2)), (4, 2, 2)),
    "pad_reflect": (lambda y: F.pad(y, (2, 1), mode="reflect").sin().sum(), (2, 4)),
    "pad_replicate": (lambda y: F.pad(y, (2, 1), mode="replicate").sin().sum(), (2, 4)),
    "pad_constant": (lambda y: F.pad(y, (2, 1)).cos().sum(), (2, 4)),
    "unfold": (module(nn.Unfold(2)), (2, 4, 4)),
    "tensor_unfold": (lambda y: y.unfold(-1, 3, 2).sin().sum(), (7,)),
    "gather": (lambda y: y.gather(1, places.expand(y.shape[0], 3)).sin().sum(), (4,)),
    "index": (lambda y: y[:, places].sin().sum(), (4,)),
    "index_select": (lambda y: y.index_select(1, places).sin().sum(), (4,)),
    "index_add": (lambda y: torch.zeros_like(y).index_add(1, places, y[:, :3] * y[:, 1:]).sin().sum(), (4,)),
    "scatter_add": (
        lambda y: torch.zeros_like(y).scatter_add(1, places.expand(y.shape[0], 3), y[:, 1:] * 2).sin().sum(),
        (4,),
    ),
    "index_put": (lambda y: torch.zeros_like(y).index_put((torch.tensor([0]),), y[:1] * y[:1]).sin().sum(), (4,)),
    "masked_fill": (lambda y: y.masked_fill(y > 0.5, 0.0).square().sum(), (4,)),
    "cumsum": (lambda y: y.cumsum(-1).sin().sum(), (4,)),
    "cumprod": (lambda y: y.cumprod(-1).sin().sum(), (4,)),
    "logcumsumexp": (lambda y: y.logcumsumexp(-1).sin().sum(), (4,)),
    "sort": (lambda y: (y.sort(-1).values * torch.arange(4.0)).sin().sum(), (4,)),
    "topk": (lambda y: (y.topk(2, -1).values * torch.arange(1.0, 3.0)).sum(), (4,)),
    "amax": (lambda y: y.amax().square(), (4,)),
    "amax_dim": (lambda y: y.amax(-1).square().sum(), (4,)),
    "max_all": (lambda y: y.max() * y.min(), (4,)),
    "max_dim": (lambda y: y.max(-1).values.square().sum(), (4,)),
    "median": (lambda y: y.median(-1).values.square().sum(), (5,)),
    "std": (lambda y: y.std(-1).sum() + y.var(), (4,)),
    "prod": (lambda y: y.prod(-1).sum(), (4,)),
    "einsum": (lambda y: torch.einsum("bij,bkj,ka->", y, y, table[:3, :2]).sin(), (3, 4)),
    "bmm": (lambda y: torch.bmm(y, y.transpose(1, 2)).sin().sum(), (3, 4)),
    "inverse": (matrix(torch.linalg.inv), (3, 3)),
    "inverse_2": (matrix(torch.inverse), (2, 2)),
    "solve": (matrix(lambda m: torch.linalg.solve(m, table[:3, :2])), (3, 3)),
    "solve_vector": (matrix(lambda m: torch.linalg.solve(m, m[..., 0].sin())), (3, 3)),
    "determinant": (matrix(torch.linalg.det), (3, 3)),
    "determinant_turned": (lambda y: torch.linalg.det(y.mT).sum(), (3, 3)),
    "solve_left": (matrix(lambda m: torch.linalg.solve(m, table[:2, :3].expand(m.shape[0], 2, 3), left=False)), (3, 3)),
    "logdet": (matrix(torch.logdet), (3, 3)),
    "slogdet": (matrix(lambda m: torch.linalg.slogdet(m).logabsdet), (3, 3)),
    "cholesky": (matrix(lambda m: torch.linalg.cholesky(m @ m.mT).sin()), (3, 3)),
    "matrix_exp": (matrix(lambda m: torch.linalg.matrix_exp(m * 0.2)), (3, 3)),
    "trace": (lambda y: (y[0] @ y[0]).trace().sin(), (3, 3)),
    "diagonal": (lambda y: (y @ y).diagonal(dim1=-2, dim2=-1).sin().sum(), (3, 3)),
    "diag_embed": (lambda y: (torch.diag_embed(y) @ table[:4, :4]).sin().sum(), (4,)),
    "tril": (lambda y: (y.tril() @ y.triu()).sin().sum(), (3, 3)),
    "norm": (lambda y: y.norm() + y.norm(dim=-1).sum(), (4,)),
    "norm_1": (lambda y: y.norm(p=1, dim=-1).square().sum(), (4,)),
    "norm_3": (lambda y: torch.linalg.vector_norm(y, 3, dim=-1).sum(), (4,)),
    "normalize": (lambda y: (F.normalize(y, dim=-1) * table[0]).sum(), (4,)),
    "cosine": (lambda y: F.cosine_similarity(y, y.sin() * 2 + 1).sum(), (4,)),
    "cdist": (lambda y: torch.cdist(y, table[:3]).sin().sum(), (2, 4)),
    "pairwise": (lambda y: F.pairwise_distance(y, y.sin() + 1).sum(), (4,)),
    "logsumexp": (lambda y: y.logsumexp(-1).square().sum(), (4,)),
    "clamp": (lambda y: (y.clamp(-0.5, 0.5) * y.clamp_min(0.1)).sum(), (4,)),
    "where": (lambda y: torch.where(y > 0, y.square(), -y).sin().sum(), (4,)),
    "maximum": (lambda y: torch.maximum(y, y.sin() * 2).square().sum(), (4,)),
    "atan2": (lambda y: torch.atan2(y, y.sin() + 2).square().sum(), (4,)),
    "pow": (lambda y: (y.abs() + 1).pow(y).sum(), (4,)),
    "erf": (lambda y: torch.erf(y).sum() + torch.special.expit(y).sum(), (4,)),
    "roll": (lambda y: (y.roll(1, -1) * y.flip(-1)).sin().sum(), (4,)),
    "repeat": (lambda y: (y.repeat(1, 2) * y.repeat_interleave(2, dim=1)).sin().sum(), (4,)),
    "stack": (lambda y: torch.stack([y, y.sin()], 1).flatten(1).square().sum(), (4,)),
    "split": (lambda y: (y.chunk(2, -1)[0] * y.split([1, 3], -1)[1][:, :2]).sum(), (4,)),
    "smooth_l1": (lambda y: F.smooth_l1_loss(y, y.detach().sin()) + F.huber_loss(y, y.detach() * 0), (4,)),
    "cross_entropy": (lambda y: F.cross_entropy(y, torch.zeros(y.shape[0], dtype=torch.long)), (4,)),
    "bce": (lambda y: F.binary_cross_entropy_with_logits(y, torch.sigmoid(y.detach())), (4,)),
    "kl": (lambda y: F.kl_div(y.log_softmax(-1), torch.full_like(y, 0.25), reduction="sum"), (4,)),
    "gru_cell": (lambda y: cells[0](y, y[:, :3]).sin().sum(), (4,)),
    "lstm_cell": (lambda y: cells[1](y, (y[:, :3], y[:, 1:]))[0].sin().sum(), (4,)),
    "gru": (module(nn.GRU(4, 3, batch_first=True)), (3, 4)),
    "lstm": (module(nn.LSTM(4, 3, batch_first=True)), (3, 4)),
    "rnn": (module(nn.RNN(4, 3, batch_first=True)), (3, 4)),
    "second": (lambda y: torch.autograd.grad((F.silu(y) * y.sin()).sum(), y, create_graph=True)[0].norm(), (4,)),
}
