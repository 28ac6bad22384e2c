"""Decisions of a field on its time or state: every path through it is traced, and the results are merged.

A field may ask `if t < t_dose`, look a time up in a table by bisection, or index one with `int(t)`. It is called once
for each way in which its decisions can fall, and `where` chooses between the slopes: exact, without an assumption.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_unflatten

from odelet_intercept.errors import CaptureError, ExportError
from odelet_intercept.user_code import is_library

MOST_PATHS = 48


@dataclass(frozen=True)
class Decision:
    """One decision on a path. conditions: for each option the truth of it, a bool scalar of the trace."""

    options: Sequence[Any]
    conditions: Sequence[torch.Tensor]


@dataclass(frozen=True)
class _Raised:
    """What a path ends in where the author raises an error."""

    error: Exception


class Explorer:
    """Traces all paths through one function. where: file and line of the solve, for messages."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._planned: list[int] = []
        self._made: list[tuple[Decision, int]] = []
        self._paths = 0
        self.raised: list[Exception] = []

    def choose(self, decision: Decision) -> Any:
        """The option that the current path takes."""
        place = len(self._made)
        # Each decision so far has another path; a loop that asks on and on would otherwise never come to an end.
        if sum(len(made.options) > 1 for made, _ in self._made) >= MOST_PATHS:
            raise self._too_many()
        option = self._planned[place] if place < len(self._planned) else 0
        self._made.append((decision, option))
        return decision.options[option]

    def _too_many(self) -> CaptureError:
        return CaptureError(
            f"{self._where}\n  found: more than {MOST_PATHS} paths through the field, by decisions on t or y\n"
            "  do: make the choice with torch.where, or give a loop a fixed number of passes"
        )

    def first(self, function: Callable[[], Any]) -> Any:
        """The result of the first path that does not raise."""
        found = self._explore(function, [], all_paths=False)
        return self._checked(found)

    def every(self, function: Callable[[], Any]) -> Any:
        """The results of all paths, merged; NaN where the author's code raises."""
        return self._checked(self._explore(function, [], all_paths=True))

    def _checked(self, found: Any) -> Any:
        if isinstance(found, _Raised):
            raise found.error
        return found

    def _explore(self, function: Callable[[], Any], planned: list[int], *, all_paths: bool) -> Any:
        self._paths += 1
        if self._paths > MOST_PATHS:
            raise self._too_many()
        self._planned, self._made = planned, []
        found = self._run(function)
        made = self._made
        for place in reversed(range(len(planned), len(made))):
            decision, taken = made[place]
            results = [found]
            before = [option for _, option in made[:place]]
            for option in range(taken + 1, len(decision.options)):
                if not all_paths and not isinstance(results[-1], _Raised):
                    break
                results.append(self._explore(function, [*before, option], all_paths=all_paths))
            found = _merge(decision, results) if all_paths else results[-1]
        return found

    def _run(self, function: Callable[[], Any]) -> Any:
        try:
            return function()
        except ExportError:
            raise
        except Exception as error:  # the author's own errors are part of what the field does
            frames = traceback.extract_tb(error.__traceback__)
            if not frames or is_library(frames[-1].filename) or not self._made:
                raise
            self.raised.append(error)
            return _Raised(error)


def _merge(decision: Decision, results: Sequence[Any]) -> Any:
    """The result of the option whose condition holds; NaN where none does, or that one raises."""
    kept = [(c, r) for c, r in zip(decision.conditions, results, strict=True) if not isinstance(r, _Raised)]
    if not kept:
        return results[0]
    covered = len(decision.options) == 2 and decision.options == (True, False) and len(kept) == len(results)
    leaves, spec = tree_flatten(kept[-1][1])
    merged = leaves if covered else [_otherwise_nan(kept[-1][0], leaf) for leaf in leaves]
    for condition, result in reversed(kept[:-1]):
        leaves, other = tree_flatten(result)
        if other != spec:
            raise CaptureError(f"a field returns {spec} on one path and {other} on another; they must agree")
        merged = [torch.where(condition, a, b) for a, b in zip(leaves, merged, strict=True)]
    return tree_unflatten(merged, spec)


def _otherwise_nan(condition: torch.Tensor, leaf: Any) -> Any:
    if not isinstance(leaf, torch.Tensor):
        leaf = torch.as_tensor(leaf, dtype=torch.get_default_dtype())
    if not leaf.is_floating_point():
        return leaf  # an event function's truth values
    return torch.where(condition, leaf, torch.full((), float("nan"), dtype=leaf.dtype))
