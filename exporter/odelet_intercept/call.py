"""One caught call of a solver, as plain data."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch


@dataclass(frozen=True)
class Call:
    """A call of `odeint`, `odeint_adjoint` or `mark`, with defaults filled in.

    func, y0, t, rtol, atol, method, options, event_fn: as torchdiffeq names them; of a call of `mark`, which knows no
    time, t is one unused number. entry: the name of the function called. file, line: where in the model's code. extra:
    the arguments that have no other place. depth: how many solves it is inside of. copy: the module of the copy of
    torchdiffeq that it calls, if one.
    """

    func: Callable[..., Any]
    y0: Any
    t: torch.Tensor
    rtol: Any = 1e-7
    atol: Any = 1e-9
    method: str | None = None
    options: Mapping[str, Any] | None = None
    event_fn: Any = None
    entry: str = "odeint"
    file: str = ""
    line: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)
    depth: int = 0
    copy: str = ""

    @property
    def source(self) -> str:
        """File name and line, without the folder, which is nobody's business but the author's."""
        return f"{os.path.basename(self.file)}:{self.line}"

    def solve(self, original: Callable[..., Any], **changes: Any) -> Any:
        """Run torchdiffeq's own odeint on this call, with some arguments changed."""
        call = replace(self, **changes)
        keywords = {
            "rtol": call.rtol,
            "atol": call.atol,
            "method": call.method,
            "options": dict(call.options) if call.options is not None else None,
        }
        if call.event_fn is not None:  # old copies know no events
            keywords["event_fn"] = call.event_fn
        return original(call.func, call.y0, call.t, **keywords)
