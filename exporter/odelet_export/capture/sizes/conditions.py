"""Conditions on the sizes of dynamic axes that a trace took for granted, as few and as short as they can be said.

A tracer notes many conditions where one would do: to divide an axis in two it asks whether the size is a multiple of 2,
and then much that follows from that. What follows is found by trying all small sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import product
from operator import and_
from typing import Any

import numpy as np
import sympy
from numpy.typing import NDArray
from torch.utils._sympy.functions import CeilToInt, FloorDiv, FloorToInt, IntTrueDiv, ToFloat, TruncToInt
from torch.utils._sympy.printers import PythonPrinter

from odelet.artifact.formulas import Formula
from odelet.artifact.input_cards import AssumptionCard
from odelet_intercept.user_code import Place, short, source_text

# The sizes that are tried. The large ones show what holds for small sizes only.
_ALONE = (*range(260), 1000, 1001, 10007, 65536, 1048576, 9699690)
_TOGETHER = (*range(25), 64, 1001)


@dataclass(frozen=True)
class SizeCondition:
    """A condition on sizes.

    place: the line of the model that it comes from. formula: the condition, in the names of the axes, as `Formula`
    reads it. by_user: whether the line decides by sizes itself. What an operator takes for granted of a size says
    nothing about sizes of 0 and 1.
    """

    place: Place
    formula: str
    by_user: bool

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the axes, in alphabetical order."""
        return tuple(sorted(Formula(self.formula).names))

    def card(self, inputs: Sequence[str]) -> AssumptionCard:
        """The condition's entry in the card. inputs: the names of the inputs that have these axes."""
        return AssumptionCard(
            output="",
            source=short(self.place),
            text=source_text(self.place),
            value="",
            inputs=tuple(inputs),
            sizes=self.formula,
        )


def formula_of(condition: Any, labels: Mapping[Any, str]) -> str:
    """A condition, a sympy expression, in the names of the axes. labels: the name for each symbol. Raises ValueError
    for a condition that `Formula` cannot say."""
    named = condition.xreplace(
        {symbol: sympy.Symbol(label, integer=True, positive=True) for symbol, label in labels.items()}
    )
    return Formula(_as_python(_in_whole_numbers(named))).text


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


def fewest(conditions: Iterable[SizeCondition]) -> list[SizeCondition]:
    """The conditions without those that follow from others or hold for all sizes, each in its shortest form."""
    kept = list({one.formula: one for one in (_shortest(condition) for condition in conditions)}.values())
    for condition in reversed(kept.copy()):
        if follows(condition, [other for other in kept if other is not condition]):
            kept.remove(condition)
    return kept


def follows(condition: SizeCondition, others: Iterable[SizeCondition]) -> bool:
    """Whether a condition holds wherever all the others do."""
    if len(condition.labels) > 2:
        return any(other.formula == condition.formula for other in others)
    tables = [_where_true(other) for other in others if other.labels == condition.labels]
    return bool((_where_true(condition) | ~_all(tables, condition)).all())


def _all(tables: Sequence[NDArray[np.bool_]], condition: SizeCondition) -> NDArray[np.bool_]:
    return reduce(and_, tables, np.ones(len(_tried(condition)), bool))


def _tried(condition: SizeCondition) -> list[tuple[int, ...]]:
    count = len(condition.labels)
    return list(product(_ALONE if count == 1 else _TOGETHER, repeat=count)) if count <= 2 else []


def _where_true(condition: SizeCondition) -> NDArray[np.bool_]:
    """Whether a condition holds or says nothing, for each of the sizes that are tried."""
    formula, small = Formula(condition.formula), not condition.by_user
    return np.array(
        [
            (small and min(sizes) < 2) or bool(formula.value(dict(zip(condition.labels, sizes, strict=True))))
            for sizes in _tried(condition)
        ],
        bool,
    )


def _shortest(condition: SizeCondition) -> SizeCondition:
    """A condition on one size as a multiple, a lower or an upper limit, if it is one; else the condition itself."""
    if len(condition.labels) != 1:
        return condition
    (label,), sizes = condition.labels, np.array(_ALONE)
    tried = sizes >= (0 if condition.by_user else 2)
    sizes, wanted = sizes[tried], _where_true(condition)[tried]
    forms: list[tuple[str, Callable[[int], NDArray[np.bool_]]]] = [
        (f"{label} % {{}} == 0", lambda k: sizes % k == 0),
        (f"{label} >= {{}}", lambda k: sizes >= k),
        (f"{label} <= {{}}", lambda k: sizes <= k),
        (f"{label} != {{}}", lambda k: sizes != k),
        (f"{label} % 2 == 1", lambda k: sizes % 2 == 1),
    ]
    for form, table in forms:
        for k in range(1, 257):
            if np.array_equal(table(k), wanted):
                return replace(condition, formula=form.format(k))
    return condition
