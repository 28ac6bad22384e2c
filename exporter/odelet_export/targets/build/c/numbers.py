"""Numbers and arrays as C."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

_TYPES = {
    **{f"{sign}int{bits}": f"{sign}int{bits}_t" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "float32": "float",
    "float64": "double",
    "bool": "bool",
}
_WIDTH = 118


def ctype(dtype: np.dtype[Any]) -> str:
    """The C type of elements."""
    return _TYPES[dtype.name]


def number(x: Any) -> str:
    """A number of numpy as C, exactly."""
    match x.dtype.name:
        case "bool":
            return str(int(x))
        case "float32" | "float64":
            suffix = "f" if x.dtype == np.float32 else ""
            if np.isnan(x):
                return "NAN"
            if np.isinf(x):
                return "INFINITY" if x > 0 else "-INFINITY"
            text = repr(float(x)) if not suffix else np.format_float_scientific(x, unique=True, trim="0")
            return text + suffix
        case "int64":
            return "INT64_MIN" if x == np.iinfo(np.int64).min else f"INT64_C({x})"
        case "uint64":
            return f"UINT64_C({x})"
        case "uint32":
            return f"{x}u"
        case "int32":
            return "INT32_MIN" if x == np.iinfo(np.int32).min else str(x)
        case _:
            return str(x)


def elements(array: np.ndarray[Any, Any]) -> Iterator[str]:
    """The elements of an array, in order, as lines of C."""
    line = ""
    for text in map(number, np.ascontiguousarray(array).reshape(-1)):
        if len(line) + len(text) + 2 > _WIDTH:
            yield line
            line = ""
        line += (" " if line else "    ") + text + ","
    if line:
        yield line


def array(name: str, values: np.ndarray[Any, Any]) -> str:
    """The definition of a constant array without shape."""
    lines = "\n".join(elements(values)) if values.size else "    0"
    return f"static const {ctype(values.dtype)} {name}[{max(1, values.size)}] = {{\n{lines}\n}};\n"
