"""The C of a program: a function for each graph, and one that calls them.

The law here: what is written computes nothing. It calls kernels, copies bytes, counts turns and compares flags.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import TensorProto, numpy_helper

from odelet_export.targets.build.c.header import identifier
from odelet_export.targets.build.c.kernels import Kernels
from odelet_export.targets.build.c.numbers import array, ctype
from odelet_export.targets.build.instructions import (
    Array,
    Block,
    Bounded,
    Call,
    Choice,
    Constant,
    Copy,
    Instruction,
    Loop,
    Put,
    Section,
    Stored,
    Value,
)

ARENA = "arena"


class Weights:
    """The constants of a program, each once."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, bytes], str] = {}
        self._taken: set[str] = set()
        self._texts: list[str] = []
        self.bytes = 0

    def name(self, name: str, values: Array) -> str:
        """The C name of an array. name: a hint."""
        values = np.ascontiguousarray(values)
        key = (values.dtype.str, values.tobytes())
        if key not in self._names:
            own = identifier(name, prefix="w_")
            while own in self._taken:
                own += "_"
            self._names[key] = own
            self._taken.add(own)
            self._texts.append(array(own, values))
            self.bytes += values.nbytes
        return self._names[key]

    def text(self) -> str:
        return "".join(self._texts)


