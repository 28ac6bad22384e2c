"""The file `odelet_NAME.h`, and the names of what it declares."""

from __future__ import annotations

import re

import numpy as np

from odelet.artifact.card import Card, Tensor
from odelet.artifact.input_cards import AssumptionCard
from odelet.engine.native import OUTSIDE
from odelet.status import Status
from odelet_export.targets.build.c.numbers import ctype, number
from odelet_export.targets.build.translate import Program

SETTINGS = {"rtol": "double", "atol": "double", "max_steps": "int64_t"}
# The names of other parameters, and words of C and C++ that no parameter can have.
_TAKEN = {
    *(
        "settings",
        "arena",
        "stats",
        "NULL",
        "NAN",
        "INFINITY",
        "bool",
        "true",
        "false",
        "auto",
        "break",
        "case",
        "char",
    ),
    *(
        "const",
        "default",
        "do",
        "double",
        "else",
        "float",
        "for",
        "if",
        "int",
        "long",
        "new",
        "delete",
        "class",
        "this",
    ),
    *("template", "operator", "private", "public", "register", "return", "short", "signed", "static", "struct"),
    *("switch", "union", "unsigned", "void", "volatile", "while"),
}

_TYPES = """\
#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#ifndef ODELET_TYPES
#define ODELET_TYPES
/* rtol, atol: tolerances; max_steps: the limit of attempted steps of each solve. NAN, and a limit below 0, leave them
   as exported. A solve without such a setting ignores it. */
typedef struct {
    double rtol, atol;
    int64_t max_steps;
} odelet_settings;

/* status: what the function returns. steps, accepted: attempted and accepted steps of all solves; -1 if not known.
   time: where the last solve is. error_ratio: the largest estimated error in units of the tolerance; 0 if not known. */
typedef struct {
    int64_t status, steps, accepted;
    double time, error_ratio;
} odelet_stats;
#endif
"""
_SAFE = """\
   The outputs are those of ONNX Runtime on the same artifact. Nothing is allocated, no global is written, and calls in
   several threads are safe where each has an arena of its own. Inputs and outputs must not overlap. Arrays are given
   row by row. */
"""


def header_text(program: Program, name: str, arena: int) -> str:
    """The text of `odelet_NAME.h`. arena: its bytes."""
    upper = name.upper()
    sizes = [f"#define ODELET_{upper}_IN_{macro(t.name)} {_size(t)}" for t in program.card.inputs]
    sizes += [f"#define ODELET_{upper}_OUT_{macro(t.name)} {_size(t)}" for _, t in program.outputs.values()]
    return f"""\
{_about(program)}
#ifndef ODELET_{upper}_H
#define ODELET_{upper}_H

{_TYPES}
/* Bytes of the arena, which is aligned for double and may be used for other things between calls. */
#define ODELET_{upper}_ARENA {arena}
/* Numbers of elements. */
{chr(10).join(sizes)}
/* The settings of the export, as an initializer. */
#define ODELET_{upper}_SETTINGS {{{", ".join(_defaults(program))}}}

#ifdef __cplusplus
extern "C" {{
#endif

/* settings: NULL for those of the export. stats: NULL where they are not wanted. */
{signature(program, name, inside=False)};

#ifdef __cplusplus
}}
#endif
#endif
"""


def _about(program: Program) -> str:
    """The comment at the top."""
    card = program.card
    lines = [f"{tensor.name}: {tensor}" for tensor in card.inputs]
    lines += [f"{one.name}: random numbers ({one.distribution}), which the caller draws" for one in card.noise]
    lines += [f"{name} (out): {tensor}" for name, (_, tensor) in program.outputs.items()]
    codes = [f"{status.value:>3}  {status.sentence}" for status in Status]
    codes += [f"{-1 - place:>3}  {one.refusal}" for place, one in enumerate(checked_in(card))]
    codes.append(f"{outside_code(card):>3}  {OUTSIDE}")
    title = plain(f"{card.name}, solved in C. Written by odelet {card.odelet} from its artifact; see LICENSE.txt.")
    tensors = "\n".join(f"   {plain(line)}" for line in lines)
    ends = "\n".join(f"   {plain(line)}" for line in codes)
    return f"/* {title}\n\n{tensors}\n\n   The function returns how the solve ended:\n{ends}\n{_SAFE}".rstrip("\n")


def _defaults(program: Program) -> list[str]:
    """The settings of the export in C."""
    defaults = []
    for key, kind in SETTINGS.items():
        whole, common = kind == "int64_t", common_setting(program, key)
        absent = "-1" if whole else "NAN"
        defaults.append(absent if common is None else number((np.int64 if whole else np.float64)(common)))
    return defaults


def common_setting(program: Program, key: str) -> float | None:
    """The value of a setting that all solves with it have, in all parts of their states; None where there is none."""
    values = {float(x) for one in program.settings if one.key == key for x in one.default.reshape(-1)}
    return values.pop() if len(values) == 1 else None


def signature(program: Program, name: str, *, inside: bool) -> str:
    """The function that solves. inside: with the names of parameters that the definition has."""
    taken = set(_TAKEN)
    parameters = []
    for side, tensors in (("in", program.card.inputs), ("out", [tensor for _, tensor in program.outputs.values()])):
        for tensor in tensors:
            own = identifier(tensor.name) or side
            own = f"{side}_{own}_" if inside else own if own not in taken and not own[0].isdigit() else f"{side}_{own}"
            taken.add(own)
            const = "const " if side == "in" else ""
            parameters.append(f"{const}{ctype(np.dtype(tensor.dtype))} {own}[{max(1, _size(tensor))}]")
        if side == "in":
            parameters.append("const odelet_settings *settings")
    parameters += ["void *memory" if inside else "void *arena", "odelet_stats *stats"]
    joined = ",\n    ".join(parameters)
    return f"int odelet_{name}_solve(\n    {joined})"


def checked_in(card: Card) -> list[AssumptionCard]:
    """The assumptions that each call checks."""
    return [one for one in card.assumptions if one.output]


def outside_code(card: Card) -> int:
    """What the function returns where a number is outside the table in which it chooses."""
    return -1 - len(checked_in(card))


def identifier(name: str, *, prefix: str = "") -> str:
    """A name as C takes it."""
    return prefix + re.sub(r"\W+", "_", name, flags=re.A).strip("_")


def macro(name: str) -> str:
    """A name as macros have it."""
    return identifier(name).upper()


def plain(text: str) -> str:
    """Text that may stand in a comment of C."""
    return text.replace("*/", "* /").replace("/*", "/ *").encode("ascii", "replace").decode()


def _size(tensor: Tensor) -> int:
    return int(np.prod([int(size) for size in tensor.shape], dtype=np.int64))
