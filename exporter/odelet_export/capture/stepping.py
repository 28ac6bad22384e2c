"""Solves whose steps are in the trace: those of fields that keep something from one call to the next.

A region stands for one call of a field, and the solver repeats it as often as it likes. For a field with a memory that
is wrong. Where the times and the steps of such a solve are constants, torchdiffeq's own loop runs under the tracer, and
the graph has each call of the field in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from odelet_export.capture.call_values import check_call
from odelet_export.capture.decisions.answers import TracingWatch
from odelet_export.model.overrides import Overrides
from odelet_export.model.reference import overridden, solved
from odelet_export.model.spec import SolveSpec
from odelet_intercept.call import Call
from odelet_intercept.errors import CaptureError

_FOUND = (
    "the solve at {source}\n  found: a field that keeps something from one call to the next, so that dy/dt is not a "
    "function of t and y\n  do: "
)


def in_steps(
    call: Call, original: Callable[..., Any], spec: SolveSpec, overrides: Overrides, watch: TracingWatch
) -> Any:
    """The solution of a call, computed by torchdiffeq while the model is traced.

    original: the library's own odeint. Raises CaptureError where the steps are not known before the solve runs.
    """
    found = _FOUND.format(source=spec.source)
    if not spec.solver.fixed or spec.until_event or spec.timeless:
        raise CaptureError(
            found + f"make what it keeps part of the state, or compute it anew in each call; {spec.method} chooses its "
            "steps at run time, and with steps that are known before (--method rk4 --steps N) the graph can hold each "
            "call of the field in its place"
        )
    check_call(call)
    times = watch.constant(call.t)
    if times is None or spec.extras:
        raise CaptureError(
            found + "make what it keeps part of the state, or compute it anew in each call; or let the times and steps "
            "of the solve be constants, so that the graph can hold each call of the field in its place"
        )
    # A tensor that the trace knows nothing of is a constant for it, and torchdiffeq decides by its numbers.
    constant = torch.tensor(times.tolist(), dtype=times.dtype)
    return solved(overridden(replace(call, t=constant), overrides), original, overrides)


def told(spec: SolveSpec) -> str:
    """A sentence for the user about a solve whose steps are in the trace."""
    return (
        f"{spec.source}: the field keeps something from one call to the next, so the graph holds each of its calls, at "
        "the times of the example"
    )