class Writer:
    """Writes instructions. kernels: of the operators. offsets: the places of values in the arena. variables: the C
    variables that point to values elsewhere. name: of the program, for the names of functions. outside: the
    place of a byte that says whether a number was outside its bounds. used: the variables that
    were read."""

    def __init__(
        self,
        kernels: Kernels,
        offsets: Mapping[Value, int],
        variables: Mapping[Value, str],
        name: str,
        *,
        outside: int,
    ) -> None:
        self._kernels, self._offsets, self._name, self._outside = kernels, offsets, name, outside
        self._variables = dict(variables)
        self._names = set(variables.values())
        self._used: set[str] = set()
        self.used: set[str] = set()
        self._loops = 0
        self.weights = Weights()
        self.functions: list[str] = []
        self.declared: list[str] = []

    def block(self, block: Block, depth: int) -> list[str]:
        """The lines of a block."""
        return [line for instruction in block for line in self._lines(instruction, depth)]

    def _lines(self, instruction: Instruction, depth: int) -> list[str]:
        match instruction:
            case Call():
                return self._call(instruction, depth)
            case Copy():
                size = instruction.source.nbytes
                if not size or self.place(instruction.to) == self.place(instruction.source):
                    return []
                to, source = self.place(instruction.to), self.place(instruction.source)
                return [f"{_in(depth)}memcpy({to}, {source}, {size});"]
            case Bounded():
                return self._bounded(instruction, depth)
            case Put():
                return self._put(instruction, depth)
            case Section():
                return self._section(instruction, depth)
            case Choice():
                return [
                    f"{_in(depth)}if (*(const bool *){self.place(instruction.condition)}) {{",
                    *self.block(instruction.then, depth + 1),
                    f"{_in(depth)}}} else {{",
                    *self.block(instruction.otherwise, depth + 1),
                    f"{_in(depth)}}}",
                ]
            case Loop():
                return self._loop(instruction, depth)

    def place(self, stored: Stored) -> str:
        """A C expression of type void * for where something is stored."""
        if isinstance(stored, Constant):
            return f"(void *){self.weights.name(stored.name, stored.array)}"
        if stored in self._variables:
            self._used.add(self._variables[stored])
            self.used.add(self._variables[stored])
            return self._variables[stored]
        return f"AT({self._offsets.get(stored, 0)})"

    def _put(self, one: Put, depth: int) -> list[str]:
        place = f"*(const int64_t *){self.place(one.place)}"
        whole = [] if one.rows is one.to else self._lines(Copy(one.rows, one.to), depth)
        return [
            *whole,
            f"{_in(depth)}if ({place} >= 0 && {place} < {one.count})",
            f"{_in(depth + 1)}memcpy((unsigned char *){self.place(one.to)} + {place} * {one.row.nbytes}, "
            f"{self.place(one.row)}, {one.row.nbytes});",
        ]

    def _bounded(self, one: Bounded, depth: int) -> list[str]:
        kind = ctype(one.to.dtype)
        sizes = f"(const int64_t *)(void *){self.weights.name('sizes', np.array(one.sizes, np.int64))}"
        source, to = f"(const {kind} *){self.place(one.source)}", f"({kind} *){self.place(one.to)}"
        width = one.to.dtype.itemsize * 8
        return [
            f"{_in(depth)}odelet_bounded_{width}({source}, {to}, {one.to.size}, {sizes}, {len(one.sizes)}, "
            f"AT({self._outside}));"
        ]

    def _call(self, call: Call, depth: int) -> list[str]:
        kernel = self._kernels.of[call.operator]
        places = [place for place, name in enumerate(call.operator.proto.output) if name]
        known = {f"o{place}": self.place(value) for place, value in zip(places, call.outputs, strict=True)}
        known |= {f"i{place}": self.place(one) for place, one in enumerate(call.inputs) if one is not None}
        used = {word for _, words in kernel.calls for word in words}
        for place, data in call.operator.own:
            if f"i{place}" in used:
                values = numpy_helper.to_array(TensorProto.FromString(data))
                known[f"i{place}"] = f"(void *){self.weights.name('shape', values)}"
        lines = [f"{name}({', '.join(known.get(word, word) for word in words)});" for name, words in kernel.calls]
        if not kernel.between:
            return [_in(depth) + line for line in lines]
        between = [f"{kind} {name}{shape};" for name, (kind, shape) in kernel.between.items()]
        return [f"{_in(depth)}{{", *(_in(depth + 1) + line for line in (*between, *lines)), f"{_in(depth)}}}"]

    def _section(self, section: Section, depth: int) -> list[str]:
        """Write a function for a section. Returns the lines that call it."""
        around, self._used = self._used, set()
        lines = self.block(section.body, 1)
        used = sorted(self._used)
        self._used = around | self._used
        function = identifier(section.name, prefix=f"{self._name}_")
        parameters = ", ".join([f"unsigned char *const {ARENA}", *(f"void *const {name}" for name in used)])
        unused = [] if any("AT(" in line for line in lines) else [f"    (void){ARENA};"]
        self.functions.append("\n".join([f"static void {function}({parameters}) {{", *unused, *lines, "}", ""]))
        return [f"{_in(depth)}{function}({', '.join([ARENA, *used])});"]

    def _loop(self, loop: Loop, depth: int) -> list[str]:
        number, self._loops = self._loops, self._loops + 1
        turn = f"turn_{number}"
        self.declared.append(f"    int64_t {turn};")
        if loop.iteration is not None:
            self._variables[loop.iteration] = self._variable(f"iteration_{number}", f"&{turn}")
        starts, steps = [], []
        for place, row in enumerate(loop.rows):
            name = self._variable(f"row_{number}_{place}", self.place(row.stack))
            self._variables[row.row] = name
            starts.append(f"{_in(depth)}{name} = {self.place(row.stack)};")
            steps.append(f"{_in(depth + 1)}{name} = (unsigned char *){name} + {row.row.nbytes};")
        limits = [] if loop.most is None else [f"{turn} < *(const int64_t *){self.place(loop.most)}"]
        limits += [] if loop.go_on is None else [f"({turn} || *(const bool *){self.place(loop.go_on)})"]
        lines = [*starts, f"{_in(depth)}for ({turn} = 0; {' && '.join(limits)}; {turn}++) {{"]
        lines += self.block(loop.body, depth + 1)
        if loop.again is not None:
            self.declared.append(f"    bool again_{number};")
            lines.append(f"{_in(depth + 1)}again_{number} = *(const bool *){self.place(loop.again)};")
        for one in loop.carried:
            if one.now is one.after:
                continue
            now, after = self.place(one.now), self.place(one.after)
            lines.append(f"{_in(depth + 1)}odelet_swap(&{now}, &{after});")
        lines += steps
        if loop.again is not None:
            lines.append(f"{_in(depth + 1)}if (!again_{number}) break;")
        return [*lines, f"{_in(depth)}}}"]

    def point_to(self, values: Sequence[Value]) -> None:
        """Have variables point to values that change their places in loops. It comes before all else."""
        for value in values:
            self._variables[value] = self._variable(identifier(value.name, prefix="v_"), self.place(value))

    def _variable(self, name: str, place: str) -> str:
        while name in self._names:
            name += "_"
        self._names.add(name)
        self.declared.append(f"    void *{name} = {place};")
        return name


def _in(depth: int) -> str:
    return "    " * depth
