"""A program taken apart node by node becomes the same ONNX graph as one that torch traces again as a whole."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from support.fingerprints import fingerprints
from torch import nn
from torch.nn import functional

from odelet_export.capture import onnx_model
from odelet_export.capture.operators import decomposing, promoting
from odelet_export.capture.operators.piecewise import NotPiecewise, decompose_piecewise

aten = torch.ops.aten


class _Module(nn.Module):
    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.norm = nn.Linear(6, 6), nn.LayerNorm(6)
        self.groups, self.conv = nn.GroupNorm(2, 4), nn.Conv1d(4, 4, 3, padding=1, padding_mode="circular")
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.table = nn.Embedding(6, 6)
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self, x)


# x: (batch, 4, 6)
FUNCTIONS: dict[str, Callable[..., object]] = {
    "reshapes": lambda m, x: (
        x.flatten(1).reshape(x.shape[0], 2, -1).transpose(1, 2).reshape(-1, 2).unflatten(0, (-1, 12))
    ),
    "reshape of what is not contiguous": lambda m, x: x.transpose(1, 2).reshape(x.shape[0], -1),
    "chunks": lambda m, x: x.chunk(2, -1)[1] * x.chunk(2, 1)[0].mean() + x.tensor_split(3, -1)[1].sum(),
    "casts": lambda m, x: x.double().to(torch.float32).type_as(x).to(x.device).contiguous() + x.long().sum(),
    "broadcasts": lambda m, x: torch.broadcast_to(x[:1], x.shape) + x.new_zeros(6).expand_as(x),
    "a sum without an axis": lambda m, x: x - x.sum() + x.var() + x.std(1, keepdim=True),
    "layers": lambda m, x: m.norm(m.linear(x)) + m.conv(x) + m.groups(x),
    "attention": lambda m, x: m.attention(x, x, x)[0],
    "activations": lambda m, x: (
        functional.mish(x) + functional.hardswish(x) + functional.softplus(x) + functional.selu(x)
    ),
    "products": lambda m, x: torch.einsum("bij,bkj->bik", x, x) @ x + torch.matmul(x, x.mT) @ x,
    "trapezoid": lambda m, x: torch.trapezoid(x, dim=-1) + torch.cumulative_trapezoid(x, dim=1).sum((1, 2))[:, None],
    "indices": lambda m, x: x[:, [0, 2]].roll(1, 1) + m.table(torch.arange(2)).narrow(1, 0, 6),
    "norms": lambda m, x: x / torch.linalg.vector_norm(x, dim=-1, keepdim=True) + functional.normalize(x, dim=1),
    "losses": lambda m, x: functional.mse_loss(x, x * x) + functional.smooth_l1_loss(x, x.square()),
    "stacks": lambda m, x: torch.stack([*x.unbind(1)], 0).movedim(0, 1) + torch.hstack([x[:, :2], x[:, 2:]]),
    "integers and floats": lambda m, x: x.argmax(-1, keepdim=True) * x + (x > 0) * 2 + torch.true_divide(3, x.shape[0]),
    "several results": lambda m, x: (x.aminmax(dim=1).max, x.sort(-1).values, x.max(1).indices, x),
    "constants": lambda m, x: (
        x * torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) + torch.tensor(2.0).expand(6) ** x[:, :1]
    ),
    "sizes": lambda m, x: x.reshape(x.shape[0] * 2, -1).sum(1) / x.shape[0] + torch.zeros(x.shape[0] * 2),
}


def _program(function: Callable[..., object]) -> torch.export.ExportedProgram:
    module = _Module(function).eval().requires_grad_(False)  # type: ignore[arg-type]  # its result is torch's to check
    with torch.no_grad():
        return torch.export.export(
            module, (torch.randn(3, 4, 6),), dynamic_shapes=({0: torch.export.Dim("batch")},), strict=False
        )


def _translated(function: Callable[..., object]) -> list[str]:
    program = _program(function)
    names = [f"y{i}" for i in range(len(program.graph_signature.user_outputs))]
    model, _ = onnx_model.to_onnx(program, ["x"], names, 20)
    return fingerprints(model)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_same_graph_as_torchs_own_way(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[object] = []

    def counted(*args: object) -> None:
        decompose_piecewise(*args)  # type: ignore[arg-type]  # passed on as they came
        taken.append(args)

    monkeypatch.setattr(decomposing, "decompose_piecewise", counted)
    quick = _translated(FUNCTIONS[name])
    assert taken, "the program went torch's own way"
    monkeypatch.setattr(decomposing, "decompose_piecewise", _refuse)
    monkeypatch.setattr(promoting, "_insert_casts", _torchs_casts)
    assert quick == _translated(FUNCTIONS[name])


def _refuse(*_: object) -> None:
    raise NotPiecewise("torch's own way")


_torchs_casts = torch.onnx._internal.exporter._fx_passes.insert_type_promotion_nodes
