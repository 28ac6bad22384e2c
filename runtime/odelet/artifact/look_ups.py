"""Look-ups that a graph makes before it computes, so that ONNX Runtime raises an error for a number that would end the
process: places of a table that depend on the number, of which some are beyond the table's end.

The law here: a look-up holds for each element of a number, whatever the shapes are, or it is not known.
"""

from __future__ import annotations

from odelet.artifact.values import Value, Values

# Any number but those that have a case of their own.
OTHER = None
CASES = (0, -1, OTHER)
# The look-up fails.
FAILS = "fails"


def looked_up(values: Values, factor: Value | None, number: Value, case: int | None) -> int | str | None:
    """Return what is looked up for a number: an entry of a table, or FAILS; None where that is not known.

    case: the number, or OTHER for one that is not among `CASES`.
    """
    if factor is None or (node := factor.made_by("Gather")) is None:
        return None
    attributes = values.attributes(node)
    table = values.constant(values.input_of(factor, 0))
    place = _place(values, values.input_of(factor, 1), number, case)
    if table is None or table.numbers is None or table.shape is None or len(table.shape) != 1:
        return None
    along_it = not attributes or attributes == {b"axis": [0]}
    if not along_it or place is None or place < 0:
        return None
    return table.numbers[place] if place < len(table.numbers) else FAILS


def _place(values: Values, value: Value | None, number: Value, case: int | None) -> int | None:
    """The place that is looked up for a number; None where that is not known."""
    for _ in range(3):
        if value is None:
            return None
        if (constant := values.constant(value)) is not None:
            return constant.single
        if value.made_by("Where") is None:
            return None
        holds = _is_equal(values, values.input_of(value, 0), number, case)
        if holds is None:
            return None
        value = values.input_of(value, 1 if holds else 2)
    return None


def _is_equal(values: Values, value: Value | None, number: Value, case: int | None) -> bool | None:
    """Whether a number is equal to the constant with which a node compares it; None where that is not known."""
    if value is None or value.made_by("Equal") is None:
        return None
    sides = [values.input_of(value, index) for index in (0, 1)]
    if number not in sides:
        return None
    constant = values.constant(sides[1 - sides.index(number)])
    if constant is None or constant.single is None:
        return None
    if case is OTHER:
        return False if constant.single in CASES else None
    return constant.single == case
