"""A watch over the sizes of dynamic axes: what a trace takes for granted about them, and in which line of the model.

A tracer holds the size of a dynamic axis as a symbol. Where it must know more, as whether two sizes are equal or one is
a multiple of another, it looks at the example and notes a condition. torch.export then refuses the model, without the
line. This watch takes the conditions over from torch:

    a condition that fixes a size   the capture fails, and the message names the line
    that a size is not 0 or 1       dropped where an operator asks: the comparison with torch covers such sizes
    any other condition             an assumption, which each call checks
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import sympy
import torch
from torch.fx import traceback as fx_traceback

from odelet_export.capture.sizes.asked import Asked, Namespace, NeedsStandIns
from odelet_export.capture.sizes.conditions import SizeCondition, text_of
from odelet_export.capture.sizes.filled import Filled
from odelet_export.capture.sizes.lists import repeated_lists
from odelet_export.capture.sizes.shortest import fewest, follows, in_words, is_readable
from odelet_export.capture.sizes.whole_numbers import symbolic_arithmetic
from odelet_export.model.axes import Dynamic
from odelet_intercept.user_code import Place, is_library, place_in_trace, place_of_error, user_frame, with_source

_TORCH = os.path.dirname(os.path.abspath(torch.__file__)) + os.sep
# Files of torch that stand between a question about a size and who asks it.
_BETWEEN = (_TORCH + "__init__.py", os.path.join(_TORCH, "fx", "experimental") + os.sep)


class SizeError(Exception):
    """Raised where a trace fixes the size of a dynamic axis; another tracer may not. The text is for the user."""


@dataclass(frozen=True)
class _Noted:
    """Where a condition was noted, and whether the model's own code asked, or an operator of torch."""

    place: Place
    by_user: bool


def _place() -> Place:
    """The line of the model that runs now, or that the node comes from where a graph is traced again."""
    meta = fx_traceback.get_current_meta() if fx_traceback.has_preserved_node_meta() else {}
    return place_in_trace(meta.get("stack_trace")) or user_frame()


class _Notes(list[Any]):
    """The list in which a tracer notes conditions, with a `_Noted` for each new one; `watch` is told of each."""

    def __init__(self, earlier: list[Any], watch: SizeWatch) -> None:
        super().__init__(earlier)
        self.noted: list[_Noted | None] = [None] * len(earlier)
        self._watch = watch

    def append(self, condition: Any) -> None:
        super().append(condition)
        noted = _Noted(_place(), _asked_by_user())
        self.noted.append(noted)
        self._watch.look_for_fixed(noted.place)


