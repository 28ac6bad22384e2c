"""The type of the elements that each operator makes, as data.

The law here: types are numbers of onnx.proto. tests/runtime/artifact/test_element_types.py compares every entry, and
every operator without one, with ONNX's own definitions of all versions.
"""

from __future__ import annotations

FLOAT, UINT8, INT32, INT64, BOOL = 1, 2, 6, 7, 9
FLOATS = frozenset({FLOAT, 10, 11, 16})  # and float16, float64, bfloat16
# Integers in which the smallest number divided by -1 fits after C++ has widened it, or that have no -1.
NARROW = frozenset({2, 3, 4, 5, 12, 13})  # uint8, int8, uint16, int16, uint32, uint64
WHOLE = NARROW | {INT32, INT64}

_COMPARING = "And Equal Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual Not Or Xor"
_COUNTING = "ArgMax ArgMin NonMaxSuppression NonZero Shape Size"

# The type of an output, by the operator and the output's number, whatever the inputs are.
MADE: dict[tuple[str, int], int] = {
    **{(operator, 0): BOOL for operator in _COMPARING.split()},
    **{(operator, 0): INT64 for operator in _COUNTING.split()},
    **{("MaxPool", 1): INT64, ("TopK", 1): INT64},
    **{("Unique", output): INT64 for output in (1, 2, 3)},
    ("DequantizeLinear", 0): FLOAT,  # or another float
    **{("DynamicQuantizeLinear", output): kind for output, kind in enumerate((UINT8, FLOAT, UINT8))},
    ("MatMulInteger", 0): INT32,
}
# The number of the input whose type all outputs have that are not above; without an entry it is 0.
LIKE: dict[str, int] = {"CastLike": 1, "RMSNormalization": 1, "Where": 1}
# The attribute that says the type of the output, and the type where the attribute is absent: None for that of input 0.
# The attribute `value` is a tensor of that type.
STATED: dict[str, tuple[bytes, int | None]] = {
    **{operator: (b"output_datatype", FLOAT) for operator in ("BlackmanWindow", "HammingWindow", "HannWindow")},
    "Cast": (b"to", 0),
    "ConstantOfShape": (b"value", FLOAT),
    "EyeLike": (b"dtype", None),
}
# Operators whose types are not told here: 0 stands for such a type.
UNTOLD = frozenset({"QuantizeLinear"})
