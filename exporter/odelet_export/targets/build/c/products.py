"""Products of matrices in C: one sum over k for each element of the result, in blocks.

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

from odelet_export.targets.build.c.blocks import heights, in_panels, loop, panels, sums, width_of
from odelet_export.targets.build.c.numbers import ctype, number
from odelet_export.targets.build.c.own import attributes, own_call
from odelet_export.targets.build.instructions import Call, Constant
from odelet_export.targets.build.operators import Operator, Port

# A product with fewer results in a row is faster as a sum along the rows of both factors, as the generator has it.
_FEWEST_COLUMNS = 8


def replaced(call: Call) -> list[Call] | None:
    """The call in the place of a Gemm or MatMul; None where the generator's code stays."""
    first, second, *_ = call.operator.inputs
    if first is None or second is None or first.dtype.kind != "f" or min(len(first.shape), len(second.shape)) < 2:
        return None
    given = {one.name: onnx.helper.get_attribute_value(one) for one in call.operator.proto.attribute}
    turned, second_turned = bool(given.get("transA")), bool(given.get("transB"))
    *outer, rows, inner = first.shape
    *before, _, columns = second.shape
    if turned:
        rows, inner = inner, rows
    if second_turned:
        columns = second.shape[0]
    if prod(before) == 1:
        rows, outer, before = rows * prod(outer), [], []
    # Factors of several matrices have equally many, or the first is one matrix for all; other broadcasts are rare.
    shared = not outer and prod(before) > 1
    if columns < _FEWEST_COLUMNS or (outer != before and not shared) or min(rows, inner, prod(outer)) == 0:
        return None
    factor = call.inputs[1]
    width = width_of(columns, rows)
    inputs, ports = [*call.inputs], [*call.operator.inputs]
    stored = isinstance(factor, Constant) and not before
    if isinstance(factor, Constant) and not before:
        matrix = factor.array.reshape(second.shape[-2:])
        inputs[1] = Constant(f"{factor.name}_panels", in_panels(matrix.T if second_turned else matrix, width))
        ports[1] = Port(second.dtype, (inner * columns,))
    elif second_turned:
        return None
    sizes = {"count": prod(before), "shared": shared, "rows": rows, "inner": inner, "columns": columns, "width": width}
    factors = {name: float(given.get(name, 1.0)) for name in ("alpha", "beta")}
    return [own_call(call, "Product", inputs, ports, {**sizes, **factors, "panels": int(stored), "turned": turned})]


def text(operator: Operator, outputs: Sequence[Port], name: str) -> str:
    """The function of a product, with the parameters a and b, the bias c where there is one, and the result o."""
    product = _Product.of(operator)
    dtype = outputs[0].dtype
    kind = ctype(dtype)
    bias = f"const {kind} *c, " if product.bias is not None else ""
    lines = product.blocks(dtype)
    if product.count > 1:
        lines = loop("n", (0, product.count, 1), [*lines, *product.next()])
    head = f"EMX_NODE_FN void {name}(const {kind} *a, const {kind} *b, {bias}{kind} *ODELET_RESTRICT o) {{"
    return "\n".join([head, *(f"    {line}" for line in lines), "}"])


@dataclass(frozen=True)
class _Product:
    """The sizes of a product, and what it does with its result. shared: whether there is one first factor for all
    matrices of the second. panels: whether the second factor is stored in them. turned: whether the first factor is
    transposed. bias: the shape of the bias, as a matrix."""

    count: int
    shared: int
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
        bias = operator.inputs[2] if len(operator.inputs) > 2 else None
        sizes = () if bias is None else (1, 1, *bias.shape)
        return cls(**attributes(operator), bias=None if bias is None else (sizes[-2], sizes[-1]))

    def next(self) -> list[str]:
        """The lines that go on to the next matrices."""
        sizes = {"a": self.rows * self.inner, "b": self.inner * self.columns, "o": self.rows * self.columns}
        if self.shared:
            del sizes["a"]
        return [f"{name} += {size};" for name, size in sizes.items()]

    def blocks(self, dtype: np.dtype[Any]) -> list[str]:
        """The lines of all blocks: panel after panel, and in each from the top down."""
        lines = []
        for bounds in panels(self.columns, self.width):
            body = []
            for rows in heights(self.rows):
                body += loop("top", rows, self._block(rows[2], bounds[2], dtype))
            lines += loop("from", bounds, body)
        return lines

    def _block(self, height: int, width: int, dtype: np.dtype[Any]) -> list[str]:
        """The lines of a block from the row `top` and the column `from` on."""
        begin, step = (f"from * {self.inner}", width) if self.panels else ("from", self.columns)
        place = "a[k * {1} + top + {0}]" if self.turned else "a[(top + {0}) * {2} + k]"
        return [
            f"const {ctype(dtype)} *p = b + {begin};",
            *sums(
                ctype(dtype),
                height,
                width,
                [f"for (int k = 0; k < {self.inner}; ++k)"],
                step,
                lambda i: place.format(i, self.rows, self.inner),
            ),
            f"for (int j = 0; j < {width}; ++j) {{",
            *(f"    o[(top + {i}) * {self.columns} + from + j] = {self._result(i, dtype)};" for i in range(height)),
            "}",
        ]

    def _result(self, i: int, dtype: np.dtype[Any]) -> str:
        """An element of the result, from its sum."""
        made = f"s{i}[j]" if self.alpha == 1 else f"{number(dtype.type(self.alpha))} * s{i}[j]"
        if self.bias is None:
            return made
        height, width = self.bias
        row = [f"(top + {i}) * {width}"] if height > 1 else []
        column = ["from + j"] if width > 1 else []
        bias = f"c[{' + '.join([*row, *column]) or '0'}]"
        return f"{made} + " + (bias if self.beta == 1 else f"{number(dtype.type(self.beta))} * {bias}")
