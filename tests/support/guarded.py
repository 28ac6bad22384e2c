"""Divisions of whole numbers with the guard that exports have, written by hand."""

from onnx import TensorProto, helper

from odelet.engine.failures import DIVIDED_BY_ZERO

I64 = TensorProto.INT64


def stored(name, numbers, kind=I64):
    shape = [len(numbers)] if isinstance(numbers, list) else []
    return helper.make_tensor(name, kind, shape, numbers if shape else [numbers])


def tables(kind=I64):
    """The constants of the guard. kind: the type of the numbers."""
    return [
        *(stored(name, number, kind) for name, number in (("zero", 0), ("minus_one", -1))),
        *(stored(name, number) for name, number in (("first", 0), ("second", 1), ("beyond", DIVIDED_BY_ZERO))),
        stored("factors", [1, -1], kind),
    ]


def guarded(operator, dividend, divisor, result):
    """The nodes of a division that looks at its divisor."""
    return [
        helper.make_node(op_type, inputs.split(), [output])
        for op_type, inputs, output in (
            ("Equal", f"{divisor} minus_one", "is_minus_one"),
            ("Equal", f"{divisor} zero", "is_zero"),
            ("Where", "is_minus_one second first", "place"),
            ("Where", "is_zero beyond place", "sure_place"),
            ("Gather", "factors sure_place", "factor"),
            ("Mul", f"{divisor} factor", "safe"),
            ("Mul", f"{dividend} factor", "turned"),
            (operator, "turned safe", result),
        )
    ]
