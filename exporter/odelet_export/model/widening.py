"""The model and its inputs in float64, where rounding is too small to matter."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence

import torch

from odelet_export.model.callee import Callee


def widened_model(callee: Callee) -> Callee | None:
    """A copy of a model whose floating-point weights and buffers are float64; None where it cannot be copied.

    The copy may still fail when it runs: the model's own code may make float32 tensors.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about its own classes as they are copied
            return copy.deepcopy(callee).double()
    except Exception:  # the user's classes may raise anything when they are copied
        return None


def widened(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The tensors, with floating-point tensors in float64 and the others as they are."""
    return [tensor.double() if tensor.is_floating_point() else tensor for tensor in tensors]
