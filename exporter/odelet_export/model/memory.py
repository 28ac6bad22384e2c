"""Finds the solves whose fields keep something that the model reads, so that an extra call of the field changes it.

Fields count their calls and make embeddings at the first one, which changes no answer. Some keep more: the states that
they were called with, which the model joins after the solve; a dilation that grows from call to call. Such a field is
no function of t and y.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._pytree import tree_map

from odelet_export.model.callee import Callee
from odelet_export.model.field_calls import FieldCalls, WatchedField
from odelet_export.model.intercepted_run import run_intercepted
from odelet_export.model.kept_state import kept
from odelet_export.model.overrides import Overrides
from odelet_export.model.random_draws import drawing
from odelet_export.model.random_sources import SeededSource
from odelet_export.model.reference import Solving
from odelet_export.model.trees import Leaf
from odelet_intercept.call import Call
from odelet_intercept.user_code import Place


class Noticing:
    """Notes the lines of a model whose solves call a field that leaves something behind in the model's objects.

    places: these lines.
    """

    def __init__(self, callee: Callee) -> None:
        self.places: list[Place] = []
        self._callee, self._seen = callee, set[Place]()

    def watching(self, call: Call) -> Callable[..., Any]:
        """The field of a call; its first call from a line of the model is looked at."""
        place = (call.file, call.line)

        def make(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            if place in self._seen:
                return func(*args, **kwargs)
            self._seen.add(place)
            with kept(self._callee) as changed:
                result = func(*args, **kwargs)
            if changed():
                self.places.append(place)
            return result

        return WatchedField(call.func, make)


# A run of the model: it takes the handler of its solves, and returns the leaves of its result.
Run = Callable[[Solving], Sequence[Leaf]]


class _CallingMore(Solving):
    """Solves each call, with more calls of the field before the solves of one line of the model: on the initial state,
    where fields may make what they keep for good, and on another state at another time."""

    def __init__(self, overrides: Overrides, place: Place) -> None:
        super().__init__(overrides, {}, FieldCalls())
        self._place = place

    def __call__(self, call: Call, original: Callable[..., Any]) -> Any:
        if (call.file, call.line) == self._place:
            for part, factor in ((0.0, 1.0), (0.375, 0.875)):
                time = torch.lerp(call.t[0], call.t[-1], part)
                call.func(time, tree_map(lambda y, factor=factor: y * factor, call.y0))
        return super().__call__(call, original)


def solves_with_memory(
    callee: Callee, overrides: Overrides, places: Sequence[Place], first: Sequence[Leaf], seed: int
) -> frozenset[Place]:
    """The lines of a model that solve with a field whose extra call changes what the model returns on its example.

    The model runs again for each of `places`, the lines that may be such. first: the leaves of the result of an
    earlier run. seed: of the base draws of that run.
    """

    def run(handler: Solving) -> Sequence[Leaf]:
        with callee.restoring(), drawing(SeededSource(seed)):
            run_intercepted(callee, callee.example, handler)
            return callee.leaves

    changed = [place for place in places if not _like(first, run, _CallingMore(overrides, place))]
    # A model that gives another answer in each run, whatever its fields do, tells nothing.
    if changed and not _like(first, run, Solving(overrides, {}, FieldCalls())):
        return frozenset()
    return frozenset(changed)


def _like(first: Sequence[Leaf], run: Run, handler: Solving) -> bool:
    """Whether another run gives the tensors of the first one, to the last bit."""
    try:
        second = run(handler)
    except Exception:  # the user's code may raise anything where something is left behind
        return False
    tensors = [[leaf for _, leaf in leaves if isinstance(leaf, torch.Tensor)] for leaves in (first, second)]
    return len(tensors[0]) == len(tensors[1]) and all(
        a.shape == b.shape and torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(*tensors, strict=True)
    )
