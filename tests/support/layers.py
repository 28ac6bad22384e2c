"""Layers whose gradients leave operators that ONNX lacks, as scalars of a state.

To add a layer, write a line in LAYERS: a function of a batch of states to a scalar, and the shape of one state.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Scalar = Callable[[Tensor], Tensor]


def module(layer: nn.Module) -> Scalar:
    """A layer as a scalar function: the sum of the sines of its outputs, so that no two gradients are alike."""
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -0.5, 0.5)
    layer.eval()

    def scalar(y: Tensor) -> Tensor:
        output = layer(y)
        return torch.sin(output[0] if isinstance(output, tuple) else output).sum()

    return scalar


def matrix(function: Callable[[Tensor], Tensor]) -> Scalar:
    """A function of square matrices as a scalar function of states; it gets well-conditioned matrices."""
    return lambda y: function(torch.tanh(y) + 3 * torch.eye(y.shape[-1])).sum()


def attend(y: Tensor) -> Tensor:
    """Attention of a sequence to itself, as a scalar."""
    return F.scaled_dot_product_attention(y, torch.sin(y), y * 2).square().sum()


torch.manual_seed(0)
table = torch.randn(7, 4)
places = torch.tensor([2, 0, 2])
cell = nn.GRUCell(4, 3)

LAYERS: dict[str, tuple[Scalar, tuple[int, ...]]] = {
    "bilinear": (lambda y: torch.sin(F.bilinear(y, y, table[:4, :4].reshape(1, 4, 4))).sum(), (4,)),
    "conv2d_reflect": (module(nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect")), (2, 4, 4)),
    "conv2d_replicate": (module(nn.Conv2d(2, 2, 3, padding=1, padding_mode="replicate")), (2, 4, 4)),
    "local_response_norm": (module(nn.LocalResponseNorm(2)), (3, 4, 4)),
    "attend": (attend, (2, 3, 4)),
    "silu": (module(nn.SiLU()), (5,)),
    "hardswish": (module(nn.Hardswish()), (5,)),
    "max_pool2d": (module(nn.MaxPool2d(2)), (2, 4, 4)),
    "max_pool2d_overlap": (module(nn.MaxPool2d(3, stride=1, padding=1)), (2, 4, 4)),
    "avg_pool2d": (module(nn.AvgPool2d(3, stride=2, padding=1)), (2, 4, 4)),
    "avg_pool2d_inside": (module(nn.AvgPool2d(2, padding=1, count_include_pad=False)), (2, 4, 4)),
    "adaptive_avg1d": (module(nn.AdaptiveAvgPool1d(2)), (2, 6)),
    "adaptive_avg2d_uneven": (module(nn.AdaptiveAvgPool2d(3)), (2, 4, 5)),
    "adaptive_max2d": (module(nn.AdaptiveMaxPool2d(2)), (2, 4, 4)),
    "upsample_bilinear": (module(nn.Upsample(scale_factor=2, mode="bilinear")), (2, 3, 3)),
    "interpolate_linear": (lambda y: F.interpolate(y, size=7, mode="linear").sin().sum(), (2, 4)),
    "pad_replicate": (lambda y: F.pad(y, (2, 1), mode="replicate").sin().sum(), (2, 4)),
    "index": (lambda y: y[:, places].sin().sum(), (4,)),
    "cumsum": (lambda y: y.cumsum(-1).sin().sum(), (4,)),
    "logcumsumexp": (lambda y: y.logcumsumexp(-1).sin().sum(), (4,)),
    "topk": (lambda y: (y.topk(2, -1).values * torch.arange(1.0, 3.0)).sum(), (4,)),
    "amax": (lambda y: y.amax().square(), (4,)),
    "median": (lambda y: y.median(-1).values.square().sum(), (5,)),
    "std": (lambda y: y.std(-1).sum() + y.var(), (4,)),
    "prod": (lambda y: y.prod(-1).sum(), (4,)),
    "inverse_2": (matrix(torch.inverse), (2, 2)),
    "solve_vector": (matrix(lambda m: torch.linalg.solve(m, m[..., 0].sin())), (2, 2)),
    "determinant": (matrix(torch.linalg.det), (2, 2)),
    "slogdet": (matrix(lambda m: torch.linalg.slogdet(m).logabsdet), (2, 2)),
    "cholesky": (matrix(lambda m: torch.linalg.cholesky(m @ m.mT).sin()), (3, 3)),
    "matrix_exp": (matrix(lambda m: torch.linalg.matrix_exp(m * 0.2)), (2, 2)),
    "eigh": (matrix(lambda m: torch.linalg.eigvalsh(m @ m.mT)), (3, 3)),
    "diagonal": (lambda y: (y @ y).diagonal(dim1=-2, dim2=-1).sin().sum(), (3, 3)),
    "norm": (lambda y: y.norm() + y.norm(dim=-1).sum(), (4,)),
    "cdist": (lambda y: torch.cdist(y, table[:3]).sin().sum(), (2, 4)),
    "logsumexp": (lambda y: y.logsumexp(-1).square().sum(), (4,)),
    "cross_entropy": (lambda y: F.cross_entropy(y, torch.zeros(y.shape[0], dtype=torch.long)), (4,)),
    "gru_cell": (lambda y: cell(y, y[:, :3]).sin().sum(), (4,)),
}
