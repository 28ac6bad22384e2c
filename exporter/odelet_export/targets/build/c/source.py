"""The files `odelet_NAME.h` and `odelet_NAME.c`."""

from __future__ import annotations

from collections import Counter
from importlib.resources import files

from odelet.artifact.solve_card import SolveCard
from odelet_export.targets.build.built import BuildError, Built
from odelet_export.targets.build.c.header import (
    SETTINGS,
    checked_in,
    header_text,
    identifier,
    outside_code,
    plain,
    signature,
)
from odelet_export.targets.build.c.kernels import VERSION, Kernels, written
from odelet_export.targets.build.c.numbers import ctype, number
from odelet_export.targets.build.c.replacing import replace_operators
from odelet_export.targets.build.c.text import Writer
from odelet_export.targets.build.instructions import Bounded, Call, Loop, Value, everything
from odelet_export.targets.build.memory import planned
from odelet_export.targets.build.simplify import simplified
from odelet_export.targets.build.translate import Program, Setting

_KERNEL_WARNINGS = """\
#if defined(__GNUC__)
/* Of what the generator writes for operators. */
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wunused-function"
#endif
/* Operators on many elements that are called from several places stay functions, or code would grow with each call. */
#if defined(__GNUC__)
#define ODELET_SHARED_FN static __attribute__((noinline))
#else
#define ODELET_SHARED_FN static
#endif
#ifdef __cplusplus
#define ODELET_RESTRICT
#else
#define ODELET_RESTRICT restrict
#endif
"""
# Code for fewer elements than this is smaller than what a call of it saves.
_SHARED_FROM = 8


