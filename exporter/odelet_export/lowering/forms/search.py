"""The search that forms share where a solve ends at an event: when to stop, and where in the last step the event is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from odelet.numerics.events import bisect, combine_events
from odelet_export.graphs.emit import ONNX
from odelet_export.graphs.scope import Value
from odelet_export.lowering.forms.site import Site


class EventSearch:
    """The search for the event that ends a solve.

    Several event functions are combined into one, as in torchdiffeq. start: the forward time at which the solve begins,
    in the dtype of times. direction: the direction of the site in that dtype. before: the sign of the combined event
    function at the start.
    """

    def __init__(self, site: Site, start: Value) -> None:
        assert site.event is not None
        self._site, self._start = site, start
        self.direction = ONNX.cast(site.direction, start)
        self._value = combine_events(site.event, start * self.direction, site.y0, xp=ONNX)
        self.before = self._sign(start, site.y0)

    def _sign(self, now: Any, y: Any) -> Value:
        return ONNX.sign(self._value(now * self.direction, y))

    @property
    def begins_at_event(self) -> Value:
        """Whether an event function is zero at the start."""
        return ONNX.equal(self.before, 0)

    def goes_on(self, now: Value, y: Value) -> Value:
        """Whether no event happened up to `now`. now: the forward time at the end of an accepted step. y: the state
        there, (1, n)."""
        return ONNX.equal(self._sign(now, y), self.before)

    def find(self, read: Callable[[Any], Any], begun: Value, now: Value, atol: Value) -> tuple[Value, Value]:
        """The forward time of the event in the step from `begun` to `now`, and the state (1, n) there.

        read: the state (1, n) at a forward time in the step. atol: the accuracy of the time.
        """
        event: tuple[Value, Value] = bisect(read, self._sign, self.before, begun, now, atol=atol, xp=ONNX)
        return event
