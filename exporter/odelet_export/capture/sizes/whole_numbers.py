"""Whole numbers made of sizes: `int(n / 2)`, `math.ceil(n / 2)`, `round(n / 2)`, `divmod(n, 2)`, `np.sqrt(n)`.

Python and NumPy ask a size for a number there, which would fix it. Here such numbers stay symbols. A fraction of sizes
that is rounded becomes a quotient of whole numbers, with which a tracer can reckon.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils._sympy.interp import sympy_interp
from torch.utils._sympy.reference import PythonReferenceAnalysis

from odelet_export.capture.sizes.conditions import quotient

Size = torch.SymInt | torch.SymFloat
_KINDS = (torch.SymInt, torch.SymFloat)


def is_size(x: object) -> bool:
    """Whether an object is a size, or a number made of sizes, as a trace has it."""
    return isinstance(x, _KINDS)


def whole_part(x: Any) -> Any:
    """The answer of `int`, a size rounded towards 0."""
    return _quotient_of(x, operator.floordiv, torch.sym_int)


def rounded_down(x: Any) -> Any:
    """The answer of `math.floor`."""
    return _quotient_of(x, operator.floordiv, math.floor)


def rounded_up(x: Any) -> Any:
    """The answer of `math.ceil`."""
    return _quotient_of(x, lambda over, under: (over + under - 1) // under, math.ceil)


def rounded(x: Any) -> Any:
    """The answer of `round`: of two numbers that are equally near the even one."""

    def nearest(over: Any, under: Any) -> Any:
        # Where both are equally near and the upper one is odd, the numerator is this multiple of a half and no other.
        odd_tie = (4 * under - (2 * over + 3 * under) % (4 * under)) // (4 * under)
        return (2 * over + under) // (2 * under) - odd_tie

    return _quotient_of(x, nearest, round)


def _quotient_of(x: Size, rounding: Callable[[Any, Any], Any], otherwise: Callable[[Any], Any]) -> Any:
    """A size as it is, a quotient of sizes rounded, and any other number of sizes by Python's function."""
    if isinstance(x, torch.SymInt):
        return x
    parts = quotient(x.node.expr)
    if parts is None:
        return otherwise(x)
    env = x.node.shape_env
    sizes = {one: env.create_symintnode(one, hint=int(env.backed_var_to_val[one])) for one in x.node.expr.free_symbols}
    # A tracer follows what is computed from symbols step by step.
    over, under = (sympy_interp(PythonReferenceAnalysis, sizes, part) for part in parts)
    return rounding(over, under)


# What NumPy's functions give of one size, and of a size and another number.
_OF_NUMPY: dict[str, Callable[..., Any]] = {
    "sqrt": lambda x: x**0.5,
    "square": lambda x: x * x,
    "ceil": rounded_up,
    "floor": rounded_down,
    "trunc": whole_part,
    "rint": rounded,
}
_OF_PAIRS: dict[str, Callable[..., Any]] = {
    **{"add": operator.add, "subtract": operator.sub, "multiply": operator.mul, "power": operator.pow},
    **{"divide": operator.truediv, "floor_divide": operator.floordiv, "remainder": operator.mod},
    **{"maximum": torch.sym_max, "minimum": torch.sym_min},
}


def _plain(x: Any) -> Any:
    """A number as NumPy takes it; for a size that of the trace, which fixes it."""
    return float(x) if isinstance(x, torch.SymFloat) else int(x) if isinstance(x, torch.SymInt) else x


@contextmanager
def symbolic_arithmetic() -> Iterator[None]:
    """Let sizes take part in `divmod` and in NumPy's functions of numbers, until the block is left."""

    def ufunc(_: Any, function: np.ufunc, method: str, *args: Any, **kwargs: Any) -> Any:
        numbers = [x.item() if isinstance(x, np.generic) else x for x in args]
        known: Callable[..., Any] | None = (_OF_NUMPY if len(args) == 1 else _OF_PAIRS).get(function.__name__)
        if known is None or method != "__call__" or kwargs or any(isinstance(x, np.ndarray) for x in numbers):
            return getattr(function, method)(*map(_plain, args), **kwargs)
        return known(*numbers)

    added: dict[str, Callable[..., Any]] = {
        "__divmod__": lambda a, b: (a // b, a % b),
        "__rdivmod__": lambda a, b: (b // a, b % a),
        "__array_ufunc__": ufunc,
    }
    new = [(kind, name) for kind in _KINDS for name in added if not hasattr(kind, name)]
    try:
        for kind, name in new:
            setattr(kind, name, added[name])
        yield
    finally:
        for kind, name in new:
            delattr(kind, name)
