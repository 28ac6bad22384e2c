"""Tensors that stand for Python numbers in a trace: `t.item()`, `float(t)`, and what is computed from them.

A tracer has no number for them, and a graph holds them as tensors of shape (). Two things set a Python number apart
from such a tensor, and are kept here: it has the digits of a float64, and it never decides a dtype. Beside a tensor it
takes that tensor's dtype; in a new tensor, the default dtype.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_map_only
from torch.utils.weak import WeakTensorKeyDictionary

# The names of Python's operators as torch functions: of numbers alone they give a number.
_OPERATORS = frozenset(
    f"{before}{name}{after}"
    for name in (
        *("add", "sub", "mul", "truediv", "div", "floordiv", "mod", "pow", "neg", "abs", "pos"),
        *("lt", "le", "gt", "ge", "eq", "ne"),
    )
    for before, after in (("", ""), ("__", "__"), ("__r", "__"))
) | {"rsub", "true_divide", "floor_divide", "remainder", "positive"}
# Operators that give a number with a fraction also where both numbers are whole.
_DIVIDE = frozenset(("__truediv__", "__rtruediv__", "truediv", "true_divide", "div", "__div__", "__rdiv__"))
# Functions that make a tensor of a number.
_CONVERSIONS = frozenset(("to", "reshape"))


class PythonNumbers:
    """The tensors of one trace that stand for Python numbers."""

    def __init__(self) -> None:
        # For a number read off a tensor that tensor, else None. Where the dtype of the tensor is wanted, it is used
        # itself: ONNX Runtime 1.32 loses a value of the graph around a loop that is cast to float64 and back.
        self._known: WeakTensorKeyDictionary = WeakTensorKeyDictionary()

    def __contains__(self, x: object) -> bool:
        return isinstance(x, torch.Tensor) and x in self._known

    def of(self, x: torch.Tensor) -> torch.Tensor:
        """The number that a tensor of one element holds: `x.item()`."""
        if x in self._known:
            return x
        scalar = x.reshape(())
        number = scalar.to(torch.float64) if x.is_floating_point() else scalar
        number = number.view(()) if number is x or number is scalar else number  # the tensor itself stays one
        self._known[number] = scalar
        return number

    def whole(self, x: torch.Tensor) -> torch.Tensor:
        """The whole number that `int` makes of a tensor of one element, which it cuts towards zero."""
        return self.of(x.detach().trunc().to(torch.int64) if x.is_floating_point() else x)

    def in_dtypes(
        self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Sequence[Any], Mapping[str, Any], bool]:
        """The arguments of a call with each number in the dtype that it has there, and whether the result is a number.

        name: the name of the torch function.
        """
        if not self._known:
            return args, kwargs, False
        tensors = [leaf for leaf in tree_flatten((args, dict(kwargs)))[0] if isinstance(leaf, torch.Tensor)]
        others = [tensor for tensor in tensors if tensor not in self._known]
        alone = not others and name in _OPERATORS
        if len(others) == len(tensors) or not (others or alone or name in _CONVERSIONS):
            return args, kwargs, False
        dtype = _dtype_beside(others) if others else _dtype_alone(name, args, tensors) if alone else None

        def typed(x: torch.Tensor) -> torch.Tensor:
            if x not in self._known or (others and not x.is_floating_point()):
                return x
            read_off = self._known[x]
            if read_off is not None and not alone:
                x = read_off
            return x if dtype is None or x.dtype == dtype else x.to(dtype)

        args, kwargs = tree_map_only(torch.Tensor, typed, (tuple(args), dict(kwargs)))
        return args, kwargs, alone

    def note(self, result: Any) -> None:
        """Note the result of an operator on numbers alone as a number."""
        if isinstance(result, torch.Tensor):
            self._known[result] = None


def _dtype_alone(name: str, args: Sequence[Any], numbers: Sequence[torch.Tensor]) -> torch.dtype | None:
    """The dtype in which Python computes with numbers alone; None for that of whole numbers."""
    fractions = any(x.is_floating_point() for x in numbers) or any(isinstance(x, float) for x in args)
    negative_power = name in ("__pow__", "pow") and isinstance(args[1], int) and args[1] < 0
    return torch.float64 if fractions or name in _DIVIDE or negative_power else None


def _dtype_beside(others: Sequence[torch.Tensor]) -> torch.dtype:
    """The dtype that a number with a fraction has beside tensors."""
    dtype = torch.bool
    for other in others:
        dtype = torch.promote_types(dtype, other.dtype)
    return dtype if dtype.is_floating_point or dtype.is_complex else torch.get_default_dtype()


def listed(x: torch.Tensor, numbers: PythonNumbers) -> Any:
    """A tensor as nested lists of numbers: `x.tolist()`."""
    return numbers.of(x) if x.ndim == 0 else [listed(part, numbers) for part in x.unbind(0)]
