"""Decisions of a field on its time or state: every path through the field is traced, and the results are merged.

A field may ask `if t < t_dose`, look a time up in a table by bisection, or index a table with `int(t)`. It is called
once for each way in which its decisions can fall, and torch.where chooses among the slopes. The result is exact: it
needs no assumption.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_unflatten

from odelet_export.capture.decisions.refusals import TooManyPaths, many_numbers
from odelet_intercept.errors import CaptureError, ExportError
from odelet_intercept.user_code import is_library

MOST_PATHS = 48
# A whole number that a field reads off the time or the state may have this many values.
MOST_OPTIONS = 40


@dataclass(frozen=True)
class Decision:
    """One decision on a path. conditions: a bool scalar of the trace for each option, whether to take the option."""

    options: Sequence[Any]
    conditions: Sequence[torch.Tensor]


def on_whole_numbers(x: torch.Tensor, least: int, largest: int) -> Decision:
    """The decision which whole number a tensor is, from the least to the largest. Raises TooManyPaths for too many."""
    options = list(range(least, largest + 1))
    if len(options) > MOST_OPTIONS:
        raise many_numbers(options)
    number = (x.trunc() if x.is_floating_point() else x).reshape(())
    return Decision(options, [number == option for option in options])


@dataclass(frozen=True)
class _Raised:
    """The result of a path on which the user's code raises an error."""

    error: Exception


class Explorer:
    """Traces the paths through one function, depth first.

    where: file and line of the solve, for messages. raised: the errors in which paths of the user's code ended.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        # The indices of the options that the current path is to take at its first decisions; at later decisions it
        # takes the first option.
        self._planned: list[int] = []
        # The decisions of the current path so far, each with the index of the option taken.
        self._taken: list[tuple[Decision, int]] = []
        self._paths = 0
        self.raised: list[Exception] = []

    def choose(self, decision: Decision) -> Any:
        """The option that the current path takes at its next decision.

        Raises TooManyPaths where the path alone has more decisions than there may be paths.
        """
        place = len(self._taken)
        # Each decision opens at least one more path. A `while` loop on the state would go on without end.
        if sum(len(earlier.options) > 1 for earlier, _ in self._taken) >= MOST_PATHS:
            raise self._too_many()
        option = self._planned[place] if place < len(self._planned) else 0
        self._taken.append((decision, option))
        return decision.options[option]

    def times(self, t: torch.Tensor) -> torch.Tensor:
        """The times of a solve that the current path makes; where another path is taken, times that are in order.

        `if t > 0: odeint(f, y, torch.stack([zero, t]))` is traced for each t, and its answer is not used at t = 0.
        """
        conditions = [decision.conditions[option].reshape(()) for decision, option in self._taken]
        if not conditions:
            return t
        return torch.where(torch.stack(conditions).all(), t, torch.arange(t.shape[0], dtype=t.dtype))

    def _too_many(self) -> TooManyPaths:
        return TooManyPaths(
            f"{self._where}\n  found: more than {MOST_PATHS} paths through the field, by decisions on t or y\n"
            "  do: make the choice with torch.where, or give a loop a fixed number of passes"
        )

    def first(self, function: Callable[[], Any]) -> Any:
        """The result of the first path that does not raise; where all paths raise, the error of the last is raised."""
        return self._unless_raised(self._explore(function, [], all_paths=False))

    def every(self, function: Callable[[], Any]) -> Any:
        """The results of all paths, merged, NaN on paths where the user's code raises. Raises its error where all
        paths raise."""
        return self._unless_raised(self._explore(function, [], all_paths=True))

    def _unless_raised(self, result: Any) -> Any:
        if isinstance(result, _Raised):
            raise result.error
        return result

    def _explore(self, function: Callable[[], Any], planned: list[int], *, all_paths: bool) -> Any:
        """The merged result of the paths that begin with the planned options. all_paths: False for the result of the
        first of these paths that does not raise."""
        self._paths += 1
        if self._paths > MOST_PATHS:
            raise self._too_many()
        self._planned, self._taken = planned, []
        result = self._run(function)
        path = self._taken
        # The decisions after the planned ones are tried again, the last decision first: its other options share all
        # decisions before it.
        for place in reversed(range(len(planned), len(path))):
            decision, taken_option = path[place]
            results = [result]
            before = [option for _, option in path[:place]]
            for option in range(taken_option + 1, len(decision.options)):
                if not all_paths and not isinstance(results[-1], _Raised):
                    break
                results.append(self._explore(function, [*before, option], all_paths=all_paths))
            result = _merge(decision, results) if all_paths else results[-1]
        return result

    def _run(self, function: Callable[[], Any]) -> Any:
        try:
            return function()
        except ExportError:
            raise
        except Exception as error:  # an error that the user's code raises after a decision is the result of its path
            frames = traceback.extract_tb(error.__traceback__)
            if not frames or is_library(frames[-1].filename) or not self._taken:
                raise
            self.raised.append(error)
            return _Raised(error)


def _merge(decision: Decision, results: Sequence[Any]) -> Any:
    """The result of the option whose condition holds; NaN where no condition holds, and where that option raises.

    results: one for each option. Raises CaptureError where they have different structures.
    """
    pairs = zip(decision.conditions, results, strict=True)
    returned = [(condition, result) for condition, result in pairs if not isinstance(result, _Raised)]
    if not returned:
        return results[0]
    # One of yes and no always holds, whereas a whole number may be one that the example did not have.
    covered = len(decision.options) == 2 and decision.options == (True, False) and len(returned) == len(results)
    leaves, spec = tree_flatten(returned[-1][1])
    merged = leaves if covered else [_otherwise_nan(returned[-1][0], leaf) for leaf in leaves]
    for condition, result in reversed(returned[:-1]):
        leaves, other = tree_flatten(result)
        if other != spec:
            raise CaptureError(f"a field returns {spec} on one path and {other} on another; they must agree")
        merged = [torch.where(condition, a, b) for a, b in zip(leaves, merged, strict=True)]
    return tree_unflatten(merged, spec)


def _otherwise_nan(condition: torch.Tensor, leaf: Any) -> Any:
    """A result where its condition holds, and NaN elsewhere; a result that is no floating-point tensor stays as it
    is."""
    if not isinstance(leaf, torch.Tensor):
        leaf = torch.as_tensor(leaf, dtype=torch.get_default_dtype())
    if not leaf.is_floating_point():
        return leaf  # the truth values of an event function
    return torch.where(condition, leaf, torch.full((), float("nan"), dtype=leaf.dtype))
