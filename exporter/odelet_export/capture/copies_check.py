"""A check that the copies of torchdiffeq that a model calls return solutions of the same form as torchdiffeq.

Some repositories carry a changed copy of torchdiffeq. Interception catches its functions by their names, and could
not tell that one returns something else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from odelet_export.model.callee import Callee
from odelet_export.model.intercepted_run import run_intercepted
from odelet_intercept.call import Call
from odelet_intercept.errors import CaptureError


def check_copies(callee: Callee) -> None:
    """Run the model on its example, if it may call copies of torchdiffeq, and check the solutions of the copies.

    Calls of the original libraries get a solution of the right form without being solved. Raises CaptureError for a
    copy that returns another number of tensors than the state has, or tensors of other shapes than (times, *part).
    """
    if not callee.copies:
        return
    try:
        with torch.random.fork_rng():
            run_intercepted(callee, callee.example, _checked_solution)
    except CaptureError:
        raise
    except Exception:  # a model that fails in eager torch is explained better by the capture
        return


def _checked_solution(call: Call, original: Callable[..., Any]) -> Any:
    """The answer to a call: the checked solution of a copy, or a stand-in for that of an original library."""
    if not call.copy:
        return _stand_in(call)
    result = call.solve(original)
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
    return result


def _stand_in(call: Call) -> Any:
    """A value of the form of a call's solution: the initial state at each time. Solving could take forever."""
    if call.entry == "mark":
        return call.y0
    single = not isinstance(call.y0, tuple)
    paths = [torch.stack([part] * len(call.t)) for part in ([call.y0] if single else call.y0)]
    path = paths[0] if single else tuple(paths)
    return path if call.event_fn is None else (call.t[-1], path)


def _described(value: Any) -> str:
    """A value's kind and shape, for a message."""
    if isinstance(value, torch.Tensor):
        return f"a tensor {list(value.shape)}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {', '.join(map(_described, value))}"
    return f"a {type(value).__name__}"
