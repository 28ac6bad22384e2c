"""The arguments of a model that are no tensors: they keep their place in a call, and their value.

The law here: a call as in torch works; another value than that of the export is refused, and none is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from odelet.artifact.call_card import FixedCard
from odelet.artifact.card import Card
from odelet.errors import InputError

Argument: TypeAlias = Any


class FixedArguments:
    """The fixed arguments of a model, by name; parts of containers have dots in their names."""

    def __init__(self, card: Card) -> None:
        call = card.call
        self._fixed: dict[str, FixedCard] = {} if call is None else {one.name: one for one in call.fixed}
        # For the number of inputs that came so far, the names of the fixed arguments that come next.
        self._next: dict[int, list[str]] = {}
        inputs = [tensor.name for tensor in card.inputs]
        count = 0
        for name in () if call is None or not self._fixed else call.arguments:
            own = [i for i, one in enumerate(inputs) if one == name or one.startswith(f"{name}.")]
            if own:
                count = max(count, own[-1] + 1)
            else:
                self._next.setdefault(count, []).append(name)

    def __bool__(self) -> bool:
        return bool(self._fixed)

    def __contains__(self, name: str) -> bool:
        return name in self._fixed

    def due(self, count: int) -> tuple[str, ...]:
        """Return the names of the arguments that come after `count` inputs and hold no input."""
        return tuple(self._next.get(count, ()))

    def takes(self, name: str, value: Argument) -> bool:
        """Return whether a positional value is meant for a fixed argument, whose value is then checked.

        Arrays are for inputs: a call that leaves the fixed arguments out goes on with those.
        """
        if name in self._fixed:
            if not _is_plain(value) and (isinstance(value, np.ndarray) or not self._fixed[name].described):
                return False
            self.check(name, value)
            return True
        parts = _parts(name, value)
        if parts is None or parts.keys() != {one for one in self._fixed if one.startswith(f"{name}.")}:
            return False
        for part, one in parts.items():
            self.check(part, one)
        return True

    def check(self, name: str, value: Argument) -> None:
        """Raise InputError unless a value is that of the export."""
        fixed = self._fixed[name]
        if fixed.described:
            raise InputError(
                f"{name!r} was a {fixed.described} when the model was exported, and stays as it was; leave it out, and "
                "give what follows by name"
            )
        if not _same(value, fixed.value):
            raise InputError(
                f"{name!r} is {_shown(value)}, and was {fixed.value!r} when the model was exported; it was no tensor, "
                "so it keeps its value: leave it out, or export the model again with this value"
            )

    def without(self, named: Mapping[str, Argument]) -> dict[str, Argument]:
        """Return arguments by name without those that are fixed, whose values are checked."""
        rest: dict[str, Argument] = {}
        for name, value in named.items():
            if name in self._fixed:
                self.check(name, value)
            else:
                rest[name] = value
        return rest


def _is_plain(value: Argument) -> bool:
    return value is None or isinstance(value, (bool, int, float, str, np.generic))


def _same(value: Argument, fixed: Any) -> bool:
    """Return whether a value is that of the export: equal, and a text or None only where that is one."""
    if not _is_plain(value) or isinstance(value, str) != isinstance(fixed, str) or (value is None) != (fixed is None):
        return False
    return bool(value == fixed)


def _shown(value: Argument) -> str:
    return repr(value) if _is_plain(value) else f"a {type(value).__name__}"


def _parts(name: str, value: Argument) -> dict[str, Argument] | None:
    """Return the leaves of nested dicts, tuples and lists, with dotted names; None for a value that is no container."""
    if isinstance(value, Mapping):
        items = list(value.items())
    elif isinstance(value, (tuple, list)):
        items = list(zip(getattr(value, "_fields", range(len(value))), value, strict=True))
    else:
        return None
    leaves: dict[str, Argument] = {}
    for key, item in items:
        inside = _parts(f"{name}.{key}", item)
        leaves |= {f"{name}.{key}": item} if inside is None else inside
    return leaves
