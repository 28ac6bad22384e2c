"""Tensors of whole numbers that hold one number everywhere, which is a size or is computed from sizes.

`lens = torch.full((batch,), x.shape[2])` and then `torch.arange(lens.amax())`: the number is that of an axis, symbolic
where the axis may change, and no value of an input. It passes through the operators that models apply to lengths.

In `duration.amax() - x.shape[1]` one of two numbers is a value of an input. Where such a difference becomes a size, the
value alone is held at that of the example, and the other number stays a size.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

import torch
from torch.utils.weak import WeakTensorKeyDictionary

from odelet_export.model.trees import tensors_in

Number = int | torch.SymInt

# Operators whose result holds the numbers of their first argument, in another shape or fewer of them.
_KEEP = frozenset(
    ("amax", "amin", "max", "min", "view", "reshape", "expand", "repeat", "squeeze", "unsqueeze", "flatten", "clone")
) | {
    "contiguous",
    "detach",
    "to",
    "long",
    "int",
    "__getitem__",
    "unbind",
    "broadcast_to",
    "tile",
    "view_as",
    "expand_as",
}
# Operators on two numbers.
_PAIRS: dict[str, Callable[[Any, Any], Any]] = {
    **dict.fromkeys(("add", "__add__", "__radd__"), operator.add),
    **dict.fromkeys(("sub", "__sub__"), operator.sub),
    **dict.fromkeys(("mul", "__mul__", "__rmul__"), operator.mul),
    **dict.fromkeys(("floor_divide", "__floordiv__"), operator.floordiv),
    **dict.fromkeys(("maximum", "max"), torch.sym_max),
    **dict.fromkeys(("minimum", "min"), torch.sym_min),
}
# Operators on a number and a value.
_MIXED = {name: _PAIRS[name] for name in ("add", "__add__", "__radd__", "sub", "__sub__", "mul", "__mul__", "__rmul__")}
_MIXED["__rsub__"] = lambda mine, other: other - mine
# The place of the number among the arguments of functions that fill a tensor with it.
_FILL = {"full": 1, "full_like": 1, "new_full": 2, "tensor": 0, "as_tensor": 0}


class Filled:
    """The tensors of one trace that hold one number everywhere."""

    def __init__(self) -> None:
        self._numbers: MutableMapping[torch.Tensor, Number] = WeakTensorKeyDictionary()
        # Scalars that are computed from a size and a scalar that has a value of an input.
        self._mixed: MutableMapping[torch.Tensor, tuple[Callable[[Any, Any], Any], list[Any]]] = (
            WeakTensorKeyDictionary()
        )

    def of(self, x: object) -> Number | None:
        """The number that a tensor holds, if it is known from sizes and numbers alone."""
        return self._numbers.get(x) if isinstance(x, torch.Tensor) else None

    def as_int(self, x: torch.Tensor, whole: Callable[[torch.Tensor], int]) -> Any:
        """The whole number of a scalar, which may be symbolic. whole: gives the number of a value of an input."""
        if (number := self.of(x)) is not None:
            return number
        if x not in self._mixed:
            return whole(x)
        operation, pair = self._mixed[x]
        return operation(*(self.as_int(part, whole) if isinstance(part, torch.Tensor) else part for part in pair))

    def follow(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> None:
        """Note what a torch function returned. name: the name of the function."""
        if name.endswith("_") and not name.endswith("__") or name == "__setitem__":
            self._numbers.clear()  # a write reaches all views, and lengths are few
            self._mixed.clear()
            return
        self._mix(name, args, kwargs, result)
        number = self._number(name, args, kwargs)
        if number is None or kwargs.get("out") is not None:
            return
        # `x.max(1)` also returns indices.
        for x in tensors_in(result)[: 1 if name in ("max", "min") else None]:
            if not (x.is_floating_point() or x.is_complex()) and x.dtype is not torch.bool:
                self._numbers[x] = number

    def _mix(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> None:
        """Note a scalar that an operator computed from a number of sizes and a scalar of another kind."""
        if name not in _MIXED or len(args) != 2 or kwargs or not isinstance(result, torch.Tensor):
            return
        pair = [x if _is_number(x) else self.of(x) for x in args]
        scalars = all(_is_number(x) or _is_scalar(x) for x in args)
        if scalars and any(isinstance(x, torch.SymInt) for x in pair):
            operands = [x if number is None else number for x, number in zip(args, pair, strict=True)]
            self._mixed[result] = _MIXED[name], operands

    def _number(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Number | None:
        if name in _FILL:
            place = _FILL[name]
            value = args[place] if place < len(args) else kwargs.get("fill_value", kwargs.get("data"))
            return value if _is_number(value) else self.of(value)
        if name in _PAIRS and len(args) == 2 and not kwargs:
            pair = [x if _is_number(x) else self.of(x) for x in args]
            # `x.max(1)` is about an axis.
            if None not in pair and (name not in ("max", "min") or isinstance(args[1], torch.Tensor)):
                number: Number = _PAIRS[name](*pair)
                return number
        return self.of(args[0]) if name in _KEEP and args and not _picks_pair(name, args) else None


def _picks_pair(name: str, args: Sequence[Any]) -> bool:
    """Whether a function compares two tensors, of which one may be unknown."""
    return name in ("max", "min") and any(isinstance(x, torch.Tensor) for x in args[1:])


def _is_number(x: object) -> bool:
    return isinstance(x, (int, torch.SymInt)) and not isinstance(x, bool)


def _is_scalar(x: object) -> bool:
    return isinstance(x, torch.Tensor) and x.ndim == 0 and not (x.is_floating_point() or x.is_complex())
