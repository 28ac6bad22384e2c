"""Whether a copy of torchdiffeq that a model calls returns what torchdiffeq does, seen by running it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from odelet_export.model.callee import Callee
from odelet_export.model.intercepted_run import run_intercepted
from odelet_intercept.call import Call
from odelet_intercept.errors import CaptureError


def check_copies(callee: Callee) -> None:
    """Run the model on its example to see whether the copies of torchdiffeq that it calls return what torchdiffeq
    does. Raises CaptureError for one that does not."""

    def handler(call: Call, original: Callable[..., Any]) -> Any:
        if not call.copy:
            return _unsolved(call)
        result = call.solve(original)
        solution = result if call.event_fn is None else result[1]
        single = not isinstance(call.y0, tuple)
        pairs = zip(*(([solution], [call.y0]) if single else (solution, call.y0)), strict=False)
        parts = [(one.shape, (len(call.t), *y0.shape)) for one, y0 in pairs if isinstance(one, torch.Tensor)]
        count = 1 if single else len(call.y0)
        if len(parts) != count or any(got != expected for got, expected in parts):
            raise CaptureError(
                call.where + f"{call.copy} looks like a copy of torchdiffeq, but its "
                f"{call.entry} returned {_described(result)} for a state of "
                f"{_described(call.y0)} at {len(call.t)} times, which torchdiffeq does not; call torchdiffeq instead"
            )
        return result

    if not callee.copies:
        return
    try:
        with torch.random.fork_rng():
            run_intercepted(callee, callee.example, handler)
    except CaptureError:
        raise
    except Exception:  # what is wrong with the model the capture says better
        return


def _unsolved(call: Call) -> Any:
    """What has the form of a solution, without the time, perhaps endless, that it takes to find one."""
    if call.entry == "mark":
        return call.y0
    single = not isinstance(call.y0, tuple)
    paths = [torch.stack([part] * len(call.t)) for part in ([call.y0] if single else call.y0)]
    path = paths[0] if single else tuple(paths)
    return path if call.event_fn is None else (call.t[-1], path)


def _described(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"a tensor {list(value.shape)}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {', '.join(map(_described, value))}"
    return f"a {type(value).__name__}"
