"""A check that the inputs and the results of a model are real: ONNX Runtime has no complex numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from odelet.errors import InputError
from odelet_export.model.callee import Callee
from odelet_export.model.trees import Leaf


def check_real(callee: Callee, leaves: Sequence[Leaf]) -> None:
    """Raise InputError for an input or a result of a model that is complex. leaves: the results on the example."""
    for name, tensor in zip(callee.names, callee.example, strict=True):
        if tensor.is_complex():
            raise InputError(
                f"input {name!r} is {_dtype(tensor)}, and no artifact takes complex numbers: give the model "
                f"torch.view_as_real({name}), and call torch.view_as_complex in it"
            )
    for path, leaf in leaves:
        if isinstance(leaf, torch.Tensor) and leaf.is_complex():
            what = f"the result {str(path)!r}" if len(leaves) > 1 and str(path) else "the result"
            raise InputError(
                f"{what} of the model is {_dtype(leaf)}, and no artifact gives complex numbers: return "
                "torch.view_as_real of it"
            )


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
