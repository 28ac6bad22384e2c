"""Losses that torch computes only after a check of their arguments' values, without the check."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from odelet_export.capture.decisions.indexing import Numbers, Rewritten


def gaussian_nll(args: Sequence[Any], kwargs: Mapping[str, Any], _: Numbers) -> Rewritten:
    """F.gaussian_nll_loss; NaN where a variance is negative, for which torch raises an error."""
    names = ("input", "target", "var", "full", "eps", "reduction")
    given = {"full": False, "eps": 1e-6, "reduction": "mean", **dict(zip(names, args, strict=False)), **kwargs}
    mean, variance = given["input"], given["var"]
    if not isinstance(variance, Tensor) or given["reduction"] not in ("none", "mean", "sum"):
        return None
    if variance.ndim == mean.ndim - 1:
        variance = variance.unsqueeze(-1)

    def loss() -> Tensor:
        # The bound has no gradient of its own, as in torch.
        bounded = variance + (variance.clamp(min=given["eps"]) - variance).detach()
        checked = torch.where((variance < 0).any(), torch.nan, bounded)
        values = 0.5 * (checked.log() + (mean - given["target"]).square() / checked)
        values = values + 0.5 * math.log(2 * math.pi) if given["full"] else values
        return {"none": values, "mean": values.mean(), "sum": values.sum()}[given["reduction"]]

    return loss
