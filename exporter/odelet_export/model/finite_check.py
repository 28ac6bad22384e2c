"""A check that torch's own solution of a solve is finite on the example: an exported solve ends with an error where it
is not, and the reason is then in the model or in its example."""

from __future__ import annotations

from typing import Any

import torch

from odelet_intercept.call import Call
from odelet_intercept.errors import CaptureError


def check_finite(call: Call, result: Any) -> None:
    """Check the result of a call that torch computed. Raises CaptureError where a state in it is infinite or NaN."""
    solution = result if call.event_fn is None else result[1]
    parts = solution if isinstance(solution, (tuple, list)) else [solution]
    finite = [part.isfinite().reshape(len(part), -1).all(1) for part in parts if isinstance(part, torch.Tensor)]
    if all(bool(rows.all()) for rows in finite):
        return
    first = min(int(torch.argmin(rows.int())) for rows in finite if not rows.all())
    at = "" if call.event_fn is not None or first >= len(call.t) else f" at time {float(call.t[first]):.4g}"
    raise CaptureError(
        f"{call.where}torch's own solution of this solve is infinite or NaN on the example{at}; an exported solve ends "
        "there with an error\n  do: give an example that the model solves, or shorter steps, where the solution grows "
        "by too long ones"
    )
