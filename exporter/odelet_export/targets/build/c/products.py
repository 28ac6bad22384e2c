"""Products of matrices in C: blocks of the result that compilers keep in registers, one sum over k for each element.

A second factor that is constant is stored in panels: some columns of it, row after row, then the next ones. So it is
read from its first number to its last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx

from odelet_export.targets.build.c.numbers import ctype, number
from odelet_export.targets.build.c.own import Replaced, attributes, operator_of
from odelet_export.targets.build.instructions import Array, Call, Constant
from odelet_export.targets.build.operators import Operator, Port

# A product with fewer results in a row is faster as a sum along the rows of both factors, as the generator has it.
_FEWEST_COLUMNS = 8
# The rows and columns of a block, which were measured with gcc for SSE2, AVX2 and AVX-512. Blocks of 4 rows and 16
# columns are four times slower: gcc then puts rows in the place of columns.
_MOST_ROWS = 6
_COLUMNS = 32
# And the columns of a block of one or two rows.
_COLUMNS_OF_FEW_ROWS = 64


def replaced(call: Call) -> Replaced | None:
    """The operator in the place of a Gemm or MatMul, and what it reads; None where the generator's code stays."""
    node, (first, second, *_) = call.operator.proto, call.operator.inputs
    if first is None or second is None or first.dtype.kind != "f" or len(second.shape) < 2 or len(first.shape) < 2:
        return None
    given = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    factor = call.inputs[1]
    constant = factor.array.reshape(second.shape) if isinstance(factor, Constant) else None
    turned = bool(given.get("transB"))
    if turned and constant is None:
        return None
    *before, inner, columns = second.shape
    inner, columns = (columns, inner) if turned else (inner, columns)
    *outer, rows, _ = first.shape
    if given.get("transA"):
        rows = first.shape[1]
    if prod(before) == 1 and not given.get("transA"):
        rows, outer, before = rows * prod(outer), [], []
    # Factors of several matrices have equally many, as broadcasts are rare.
    if columns < _FEWEST_COLUMNS or outer != before or min(rows, inner, prod(outer)) == 0:
        return None
    width = min(columns, _COLUMNS if rows > 2 else _COLUMNS_OF_FEW_ROWS)
    inputs, ports = [*call.inputs], [*call.operator.inputs]
    if constant is not None and not outer:
        matrix = constant.reshape(inner, columns) if not turned else constant.T
        inputs[1] = Constant(f"{factor.name}_panels" if factor else "panels", in_panels(matrix, width))
        ports[1] = Port(second.dtype, (inner * columns,))
    elif turned:
        return None
    sizes = {"count": prod(outer), "rows": rows, "inner": inner, "columns": columns, "width": width}
    flags = {"panels": int(constant is not None and not outer), "turned": int(given.get("transA", 0))}
    factors = {name: float(given.get(name, 1.0)) for name in ("alpha", "beta")}
    return operator_of(call.operator, "Product", ports, {**sizes, **flags, **factors}), inputs


def in_panels(matrix: Array, width: int) -> Array:
    """A matrix in panels of so many columns, and a narrower one at the end."""
    panels = [matrix[:, start : start + width].reshape(-1) for start in range(0, matrix.shape[1], width)]
    return np.concatenate(panels)


