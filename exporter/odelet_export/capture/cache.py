"""One capture serves several exports of a model, if each gets the files that a capture of its own would give it.

Within `capturing_once`, `capture` traces the model for the first export. A later export with other settings of the
solves (method, tolerances, steps) gets a copy in which only the specs are read anew. Where other settings would change
the traced graph itself, the model is traced again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

from odelet_export.capture import capture as tracing
from odelet_export.capture.captured import Captured
from odelet_export.model.axes import Dynamic
from odelet_export.model.call_spec import spec_of
from odelet_export.model.callee import Callee
from odelet_export.model.overrides import Overrides
from odelet_export.model.spec import SolveSpec
from odelet_intercept.errors import CaptureError


@dataclass
class CaptureCache:
    """The captures of one model, one example and one set of dynamic axes.

    captures: the captures, each with the callee whose run was traced, which knows the names of the outputs.
    """

    captures: list[tuple[Captured, Callee]] = field(default_factory=list)


_cache: ContextVar[CaptureCache | None] = ContextVar("cache", default=None)


@contextmanager
def capturing_once() -> Iterator[CaptureCache]:
    """Share captures among the exports that run within.

    All of these exports must have the same model, example, dynamic axes, opset and frozen inputs; the settings of the
    solves may differ.
    """
    cache = CaptureCache()
    token = _cache.set(cache)
    try:
        yield cache
    finally:
        _cache.reset(token)


def capture(
    callee: Callee,
    dynamic: Dynamic,
    overrides: Overrides,
    *,
    opset: int,
    frozen: Sequence[str] = (),
    widen: Callable[[Captured], Captured] = lambda captured: captured,
) -> Captured:
    """Capture a model, or copy an earlier capture where `capturing_once` is on and one fits.

    widen: makes of a new capture one that holds for more sizes. Takes the other arguments of
    `odelet_export.capture.capture.capture`, and raises the same errors.
    """
    cache = _cache.get()
    if cache is None:
        return widen(tracing.capture(callee, dynamic, overrides, opset=opset, frozen=frozen))
    for captured, traced_callee in cache.captures:
        copied = _with_overrides(captured, overrides)
        if copied is not None:
            callee.take_over(traced_callee)
            return copied
    captured = widen(tracing.capture(callee, dynamic, overrides, opset=opset, frozen=frozen))
    cache.captures.append((captured, callee))
    return replace(captured, model=captured.model.clone())


def _with_overrides(captured: Captured, overrides: Overrides) -> Captured | None:
    """A copy of a capture with its specs read under other overrides; None where these would change the trace."""
    if captured.uses_solutions:
        return None
    try:
        specs, nested = (
            [_read_again(captured, spec, overrides) for spec in specs] for specs in (captured.specs, captured.nested)
        )
    except CaptureError:
        return None  # a new trace raises the same error with its cause, or reads a value that only a running model has
    pairs = zip([*captured.specs, *captured.nested], [*specs, *nested], strict=True)
    if any(_trace_key(before) != _trace_key(after) for before, after in pairs):
        return None
    return replace(captured, model=captured.model.clone(), specs=specs, nested=nested)


def _read_again(captured: Captured, spec: SolveSpec, overrides: Overrides) -> SolveSpec:
    """The spec of the same call under other overrides."""
    new_spec = spec_of(captured.calls[spec.mark], spec.call, overrides)
    return replace(new_spec, index=spec.index, mark=spec.mark, around=spec.around)


def _trace_key(spec: SolveSpec) -> tuple[object, ...]:
    """The properties of a solve that its markers depend on: solves with equal keys have equal markers."""
    event_dtype = spec.control.dtype if spec.control is not None and spec.until_event else None
    return spec.functions, spec.extras, spec.parts, spec.own_times, spec.timeless, event_dtype