class Source:
    """The C of a program. name: for functions and files, such as `spiral`."""

    def __init__(self, program: Program, name: str) -> None:
        self.program, self.name = program, name
        self.upper = name.upper()
        outputs = [value for value, _ in program.outputs.values()]
        body, replaced = simplified(program.body, [*outputs, *program.reports.values()])
        self._reports = {key: replaced.stored(stored) for key, stored in program.reports.items()}
        replace_operators(body)
        unknown = [one.name for one in program.settings if one.key not in SETTINGS]
        if unknown:
            raise BuildError(f"the artifact has the settings {', '.join(unknown)}, which the C of solves does not have")
        variables = self._variables()
        plan = planned(body, elsewhere=[*variables], kept=[*self._reports.values()])
        calls = [one for one in everything(body) if isinstance(one, Call)]
        uses = Counter(call.operator for call in calls)
        large = {call.operator for call in calls if max(value.size for value in call.outputs) >= _SHARED_FROM}
        self._shared = {operator for operator in large if uses[operator] > 1}
        self._kernels = written({call.operator: call.ports for call in calls}) if calls else Kernels({}, "", ())
        self._bounds = any(isinstance(one, Bounded) for one in everything(body))
        self._outside = -(-plan.arena // 8) * 8
        self._writer = Writer(self._kernels, plan.offsets, variables, name, outside=self._outside)
        loops = [one for one in everything(body) if isinstance(one, Loop)]
        turning = [pair for one in loops for pair in one.carried if pair.now is not pair.after]
        self._writer.point_to([value for pair in turning for value in (pair.now, pair.after)])
        self._lines = self._writer.block(body, 1)
        self._reading = self._stats()
        arena = self._outside + 8 if self._bounds else plan.arena
        self.built = Built(name, (), max(16, arena), plan.live, self._writer.weights.bytes, len(self._kernels.of))

    def _variables(self) -> dict[Value, str]:
        """The C variables that point to inputs, settings and outputs."""
        program = self.program
        named = {value: f"in_{identifier(name)}" for name, value in program.inputs.items()}
        named |= {one.value: f"set_{identifier(one.name)}" for one in program.settings}
        return named | {value: f"out_{identifier(name)}" for name, (value, _) in program.outputs.items()}

    def header(self) -> str:
        """The text of `odelet_NAME.h`."""
        return header_text(self.program, self.name, self.built.arena)

    def source(self) -> str:
        """The text of `odelet_NAME.c`."""
        writer = self._writer
        includes = "".join(f"#include <{name}>\n" for name in self._kernels.includes)
        math = files("odelet_export.targets.build.c").joinpath("odelet_math.h").read_text(encoding="utf-8")
        kernels = "\n\n".join(
            kernel.text.replace("EMX_NODE_FN", "ODELET_SHARED_FN") if operator in self._shared else kernel.text
            for operator, kernel in self._kernels.of.items()
        )
        swap = "static void odelet_swap(void **a, void **b) {\n    void *c = *a;\n    *a = *b;\n    *b = c;\n}\n"
        return "\n".join(
            [
                f"/* {plain(self.program.card.name)}, solved in C; odelet_{self.name}.h says how to call it.\n"
                f"   The functions whose names begin with k were written by emx-onnx-cgen {VERSION}\n"
                "   (Copyright 2025-present emmtrix Technologies GmbH, Apache License 2.0) and changed by odelet; see\n"
                "   LICENSE.txt. */",
                f'#include "odelet_{self.name}.h"\n\n#include <string.h>\n{includes}',
                _KERNEL_WARNINGS,
                math,
                self._kernels.helpers,
                writer.weights.text(),
                kernels,
                "\n#define AT(offset) ((void *)(arena + (offset)))\n",
                *([_BOUNDED] if self._bounds else []),
                *writer.functions,
                *([_MOST] if any("odelet_most" in line for line in self._reading) else []),
                *([swap] if any("odelet_swap" in line for line in self._lines) else []),
                self._solve(),
            ]
        )

    def _solve(self) -> str:
        """The function that the caller calls."""
        writer, program = self._writer, self.program
        lines = [f"{signature(self.program, self.name, inside=True)} {{"]
        lines += ["    unsigned char *const arena = (unsigned char *)memory;"]
        lines += [
            "    odelet_stats own;",
            "    const odelet_settings exported = ODELET_" + self.upper + "_SETTINGS;",
        ]
        for one in program.settings:
            own = identifier(one.name)
            lines.append(f"    {ctype(one.default.dtype)} {own}_used[{one.default.size}];")
            lines.append(f"    void *set_{own} = {own}_used;")
        for tensor in program.card.inputs:
            own = identifier(tensor.name)
            lines.append(f"    void *in_{own} = (void *)in_{own}_;")
        lines += [f"    void *out_{identifier(name)} = out_{identifier(name)}_;" for name in program.outputs]
        lines += writer.declared
        lines += ["    settings = settings ? settings : &exported;", "    stats = stats ? stats : &own;"]
        lines += [line for one in program.settings for line in self._set(one)]
        if self._bounds:
            lines.append(f"    *(unsigned char *)AT({self._outside}) = 0;")
        unread = [f"    (void){name};" for name in self._variables().values() if name not in writer.used]
        return "\n".join([*lines, *unread, "    (void)arena;", *self._lines, *self._reading, "}", ""])

    def _set(self, setting: Setting) -> list[str]:
        """The lines that take a setting, or what was exported."""
        key, own, kind = setting.key, identifier(setting.name), ctype(setting.default.dtype)
        absent = f"settings->{key} < 0" if SETTINGS[key] == "int64_t" else f"isnan(settings->{key})"
        return [
            f"    {own}_used[{place}] = {absent} ? {number(one)} : ({kind})settings->{key};"
            for place, one in enumerate(setting.default.reshape(-1))
        ]

    def _stats(self) -> list[str]:
        """The lines that read what the solves report."""
        card = self.program.card
        lines = [
            f"    if (!*(const bool *){self._writer.place(self._reports[one.output])}) return {-1 - place};"
            for place, one in enumerate(checked_in(card))
        ]
        if self._bounds:
            lines.insert(0, f"    if (*(unsigned char *)AT({self._outside})) return {outside_code(card)};")
        known = {key: any(key in solve.report for solve in card.solves) for key in ("steps", "accepted")}
        fixed = [solve.steps for solve in card.solves if "steps" not in solve.report]
        steps = sum(steps or 0 for steps in fixed)
        lines.append("    stats->status = 0;")
        lines.append(f"    stats->steps = {steps if known['steps'] or all(x is not None for x in fixed) else -1};")
        lines.append(f"    stats->accepted = {0 if known['accepted'] else -1};")
        lines += ["    stats->time = 0;", "    stats->error_ratio = 0;"]
        for solve in card.solves:
            lines += self._of_solve(solve)
        return [*lines, "    return (int)stats->status;"]

    def _of_solve(self, solve: SolveCard) -> list[str]:
        reports = {key: self._reports[name] for key, name in solve.report.items()}
        lines = []
        for key, text in (
            ("status", "if (!stats->status) stats->status = {};"),
            ("steps", "stats->steps += {};"),
            ("accepted", "stats->accepted += {};"),
            ("time", "stats->time = (double){};"),
            ("error_ratio", _RATIO),
        ):
            if key not in reports:
                continue
            stored = reports[key]
            if key in ("steps", "accepted") and stored.size > 1:
                # Of samples that are solved together, those of the one with the most steps count.
                numbers = self._writer.place(stored)
                lines.append(f"    stats->{key} += odelet_most((const int64_t *){numbers}, {stored.size});")
                continue
            for place in range(stored.size):
                element = f"((const {ctype(stored.dtype)} *){self._writer.place(stored)})[{place}]"
                lines.append("    " + text.replace("{}", element))
        return lines


_MOST = """\
static int64_t odelet_most(const int64_t *numbers, int count) {
    int64_t most = 0;
    for (int i = 0; i < count; i++) most = numbers[i] > most ? numbers[i] : most;
    return most;
}
"""
_RATIO = (
    "if ({} > stats->error_ratio || {} != {}) stats->error_ratio = {}; "
    "if (!stats->status && !({} <= 1)) stats->status = isfinite({}) ? 9 : 3;"
)

_BOUNDED = "".join(
    f"""\
static void odelet_bounded_{width}(const int{width}_t *from, int{width}_t *to, int64_t count, const int64_t *sizes,
    int64_t places, void *outside) {{
    for (int64_t i = 0; i < count; i++) {{
        const int64_t size = sizes[i % places];
        const bool inside = from[i] >= -size && from[i] < size;
        to[i] = inside ? from[i] : 0;
        if (!inside) *(unsigned char *)outside = 1;
    }}
}}
"""
    for width in (32, 64)
)