def heights(rows: int) -> list[tuple[int, int, int]]:
    """Blocks of rows, as even as can be: where those of one height begin and end, and the height."""
    count = -(-rows // _MOST_ROWS)
    low, higher = divmod(rows, count)
    middle = higher * (low + 1)
    return [one for one in ((0, middle, low + 1), (middle, rows, low)) if one[0] < one[1]]


def text(operator: Operator, outputs: Sequence[Port], name: str) -> str:
    """The function of a product, with the parameters a and b, the bias c where there is one, and the result o."""
    product = _Product.of(operator)
    kind = ctype(outputs[0].dtype)
    bias = f"const {kind} *c, " if product.bias is not None else ""
    lines = [f"EMX_NODE_FN void {name}(const {kind} *a, const {kind} *b, {bias}{kind} *ODELET_RESTRICT o) {{"]
    depth = "    "
    if product.count > 1:
        lines.append(f"    for (int n = 0; n < {product.count}; ++n, {product.next()}) {{")
        depth *= 2
    lines += [depth + line for line in product.blocks(outputs[0].dtype)]
    return "\n".join([*lines, *(["    }"] if product.count > 1 else []), "}"])


@dataclass(frozen=True)
class _Product:
    """The sizes of a product, and what it does with its result. bias: the shape of the bias, as a matrix."""

    count: int
    rows: int
    inner: int
    columns: int
    width: int
    panels: int
    turned: int
    alpha: float
    beta: float
    bias: tuple[int, int] | None

    @classmethod
    def of(cls, operator: Operator) -> _Product:
        given: dict[str, Any] = attributes(operator)
        bias = operator.inputs[2] if len(operator.inputs) > 2 else None
        sizes = () if bias is None else (1, 1, *bias.shape)
        shape = None if bias is None else (sizes[-2], sizes[-1])
        return cls(**given, bias=shape)

    def next(self) -> str:
        """The step to the next matrices."""
        sizes = {"a": self.rows * self.inner, "b": self.inner * self.columns, "o": self.rows * self.columns}
        return ", ".join(f"{name} += {size}" for name, size in sizes.items())

    def blocks(self, dtype: np.dtype[Any]) -> list[str]:
        """The lines of all blocks: panel after panel, and in each from the top down."""
        whole = self.columns - self.columns % self.width
        lines = [f"for (int from = 0; from < {whole}; from += {self.width}) {{"]
        lines += [f"    {line}" for line in self._panel(self.width, dtype)]
        lines.append("}")
        if whole < self.columns:
            lines += ["{", f"    const int from = {whole};"]
            lines += [f"    {line}" for line in self._panel(self.columns - whole, dtype)]
            lines.append("}")
        return lines

    def _panel(self, width: int, dtype: np.dtype[Any]) -> list[str]:
        lines = []
        for start, end, height in heights(self.rows):
            lines.append(f"for (int top = {start}; top < {end}; top += {height}) {{")
            lines += [f"    {line}" for line in self._block(height, width, dtype)]
            lines.append("}")
        return lines

    def _block(self, height: int, width: int, dtype: np.dtype[Any]) -> list[str]:
        """The lines of a block from the row `top` and the column `from` on."""
        kind, rows = ctype(dtype), range(height)
        begin, step = (f"b + from * {self.inner}", width) if self.panels else ("b + from", self.columns)
        row = "a[k * {1} + top + {0}]" if self.turned else "a[(top + {0}) * {2} + k]"
        along = f"for (int j = 0; j < {width}; ++j)"
        # With two loops inside the one over k, gcc leaves that one as it is, and all sums stay in registers.
        half = height if height <= 4 else -(-height // 2)
        parts = [rows[:half], rows[half:]] if half < height else [rows]
        return [
            f"const {kind} *p = {begin};",
            f"{kind} " + ", ".join(f"s{i}[{width}] = {{0}}" for i in rows) + ";",
            f"for (int k = 0; k < {self.inner}; ++k, p += {step}) {{",
            f"    const {kind} " + ", ".join(f"a{i} = {row.format(i, self.rows, self.inner)}" for i in rows) + ";",
            *(f"    {line}" for part in parts for line in self._sums(part, along, kind)),
            "}",
            f"{along} {{",
            *(f"    o[(top + {i}) * {self.columns} + from + j] = {self._result(i, dtype)};" for i in rows),
            "}",
        ]

    @staticmethod
    def _sums(rows: range, along: str, kind: str) -> list[str]:
        """The lines that add to the sums of some rows."""
        return [f"{along} {{", *(f"    s{i}[j] += a{i} * p[j];" for i in rows), "}"]

    def _result(self, i: int, dtype: np.dtype[Any]) -> str:
        """An element of the result, from its sum."""
        sum_ = f"s{i}[j]" if self.alpha == 1 else f"{number(dtype.type(self.alpha))} * s{i}[j]"
        if self.bias is None:
            return sum_
        height, width = self.bias
        row = [f"(top + {i}) * {width}"] if height > 1 else []
        column = ["from + j"] if width > 1 else []
        bias = f"c[{' + '.join([*row, *column]) or '0'}]"
        return f"{sum_} + " + (bias if self.beta == 1 else f"{number(dtype.type(self.beta))} * {bias}")
