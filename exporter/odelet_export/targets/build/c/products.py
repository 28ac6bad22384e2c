"""The loops of matrix products, in an order that compilers turn into vector code.

The generator writes a sum over k for each element of the result. Here the same sums are made for a row of elements at
once, each in the same order of k, so that the inner loop runs along rows of both the second factor and the result.
"""

from __future__ import annotations

import re

from odelet_export.targets.build.rewrites import FEWEST_RESULTS

# So many sums are made side by side; compilers keep them in registers.
_SIDE_BY_SIDE = 64
_LOOPS = re.compile(
    r"(?P<pad> +)for \(idx_t (?P<j>\w+) = 0; (?P=j) < (?P<n>\d+); \+\+(?P=j)\) \{\n"
    r" +(?P<type>float|double) acc = 0\.0f?;\n"
    r" +for \(idx_t k = 0; k < (?P<k>\d+); \+\+k\) \{\n"
    r"(?P<body>(?:.*\n)+?) +\}\n"
    r"(?P<tail>(?:(?! +for )(?! +\}).*\n)+)(?P=pad)\}\n"
)
_GEMM = re.compile(r"\s*const \w+ a_val = (.*);\s*const \w+ b_val = (.*);\s*acc \+= a_val \* b_val;\s*")
_MATMUL = re.compile(r"\s*acc \+= ([^;*]+) \* ([^;*]+);\s*")


def along_rows(text: str) -> str:
    """The text of a kernel, with the loops of its products in the other order where that is faster."""
    return _LOOPS.sub(_reordered, text)


def _reordered(found: re.Match[str]) -> str:
    j, count, kind, pad = found["j"], int(found["n"]), found["type"], found["pad"]
    factors = _GEMM.fullmatch(found["body"]) or _MATMUL.fullmatch(found["body"])
    if factors is None or count < FEWEST_RESULTS:
        return found[0]
    first, second = factors[1].strip(), factors[2].strip()
    # The second factor is read along its rows, and the first one does not change along them.
    if not second.endswith(f"[k][{j}]") or f"[{j}]" in first:
        return found[0]
    width = min(count, _SIDE_BY_SIDE)
    tail = re.sub(r"\bacc\b", f"acc[{j} - from]", found["tail"])
    whole, rest = divmod(count, width)
    blocks = [(f"for (idx_t from = 0; from < {whole * width}; from += {width}) {{", width)]
    blocks += [(f"for (idx_t from = {whole * width}, once = 1; once; once = 0) {{", rest)] if rest else []
    parts = []
    for head, size in blocks:
        along = f"for (idx_t {j} = from; {j} < from + {size}; ++{j})"
        parts.append(
            f"{pad}{head}\n"
            f"{pad}    {kind} acc[{size}] = {{0}};\n"
            f"{pad}    for (idx_t k = 0; k < {found['k']}; ++k) {{\n"
            f"{pad}        const {kind} a_val = {first};\n"
            f"{pad}        {along} acc[{j} - from] += a_val * {second};\n"
            f"{pad}    }}\n"
            f"{pad}    {along} {{\n"
            f"{tail}"
            f"{pad}    }}\n"
            f"{pad}}}\n"
        )
    return "".join(parts)
