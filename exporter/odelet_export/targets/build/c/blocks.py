"""Blocks of sums in C that compilers keep in registers: some rows, each of some columns beside each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from odelet_export.targets.build.instructions import Array

# The rows and columns of a block, which were measured with gcc for SSE2, AVX2 and AVX-512. Blocks of 4 rows and 16
# columns are four times slower: gcc then puts rows in the place of columns.
MOST_ROWS = 6
_COLUMNS = 32
# And the columns of a block of one or two rows.
_COLUMNS_OF_FEW_ROWS = 64


def width_of(columns: int, rows: int) -> int:
    """How many columns a panel has."""
    return min(columns, _COLUMNS if rows > 2 else _COLUMNS_OF_FEW_ROWS)


def panels(columns: int, width: int) -> list[tuple[int, int, int]]:
    """Where the panels of one width begin and end, and the width; the last panel may be narrower."""
    whole = columns - columns % width
    return [one for one in ((0, whole, width), (whole, columns, columns - whole)) if one[0] < one[1]]


def in_panels(matrix: Array, width: int) -> Array:
    """A matrix panel after panel, each row by row."""
    return np.concatenate([matrix[:, start : start + width].reshape(-1) for start in range(0, matrix.shape[1], width)])


def heights(rows: int) -> list[tuple[int, int, int]]:
    """Blocks of rows, as even as can be: where those of one height begin and end, and the height."""
    count = -(-rows // MOST_ROWS)
    low, higher = divmod(rows, count)
    middle = higher * (low + 1)
    return [one for one in ((0, middle, low + 1), (middle, rows, low)) if one[0] < one[1]]


def loop(name: str, bounds: tuple[int, int, int], body: Sequence[str]) -> list[str]:
    """The lines of a loop over a name. bounds: where it begins and ends, and its step."""
    start, end, step = bounds
    return [f"for (int {name} = {start}; {name} < {end}; {name} += {step}) {{", *(f"    {line}" for line in body), "}"]


def sums(
    kind: str, height: int, width: int, loops: Sequence[str], step: int, factor: Callable[[int], str]
) -> list[str]:
    """The lines that make the sums s0[j], s1[j] and so on of products of two factors.

    kind: the C type. loops: the heads of the loops over what is summed. step: how far the second factor p moves in each
    turn. factor: the first factor of a row, in C.
    """
    rows = range(height)
    along = f"for (int j = 0; j < {width}; ++j)"
    # With two loops inside the one over k, gcc leaves that one as it is, and all sums stay in registers.
    half = height if height <= 4 else -(-height // 2)
    parts = [rows[:half], rows[half:]] if half < height else [rows]
    body = [f"const {kind} " + ", ".join(f"a{i} = {factor(i)}" for i in rows) + ";"]
    for part in parts:
        body += [f"{along} {{", *(f"    s{i}[j] += a{i} * p[j];" for i in part), "}"]
    body.append(f"p += {step};")
    lines = [f"    {line}" for line in body]
    return [
        f"{kind} " + ", ".join(f"s{i}[{width}] = {{0}}" for i in rows) + ";",
        *(f"{'' if place == 0 else ' '}{one} {{" for place, one in enumerate(loops)),
        *lines,
        "}" * len(loops),
    ]
