"""Conditions on the sizes of dynamic axes that a trace took for granted, in the names of the axes."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import sympy
import torch
from torch.fx.experimental.symbolic_shapes import SYMPY_INTERP
from torch.utils._sympy.functions import CeilToInt, FloatPow, FloorDiv, FloorToInt, IntTrueDiv, ToFloat, TruncToInt
from torch.utils._sympy.printers import PythonPrinter

from odelet.artifact.formulas import Formula
from odelet.artifact.input_cards import AssumptionCard
from odelet_intercept.user_code import Place, short, source_text

# What the text of a condition may name beside axes.
_FUNCTIONS = {
    **SYMPY_INTERP,
    **{"math": math, "torch": torch, "min": min, "max": max, "abs": abs, "round": round, "isqrt": math.isqrt},
    "Where": lambda condition, yes, no: yes if condition else no,
}


@dataclass(frozen=True)
class SizeCondition:
    """A condition on sizes.

    place: the line of the model that it comes from. text: the condition as a Python expression, in the names of the
    axes. by_user: whether the line decides by sizes itself. What an operator takes for granted of a size says nothing
    about sizes of 0 and 1.
    """

    place: Place
    text: str
    by_user: bool

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The names of the axes, in alphabetical order."""
        names = {node.id for node in ast.walk(ast.parse(self.text, mode="eval")) if isinstance(node, ast.Name)}
        return tuple(sorted(names - _FUNCTIONS.keys()))

    @cached_property
    def _function(self) -> Callable[..., Any]:
        function: Callable[..., Any] = eval(f"lambda {', '.join(self.labels)}: {self.text}", _FUNCTIONS)
        return function

    def holds(self, sizes: Sequence[int]) -> bool:
        """Whether the condition holds, or says nothing. sizes: those of the axes, in the order of `labels`."""
        if not self.by_user and min(sizes, default=2) < 2:
            return True
        try:
            return bool(self._function(*sizes))
        except (ZeroDivisionError, ValueError, OverflowError):
            return False

    @property
    def formula(self) -> Formula | None:
        """The condition as a card says it; None for one that no card can say."""
        try:
            return Formula(self.text)
        except ValueError:
            return None

    def at(self, sizes: Mapping[str, int]) -> SizeCondition:
        """The condition that is left where some axes have given sizes."""

        class Filling(ast.NodeTransformer):
            def visit_Name(self, node: ast.Name) -> ast.expr:
                return ast.Constant(sizes[node.id]) if node.id in sizes else node

            def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
                filled = ast.BinOp(self.visit(node.left), node.op, self.visit(node.right))
                factors = (filled.left, filled.right)
                one = next((x for x in factors if isinstance(x, ast.Constant) and x.value == 1), None)
                if one is None or not isinstance(node.op, ast.Mult):
                    return filled
                return factors[0] if one is factors[1] else factors[1]

        return replace(self, text=ast.unparse(Filling().visit(ast.parse(self.text, mode="eval"))))

    def card(self, inputs: Sequence[str]) -> AssumptionCard:
        """The condition's entry in the card. inputs: the names of the inputs that have these axes."""
        return AssumptionCard(
            output="",
            source=short(self.place),
            text=source_text(self.place),
            value="",
            inputs=tuple(inputs),
            sizes=self.text,
        )


def text_of(condition: Any, labels: Mapping[Any, str]) -> str:
    """A condition, a sympy expression, as Python in the names of the axes, in whole numbers where it can be said so.

    labels: the name for each symbol.
    """
    named = condition.xreplace(
        {symbol: sympy.Symbol(label, integer=True, positive=True) for symbol, label in labels.items()}
    )
    return _as_python(_in_whole_numbers(named))


def quotient(expression: Any) -> tuple[Any, Any] | None:
    """A fraction of sizes that is not negative, as a numerator and a denominator, both whole; None for any other
    expression, and for a factor that Python rounds, such as 0.1."""
    if isinstance(expression, IntTrueDiv):
        numerator, denominator = expression.args
        return (numerator, denominator) if numerator.is_nonnegative and denominator.is_positive else None
    if isinstance(expression, sympy.Mul) and len(expression.args) == 2:
        factor, size = expression.args
        if isinstance(factor, sympy.Float) and isinstance(size, ToFloat) and size.args[0].is_nonnegative:
            over, under = float(factor).as_integer_ratio()
            return (size.args[0] * over, sympy.Integer(under)) if over > 0 and under <= 1024 else None
    return None


def _in_whole_numbers(expression: Any) -> Any:
    """An expression with quotients of whole numbers for rounded fractions."""

    def rounded_down(fraction: Any) -> Any:
        parts = quotient(fraction)
        if isinstance(fraction, FloatPow) and fraction.args[1] == 0.5 and isinstance(fraction.args[0], ToFloat):
            return sympy.Function("isqrt", integer=True)(fraction.args[0].args[0])
        return FloorToInt(fraction) if parts is None else FloorDiv(*parts)

    def rounded_up(fraction: Any) -> Any:
        parts = quotient(fraction)
        return CeilToInt(fraction) if parts is None else FloorDiv(parts[0] + parts[1] - 1, parts[1])

    for function in (FloorToInt, TruncToInt):
        expression = expression.replace(function, rounded_down)
    return expression.replace(CeilToInt, rounded_up)


def _as_python(condition: Any) -> str:
    for kind, word in ((sympy.And, " and "), (sympy.Or, " or ")):
        if isinstance(condition, kind):
            return word.join(f"({_as_python(part)})" for part in condition.args)
    if isinstance(condition, sympy.Not):
        return f"not ({_as_python(condition.args[0])})"
    return PythonPrinter().doprint(condition)
