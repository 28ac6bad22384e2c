"""Unused nodes leave a traced program; nodes that draw random numbers stay."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.functional import dropout, rrelu, scaled_dot_product_attention

from odelet_export.capture.operators.unused import remove_unused


class _Unused(nn.Module):
    """A module whose result does not depend on what it computes first."""

    def __init__(self, compute: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.compute = compute

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.compute(x * 2)
        return x + 1


def _left(compute: Callable[[torch.Tensor], torch.Tensor]) -> list[str]:
    program = torch.export.export(_Unused(compute), (torch.ones(1, 2, 3, 4),))
    remove_unused(program)
    return [str(node.target) for node in program.graph.nodes if node.op == "call_function"]


DRAWS_NOTHING: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "attention": lambda x: scaled_dot_product_attention(x, x, x),
    "attention, masked": lambda x: scaled_dot_product_attention(x, x, x, is_causal=True),
    "dropout at inference": lambda x: dropout(x, 0.5, training=False),
    "rrelu at inference": lambda x: rrelu(x, training=False),
    "a change of dtype": lambda x: x.double(),
}
DRAWS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "attention with dropout": lambda x: scaled_dot_product_attention(x, x, x, dropout_p=0.1),
    "dropout in training": lambda x: dropout(x, 0.5, training=True),
    "noise": torch.randn_like,
}


@pytest.mark.parametrize("name", DRAWS_NOTHING)
def test_what_draws_nothing_leaves(name: str) -> None:
    assert _left(DRAWS_NOTHING[name]) == ["aten.add.Tensor"]


@pytest.mark.parametrize("name", DRAWS)
def test_what_draws_stays(name: str) -> None:
    assert len(_left(DRAWS[name])) > 1
