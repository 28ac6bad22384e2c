"""Losses of labels and of probabilities, where torch's translations to ONNX are wrong or missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch._ops import OpOverload

aten = torch.ops.aten


def cross_entropy_loss(
    x: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None = None,
    reduction: int = 1,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """The cross entropy of labels or probabilities.

    torch's translation leaves out the smoothing of labels, takes no probabilities, and has a wrong shape for the losses
    of the rows of a free batch.
    """
    axis = min(x.ndim - 1, 1)
    logarithms = torch.log_softmax(x, axis)
    if not target.is_floating_point():
        return _loss_of_labels(logarithms, target, weight, reduction, ignore_index, label_smoothing)
    smoothed = target * (1 - label_smoothing) + label_smoothing / x.shape[axis]
    each = -(_weighted(logarithms, weight) * smoothed).sum(axis)
    return (each, each.mean(), each.sum())[reduction]


def nll_loss(
    x: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None = None,
    reduction: int = 1,
    ignore_index: int = -100,
) -> torch.Tensor:
    """The negative log-likelihood of labels; torch's translation has the wrong shape of that of the cross entropy."""
    return _loss_of_labels(x, target, weight, reduction, ignore_index, 0.0)


def _weighted(logarithms: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
    axis = min(logarithms.ndim - 1, 1)
    return logarithms if weight is None else logarithms * weight.reshape([-1] + [1] * (logarithms.ndim - 1 - axis))


def _loss_of_labels(
    logarithms: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    reduction: int,
    ignore_index: int,
    smoothing: float,
) -> torch.Tensor:
    axis, weighted = min(logarithms.ndim - 1, 1), _weighted(logarithms, weight)
    ignored = target == ignore_index
    places = torch.where(ignored, 0, target)
    each = weighted.gather(axis, places.unsqueeze(axis)).squeeze(axis)
    if smoothing:
        each = each * (1 - smoothing) + weighted.sum(axis) * (smoothing / logarithms.shape[axis])
    each = torch.where(ignored, 0.0, -each)
    if reduction != 1:  # torch's number of the mean
        return each.sum() if reduction else each
    counts = torch.ones_like(each) if weight is None else weight[places]
    return each.sum() / torch.where(ignored, 0.0, counts).sum()


DECOMPOSITIONS: dict[OpOverload, Callable[..., Any]] = {
    aten.cross_entropy_loss.default: cross_entropy_loss,
    aten.nll_loss.default: nll_loss,
    aten.nll_loss_nd.default: nll_loss,
}
