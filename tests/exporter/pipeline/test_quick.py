"""A quick export still compares with torch, and says in each place what it left out."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torch import nn
from torchdiffeq import odeint

from odelet_export import ParityError, explain, export
from odelet_export.pipeline.quick import LEFT_OUT


class _Model(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return odeint(lambda t, y: torch.sin(t) - y, x, torch.tensor([0.0, 1.0]), method="rk4")[-1]


def test_what_is_left_out_is_said_everywhere(tmp_path: Path) -> None:
    stages: list[str] = []
    exported = export(
        _Model(),
        (torch.randn(3, 2),),
        tmp_path / "out",
        dynamic={"x": {0: "batch"}},
        samples=1,
        quick=True,
        on_stage=stages.append,
    )
    assert "replay" not in stages
    assert LEFT_OUT in exported.warnings
    assert exported.card.parity is not None
    assert exported.card.parity["skipped"] == LEFT_OUT
    assert exported.card.parity["samples"] == 2
    assert LEFT_OUT in (tmp_path / "out" / "parity.md").read_text()
    assert LEFT_OUT in explain(_Model(), (torch.randn(3, 2),), quick=True).warnings


def test_an_export_in_full_says_nothing_of_it(tmp_path: Path) -> None:
    stages: list[str] = []
    exported = export(_Model(), (torch.randn(3, 2),), tmp_path / "out", samples=1, on_stage=stages.append)
    assert "replay" in stages
    assert LEFT_OUT not in exported.warnings
    assert exported.card.parity is not None
    assert "skipped" not in exported.card.parity


def test_wrong_answers_are_still_found(tmp_path: Path) -> None:
    runs = itertools.count(1)

    def drifting(x: torch.Tensor) -> torch.Tensor:
        # Each run gives another answer, and nothing can put the counter back.
        return odeint(lambda t, y: -y, x * next(runs), torch.tensor([0.0, 1.0]), method="rk4")[-1]

    with pytest.raises(ParityError, match="differs by"):
        export(drifting, (torch.rand(3, 2) + 1,), tmp_path / "out", samples=1, quick=True)
