"""The functions of solves while they are traced: each of their paths, and whole numbers that have too many values.

A function is traced once for each way in which its decisions fall (`paths`). Where a whole number that it reads off its
time or state has more values than there may be paths, as the index in `current[int(t / dt)]`, the function is traced
again with a tensor in place of that number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from odelet_export.capture.decisions.paths import Explorer, TooManyPaths
from odelet_intercept.errors import ExportError


class FieldPaths:
    """The paths through the functions that run now; the function of a solve inside a field is the innermost.

    warn: called with sentences for the user. warming_up: whether a function is called so that it can store values.
    enumerated: whether a whole number read off the time or the state has had a path for each of its values. as_tensors:
    whether such numbers are tensors.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._explorers: list[Explorer] = []
        self.warming_up = self.enumerated = self.as_tensors = False

    @property
    def innermost(self) -> Explorer | None:
        """The explorer of the innermost function; None outside the functions of solves."""
        return self._explorers[-1] if self._explorers else None

    def warm_up(self, function: Callable[[], Any], where: str) -> Any:
        """The result of a function of a solve, called so that it can store values; where: as for `every_path`."""
        self.warming_up, before = True, self.warming_up
        try:
            return self._explored(lambda explorer: explorer.first(function), where)
        finally:
            self.warming_up = before

    def every_path(self, function: Callable[[], Any], where: str) -> Any:
        """The results of a function of a solve on all paths through it, merged; where: the solve's place."""

        def explore(explorer: Explorer) -> Any:
            result = explorer.every(function)
            for error in explorer.raised:
                self._warn(
                    f"{where}: the field raises {type(error).__name__}: {error} on a path; there the solve fails"
                )
            return result

        return self._explored(explore, where)

    def _explored(self, explore: Callable[[Explorer], Any], where: str) -> Any:
        self.enumerated = False
        try:
            with self._exploring(where) as explorer:
                return explore(explorer)
        except TooManyPaths as error:
            if self.as_tensors or not self.enumerated:
                raise
            try:
                self.as_tensors = True
                with self._exploring(where) as explorer:
                    return explore(explorer)
            except ExportError:
                raise error from None  # the number is needed as a number
            finally:
                self.as_tensors = False

    @contextmanager
    def _exploring(self, where: str) -> Iterator[Explorer]:
        explorer = Explorer(where)
        self._explorers.append(explorer)
        try:
            yield explorer
        finally:
            self._explorers.pop()

    def times(self, t: torch.Tensor) -> torch.Tensor:
        """The times of a solve inside a field, as `Explorer.times` gives them."""
        return self._explorers[-1].times(t) if self._explorers else t