class SizeWatch:
    """The watch of one capture. dynamic: the axes that may change.

    A trace of the model calls `begin` with its tensors, and `settle` when the model has run.
    """

    def __init__(self, dynamic: Dynamic) -> None:
        self._dynamic = dynamic
        self._asked = Asked()
        self.conditions: list[SizeCondition] = []  # those of the last trace of the model
        self._forget()

    def _forget(self) -> None:
        self._notes: _Notes | None = None
        self._sizes: dict[str, torch.SymInt] = {}  # a size for each label
        self._labels: dict[Any, str] = {}  # the label of each symbol
        self._decisions: list[tuple[Any, Place]] = []
        self._ranges: dict[Any, Any] = {}
        self._fixed: dict[str, Place] = {}
        self._accepted: dict[str, SizeCondition] = {}  # the accepted conditions, by their texts
        self._again = False
        self.filled = Filled()

    def begin(self, inputs: Mapping[str, torch.Tensor], *, again: bool = False) -> None:
        """Watch the trace that begins now. inputs: its tensors, by name.

        again: whether it traces the graph of the last trace again, whose conditions are accepted; `settle` leaves new
        ones to the tracer.
        """
        accepted = self._accepted if again else {}
        self.conditions = self.conditions if again else []
        self._forget()
        self._accepted, self._again = accepted, again
        for name, axes in self._dynamic.items():
            for axis, label in axes.items():
                size: Any = inputs[name].shape[axis]
                if not isinstance(size, torch.SymInt):
                    continue
                self._labels |= {symbol: label for symbol in size.node.expr.free_symbols}
                first = self._sizes.setdefault(label, size)
                assert bool(first == size), "axes of one label have one size in the example"
        if self._sizes:
            env = next(iter(self._sizes.values())).node.shape_env
            self._ranges = {symbol: env.var_to_range[symbol] for symbol in self._labels}
            self._notes = env.guards = _Notes(env.guards, self)

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Watch what the model's own code asks about sizes, until the block is left.

        Raises NeedsStandIns where it makes a number of a size for the first time; see `replace`. A tracer takes it for
        known that a size is not 0 or 1, and notes no condition where a decision follows from that.
        """
        original = torch.SymBool.__bool__

        def decide(asked: Any) -> bool:
            decision = original(asked)
            condition = asked.node.expr
            if self._notes is not None and condition.free_symbols and _asked_by_user():
                self._decisions.append((condition if decision else sympy.Not(condition), user_frame()))
            return decision

        torch.SymBool.__bool__ = decide  # type: ignore[method-assign]  # torch has no hook
        try:
            with self._asked.watched(), symbolic_arithmetic(), repeated_lists():
                yield
        finally:
            torch.SymBool.__bool__ = original  # type: ignore[method-assign]  # as above

    def replace(self, needed: NeedsStandIns) -> None:
        """Let Python's functions return symbols in the code that needs it, from the next trace on."""
        self._asked.namespaces.append(needed.namespace)

    @property
    def namespaces(self) -> list[Namespace]:
        """The namespaces in which Python's functions are to return symbols, beside those of files that use torch."""
        return self._asked.namespaces

    def answer(self, name: str, args: Sequence[Any]) -> Any:
        """The number that a tensor is asked for, where it is one of sizes alone; None where it is not.

        name: the torch function that asks, as `item` or `__int__`.
        """
        if name not in ("item", "__int__", "__index__", "tolist"):
            return None
        number = self.filled.of(args[0])
        if number is None or (name == "tolist" and args[0].ndim):
            return None
        if name.startswith("__") and isinstance(number, torch.SymInt):
            self._asked.notice()
            return int(number)
        return number

    def length(self, func: Callable[..., int], args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
        """The answer of `len(x)` where it must be a number, which fixes the size of the axis."""
        if args[0].ndim and isinstance(args[0].shape[0], torch.SymInt):
            self._asked.notice()
        return func(*args, **kwargs)

    def look_for_fixed(self, place: Place) -> None:
        """Note the line at which a size has become a number."""
        for label, size in self._sizes.items():
            if size.node.expr.is_number:
                self._fixed.setdefault(label, place)

    def in_names(self, error: Exception) -> Exception:
        """An error of a trace; for one of sizes that do not fit, a SizeError that has the names of the axes."""
        names = {str(symbol): label for symbol, label in self._labels.items()}
        text = str(error).strip().partition("\n")[0]
        named = re.sub(r"\bs\d+\b", lambda match: names.get(match.group(), match.group()), text)
        if not isinstance(error, (RuntimeError, ValueError)) or named == text:
            return error
        axes = " and ".join(repr(label) for label in sorted(set(names.values())))
        return SizeError(
            f"{with_source(place_of_error(error))}\n  found: sizes that do not fit where {axes} may change: {named}\n"
            "  do: give axes of one size one name in `dynamic`; take sizes from tensor.shape, not from numbers kept at "
            "construction; or leave the axis out of `dynamic`"
        )

    def settle(self) -> None:
        """Take the conditions over from the tracer, which then no longer refuses them.

        Raises SizeError for a size that the trace fixes, for two labels whose sizes it takes for equal, and for a
        condition that a card cannot say.
        """
        if self._notes is None:
            return
        notes, env = self._notes, next(iter(self._sizes.values())).node.shape_env
        if self._fixed:
            raise SizeError(self._fixed_text())
        for condition, place in self._decisions:
            if condition.free_symbols <= self._labels.keys():
                self._accept(condition, _Noted(place, by_user=True))
        kept = []
        for guard, noted in zip(notes, notes.noted, strict=True):
            condition = guard.expr
            if noted is None or not condition.free_symbols <= self._labels.keys():
                kept.append(guard)
            elif noted.by_user or not _is_not_0_or_1(condition):
                known = self._accept(condition, noted)
                kept += [] if known else [guard]
        if not self._again:
            self.conditions = self._summed_up()
        env.guards = kept
        env.var_to_range.update(self._ranges)
        self._notes = None

    def _accept(self, condition: Any, noted: _Noted) -> bool:
        """Whether a condition is accepted: any one of a first trace, and those that it accepted in a second trace."""
        said = SizeCondition(noted.place, text_of(condition, self._labels), noted.by_user)
        if self._again:
            return follows(replace(said, by_user=False), self._accepted.values())
        self._refuse_equal_labels(condition, noted.place)
        self._accepted.setdefault(said.text, said)
        return True

    def _summed_up(self) -> list[SizeCondition]:
        """The accepted conditions, as few as they can be said. Raises SizeError for one that a card cannot say."""
        few = fewest(self._accepted.values())
        unsaid = next((condition for condition in few if not is_readable(condition)), None)
        if unsaid is not None:
            raise SizeError(
                f"{with_source(unsaid.place)}\n  found: a line that needs {in_words(unsaid)}\n  do: write it for all "
                "sizes, or with whole numbers alone (// for /)"
            )
        return few

    def _refuse_equal_labels(self, condition: Any, place: Place) -> None:
        labels = sorted({self._labels[symbol] for symbol in condition.free_symbols})
        if isinstance(condition, sympy.Eq) and len(labels) == 2 and all(x.is_Symbol for x in condition.args):
            raise SizeError(
                f"{with_source(place)}\n  found: the axes {labels[0]!r} and {labels[1]!r}, which have one size here\n"
                "  do: give them one name in `dynamic`"
            )

    def _fixed_text(self) -> str:
        """The message for the sizes that became numbers, at the line that fixed the first of them."""
        label, place = next(iter(self._fixed.items()))
        size = self._sizes[label].node.expr
        return (
            f"{with_source(place)}\n  found: the size of axis {label!r}, which this line makes a number ({size} in the "
            "trace), so that no other size can be taken\n  do: take sizes from tensor.shape as they are, in no "
            "range(), list or numpy function (torch.arange, torch.triu_indices and torch.eye take them), nor beside a "
            f"number kept at construction; or leave {label!r} out of `dynamic`"
        )


def _is_not_0_or_1(condition: Any) -> bool:
    """Whether a condition says no more than that a size is neither 0 nor 1, which a tracer asks to tell a row that is
    repeated from others."""
    if isinstance(condition, sympy.Not):
        return isinstance(condition.args[0], sympy.Eq) and any(side in (0, 1) for side in condition.args[0].args)
    if isinstance(condition, sympy.Ne):
        return any(side in (0, 1) for side in condition.args)
    if isinstance(condition, (sympy.Gt, sympy.Lt)):
        return bool(condition.lts in (0, 1))
    return isinstance(condition, (sympy.Ge, sympy.Le)) and bool(condition.lts in (1, 2))


def _asked_by_user() -> bool:
    """Whether the question about a size that is under way comes from the model's own code: `if x.shape[0] > 3:`."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_BETWEEN):
        frame = frame.f_back
    return not is_library(frame.f_code.co_filename)
