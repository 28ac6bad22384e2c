"""A check that the copies of torchdiffeq that a model calls return solutions of the same form as torchdiffeq.

Some repositories carry a changed copy of torchdiffeq. Interception catches its functions by their names, and could
not tell that one returns something else.
"""

from __future__ import annotations

from typing import Any

import torch

from odelet_intercept.call import Call
from odelet_intercept.errors import CaptureError


def check_copy(call: Call, result: Any) -> None:
    """Check the result of a call that a copy of torchdiffeq answered.

    Raises CaptureError for another number of tensors than the state has, or tensors of other shapes than
    (times, *part).
    """
    solution = result if call.event_fn is None else result[1]
    single = not isinstance(call.y0, tuple)
    pairs = zip(*(([solution], [call.y0]) if single else (solution, call.y0)), strict=False)
    shapes = [(part.shape, (len(call.t), *y0.shape)) for part, y0 in pairs if isinstance(part, torch.Tensor)]
    count = 1 if single else len(call.y0)
    if len(shapes) != count or any(shape != expected for shape, expected in shapes):
        raise CaptureError(
            call.where + f"{call.copy} looks like a copy of torchdiffeq, but its "
            f"{call.entry} returned {_described(result)} for a state of "
            f"{_described(call.y0)} at {len(call.t)} times, which torchdiffeq does not; call torchdiffeq instead"
        )


def _described(value: Any) -> str:
    """A value's kind and shape, for a message."""
    if isinstance(value, torch.Tensor):
        return f"a tensor {list(value.shape)}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {', '.join(map(_described, value))}"
    return f"a {type(value).__name__}"
