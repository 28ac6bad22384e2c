"""Loops of the program: the steps of a turn, repeated over values that pass from one turn to the next.

The law here: nothing is computed. A loop counts its turns, hands on what a turn made, and asks the turn whether to go
on; all numbers are made by graphs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from odelet.artifact.program_steps import LoopStep
from odelet.engine.buffers import KEPT_BYTES, Cell, HostMemory, Idle, memory_of
from odelet.engine.ending import check_ended, run_options
from odelet.engine.failures import ORT_ERRORS, GraphFailed
from odelet.engine.run_graph import Arrays
from odelet.engine.session import Graph
from odelet.errors import MemoryLimitError
from odelet.numerics.backend import NumpyArray

Step = Callable[[Arrays, Arrays], dict[str, NumpyArray]]

# Reads what a loop carries now, by its name in a turn.
Read = Callable[[str], NumpyArray]

# Whether a loop ends before another turn, given the number of turns before it and what it carries.
Stops = Callable[[int, Read], bool]

# So many rows are made room for at first.
_FIRST_ROWS = 16


@dataclass(frozen=True)
class Repeated:
    """A loop, ready to run. loop: its entry in the card. steps: those of a turn. graph: the graph that is all of a
    turn, where it is one graph. zero_rows: the dtype and the shape of what is stacked in a loop of no turn, by name.
    device: on which the graphs run. memory: how many bytes each stack may take, None for any number."""

    loop: LoopStep
    steps: Sequence[Step]
    graph: Graph | None
    zero_rows: Mapping[str, tuple[str, tuple[int, ...]]]
    device: str = "cpu"
    memory: int | None = None
    pool: Idle[_Key, _Memory] = field(default_factory=Idle)

    def __call__(self, values: Arrays, settings: Arrays, stops: Stops | None = None) -> dict[str, NumpyArray]:
        """Run the turns. Returns the last values that were carried, and those that were stacked, by name.

        stops: asked before each turn whether to end the loop.
        """
        loop = self.loop
        limit = _limit(None if loop.most is None else int(values[loop.most]), stops)
        carried = {one.turn: values[one.start] for one in loop.carried}
        stacks = {one.made: _Stack(self.memory) for one in loop.stacked}
        if loop.go_on is None or bool(values[loop.go_on]):
            if self.graph is None:
                carried = self._unbound(values, settings, carried, stacks, limit, 0)
            else:
                carried = self._bound(values, carried, stacks, limit)
        last = {one.result: carried[one.turn] for one in loop.carried if one.result is not None}
        return last | {one.result: stacks[one.made].rows(self.zero_rows[one.made]) for one in loop.stacked}

    def _inside(self, values: Arrays, carried: Arrays, turns: int) -> dict[str, NumpyArray]:
        """The values that a turn may read. turns: how many were before it."""
        numbered = {} if self.loop.iteration is None else {self.loop.iteration: np.asarray(turns, np.int64)}
        return {**values, **carried, **numbered}

    def _unbound(
        self,
        values: Arrays,
        settings: Arrays,
        carried: dict[str, NumpyArray],
        stacks: Mapping[str, _Stack],
        limit: Stops,
        turns: int,
    ) -> dict[str, NumpyArray]:
        """Run turns of any steps, and of arrays that may change their shapes. Returns what the last turn hands on."""
        loop = self.loop
        again = True
        while again and not limit(turns, carried.__getitem__):
            inner = self._inside(values, carried, turns)
            for step in self.steps:
                inner |= step(inner, settings)
            carried = {one.turn: inner[one.after] for one in loop.carried}
            for name, stack in stacks.items():
                stack.add(inner[name])
            again = loop.again is None or bool(inner[loop.again])
            turns += 1
        return carried

    def _bound(
        self, values: Arrays, carried: dict[str, NumpyArray], stacks: Mapping[str, _Stack], limit: Stops
    ) -> dict[str, NumpyArray]:
        """Run turns of one graph in bound memory, if what it carries keeps its shapes."""
        graph, loop = self.graph, self.loop
        assert graph is not None
        own = {*carried, loop.iteration}
        outside = {name: values[name] for name in graph.inputs if name not in own}
        key = tuple((name, x.shape, x.dtype.str) for name, x in (*carried.items(), *outside.items()))
        memory, turns = self.pool.take(key), 0
        if memory is None:
            if limit(turns, carried.__getitem__):
                return carried
            inner = self._inside(values, carried, turns)
            made = graph.run({name: inner[name] for name in graph.inputs})
            after = {one.turn: made[one.after] for one in loop.carried}
            for name, stack in stacks.items():
                stack.add(made[name])
            turns = 1
            if not (loop.again is None or bool(made[loop.again])):
                return after
            if any(after[name].shape != x.shape for name, x in carried.items()):
                return self._unbound(values, {}, after, stacks, limit, turns)
            carried = after
            rows = {one.made: made[one.made] for one in loop.stacked}
            memory = _Memory(graph, loop, carried, outside, rows, self.device)
        else:
            memory.begin(carried, outside)
        try:
            return memory.run(limit, turns, stacks)
        finally:
            if memory.bytes <= KEPT_BYTES:
                self.pool.give([(key, memory)])


class _Memory:
    """The bound memory of a graph that is a turn: two sets of arrays; a turn reads one and writes the other."""

    def __init__(
        self, graph: Graph, loop: LoopStep, carried: Arrays, outside: Arrays, rows: Arrays, device: str
    ) -> None:
        on_device = memory_of(device)
        self._graph, self._loop = graph, loop
        self._states = {name: (on_device(x), on_device(x)) for name, x in carried.items()}
        self._outside = {name: on_device(x) for name, x in outside.items()}
        after = {one.after: one.turn for one in loop.carried}
        # A value may be stacked and handed on: it is then read from the state that the turn wrote.
        self._handed_on = {name: after[name] for name in rows if name in after}
        self._rows = {name: HostMemory(x) for name, x in rows.items() if name not in after}
        self._iteration = HostMemory(np.asarray(0, np.int64))
        self._again = HostMemory(np.asarray(True))
        self.bytes = sum(x.nbytes for x in (*carried.values(), *carried.values(), *outside.values(), *rows.values()))
        self._bindings = [self._bind(reads) for reads in (0, 1)]

    def _bind(self, reads: int) -> Any:  # onnxruntime has no types
        binding = self._graph.session.io_binding()
        cells: dict[str, Cell] = {**self._outside, **{name: pair[reads] for name, pair in self._states.items()}}
        if self._loop.iteration is not None:
            cells[self._loop.iteration] = self._iteration
        for name in self._graph.inputs:
            binding.bind_ortvalue_input(name, cells[name].value)
        made = {one.after: self._states[one.turn][1 - reads] for one in self._loop.carried}
        if self._loop.again is not None:
            made[self._loop.again] = self._again
        for name, cell in {**made, **self._rows}.items():
            binding.bind_ortvalue_output(name, cell.value)
        return binding

    def begin(self, carried: Arrays, outside: Arrays) -> None:
        """Begin another loop, with arrays of the same names, shapes and dtypes."""
        for name, x in carried.items():
            self._states[name][0].write(x)
        for name, cell in self._outside.items():
            cell.write(outside[name])

    def run(self, limit: Stops, turns: int, stacks: Mapping[str, _Stack]) -> dict[str, NumpyArray]:
        """Run the turns after the first `turns`. Returns copies of what the last one hands on."""
        session, loop = self._graph.session, self._loop
        options, iteration, again = run_options(), self._iteration, self._again
        reads, rows = 0, [(stacks[name], cell) for name, cell in self._rows.items()]
        states = [(stacks[name], self._states[turn]) for name, turn in self._handed_on.items()]
        flag = again.read()

        def read(name: str) -> NumpyArray:
            return self._states[name][reads].read()

        try:
            while not limit(turns, read):
                if loop.iteration is not None:
                    iteration.write(turns)
                session.run_with_iobinding(self._bindings[reads], options)
                reads = 1 - reads
                turns += 1
                for stack, cell in rows:
                    stack.add(cell.read())
                for stack, pair in states:
                    stack.add(pair[reads].read())
                if loop.again is not None and not flag:
                    break
        except ORT_ERRORS as error:
            check_ended()
            raise GraphFailed(self._graph.file, str(error)) from None
        return {name: pair[reads].read().copy() for name, pair in self._states.items()}


def _limit(most: int | None, stops: Stops | None) -> Stops:
    """What ends a loop: so many turns, None for any number, or what else may stop it."""
    if most is None:
        return stops or (lambda turns, read: False)
    if stops is None:
        return lambda turns, read: turns >= most
    return lambda turns, read: turns >= most or stops(turns, read)


class _Stack:
    """Arrays that are collected, one for each turn."""

    def __init__(self, memory: int | None) -> None:
        self._rows: NumpyArray | None = None
        self._count, self._memory = 0, memory

    def add(self, x: NumpyArray) -> None:
        """Add a copy of an array of one shape and dtype."""
        if self._rows is None:
            self._rows = np.empty((_FIRST_ROWS, *x.shape), x.dtype)
        elif self._count == len(self._rows):
            if self._memory is not None and 2 * self._rows.nbytes > self._memory:
                raise MemoryLimitError(
                    f"the values of {self._count} turns of a loop, and as many more, need more than memory="
                    f"{self._memory} bytes; give the model smaller inputs or looser tolerances, or allow more",
                    self._memory,
                )
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        self._rows[self._count] = x
        self._count += 1

    def rows(self, like: tuple[str, tuple[int, ...]]) -> NumpyArray:
        """All of them, stacked along a new first axis. like: the dtype and shape of one, where there is none."""
        if self._rows is None:
            return np.empty((0, *like[1]), like[0])
        return self._rows[: self._count]


_Key = tuple[tuple[str, tuple[int, ...], str], ...]
