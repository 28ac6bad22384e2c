"""One capture for several exports of a model.

The law here: an export that takes a capture of another gives what it would give with its own. So a capture is taken
again only where it does not hang on what is asked of the solves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

from odelet_export.capture import capture as own
from odelet_export.capture.captured import Captured
from odelet_export.model.axes import Dynamic
from odelet_export.model.call_spec import spec_of
from odelet_export.model.callee import Callee
from odelet_export.model.overrides import Overrides
from odelet_export.model.spec import SolveSpec
from odelet_intercept.errors import CaptureError


@dataclass
class CaptureCache:
    """The captures of one model, one example and one set of axes. made: each with the callee that it ran through."""

    made: list[tuple[Captured, Callee]] = field(default_factory=list)


_kept: ContextVar[CaptureCache | None] = ContextVar("kept", default=None)


@contextmanager
def capturing_once() -> Iterator[CaptureCache]:
    """Within it, exports of one model share captures. All are to have the same model, example, axes, opset and freeze;
    what is asked of the solves may differ."""
    kept = CaptureCache()
    token = _kept.set(kept)
    try:
        yield kept
    finally:
        _kept.reset(token)


def capture(
    callee: Callee, dynamic: Dynamic, overrides: Overrides, *, opset: int, frozen: Sequence[str] = ()
) -> Captured:
    """As `odelet_export.capture.capture`, or a copy of a capture made before."""
    kept = _kept.get()
    if kept is None:
        return own.capture(callee, dynamic, overrides, opset=opset, frozen=frozen)
    for captured, traced in kept.made:
        again = _for(captured, overrides)
        if again is not None:
            callee.take_over(traced)
            return again
    captured = own.capture(callee, dynamic, overrides, opset=opset, frozen=frozen)
    kept.made.append((captured, callee))
    return replace(captured, model=captured.model.clone())


def _for(captured: Captured, overrides: Overrides) -> Captured | None:
    """The capture with its solves asked for in another way; None where the trace itself would be another."""
    if captured.observed:
        return None
    try:
        specs, nested = (
            [_again(captured, spec, overrides) for spec in specs] for specs in (captured.specs, captured.nested)
        )
    except CaptureError:
        return None  # a capture of its own says why, or reads what can only be read while it runs
    pairs = zip([*captured.specs, *captured.nested], [*specs, *nested], strict=True)
    if any(_traced(before) != _traced(now) for before, now in pairs):
        return None
    return replace(captured, model=captured.model.clone(), specs=specs, nested=nested)


def _again(captured: Captured, spec: SolveSpec, overrides: Overrides) -> SolveSpec:
    read = spec_of(captured.calls[spec.mark], spec.call, overrides)
    return replace(read, index=spec.index, mark=spec.mark, around=spec.around)


def _traced(spec: SolveSpec) -> Any:
    """What the markers of a solve hang on."""
    times = spec.control.dtype if spec.control is not None and spec.until_event else None
    return spec.functions, spec.extras, spec.parts, spec.own_times, spec.timeless, times
