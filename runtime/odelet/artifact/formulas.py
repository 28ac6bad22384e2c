"""Formulas of the sizes of named axes, such as "2*batch" or "batch % 2 == 0", as a card writes them.

The law here: a formula is read, never run as Python; it holds whole numbers, names of axes, + - * // %, min, max,
isqrt, comparisons, and, or, not.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_OPERATORS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_OF_SEVERAL: dict[str, Callable[..., int]] = {"min": min, "max": max}
_OF_ONE: dict[str, Callable[..., int]] = {"isqrt": math.isqrt}
# A longer formula is not parsed: it does not come from an export.
_LONGEST = 200


class Formula:
    """A formula, ready to be computed. text: the formula. Raises ValueError for a text that is none."""

    def __init__(self, text: str) -> None:
        self.text = text
        if len(text) > _LONGEST:
            raise ValueError(f"a formula of {len(text)} characters")
        try:
            self._root = ast.parse(text, mode="eval").body
            self.names = frozenset(_names(self._root))
        except (SyntaxError, RecursionError, MemoryError):
            raise ValueError(f"{text!r} is no formula of sizes") from None

    def value(self, axes: Mapping[str, int]) -> int | bool | None:
        """Return the value for the sizes of the axes; None where an axis has no size, and where there is none, as for a
        division by 0."""
        try:
            value: int | bool = _value(self._root, axes)
        except (KeyError, ZeroDivisionError, ValueError):
            return None
        return value


def size_of(text: str, axes: Mapping[str, int]) -> int | None:
    """Return the size that a formula like "batch", "2*batch" or "batch*obs + 1" gives for the sizes of the axes.

    The result is None for a text that is no such formula, and for one that names an axis without a size.
    """
    if text in axes:
        return axes[text]
    try:
        value = Formula(text).value(axes)
    except ValueError:
        return None
    return value if type(value) is int else None


def _names(node: ast.expr) -> Iterator[str]:
    """The names of the axes in a formula. Raises ValueError for what no formula may hold."""
    if isinstance(node, ast.Name):
        yield node.id
        return
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        parts = [node.left, node.right]
    elif isinstance(node, ast.UnaryOp) and (
        isinstance(node.op, ast.Not) or (isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant))
    ):
        parts = [node.operand]
    elif isinstance(node, ast.BoolOp):
        parts = node.values
    elif isinstance(node, ast.Compare) and all(type(op) in _OPERATORS for op in node.ops):
        parts = [node.left, *node.comparators]
    elif isinstance(node, ast.Call) and _function(node) is not None and node.args and not node.keywords:
        parts = node.args
    else:
        raise ValueError(f"{ast.unparse(node)!r} is no formula of sizes")
    for part in parts:
        yield from _names(part)


def _function(node: ast.Call) -> Callable[..., int] | None:
    known = _OF_SEVERAL if len(node.args) > 1 else _OF_ONE
    return known.get(node.func.id) if isinstance(node.func, ast.Name) else None


def _value(node: ast.expr, axes: Mapping[str, int]) -> Any:
    """The value of a part of a formula, which `_names` has checked."""
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return axes[node.id]
        case ast.BinOp():
            return _OPERATORS[type(node.op)](_value(node.left, axes), _value(node.right, axes))
        case ast.UnaryOp():
            value = _value(node.operand, axes)
            return not value if isinstance(node.op, ast.Not) else -value
        case ast.BoolOp():
            values = [_value(part, axes) for part in node.values]
            return all(values) if isinstance(node.op, ast.And) else any(values)
        case ast.Compare():
            values = [_value(part, axes) for part in (node.left, *node.comparators)]
            pairs = zip(node.ops, values[:-1], values[1:], strict=True)
            return all(_OPERATORS[type(op)](left, right) for op, left, right in pairs)
        case ast.Call():
            function = _function(node)
            assert function is not None
            return function(*[_value(part, axes) for part in node.args])
    raise AssertionError("a formula is checked before it is computed")
