"""Whether a driven solve can run: its card, the values made before it, and its graphs, compared with what drives it.

The law here: everything that a solve reads of its card, and every array that passes between the driver and a graph, is
checked before the first call, by names, dtypes and ranks; no array is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from odelet.artifact.brownian_card import BrownianCard
from odelet.artifact.solve_card import SolveCard
from odelet.engine.method_settings import MethodSettings, settings_of
from odelet.engine.port_shapes import PortShape, Role, check_port
from odelet.engine.sde_steps import motion_of
from odelet.engine.session import Graph, Port
from odelet.errors import ArtifactError, InputError
from odelet.loops.brownian import draw_shapes
from odelet.methods.fixed_point import Iteration, IterationState, initial_state
from odelet.methods.sde import SdeMethod
from odelet.numerics.backend import NUMPY
from odelet.numerics.grid import MOST_STEPS
from odelet.numerics.state import Layout

_FLOATS = ("float64", "float32", "float16")


def check_drive(solve: SolveCard, graphs: Mapping[str, Graph], available: Mapping[str, Port]) -> dict[str, Port]:
    """Return what a driven solve makes, by name. Raises ArtifactError naming the solve for what does not fit.

    graphs: by file name. available: the values that are there when the solve runs.
    """
    return _DriveCheck(solve, graphs, available).made()


class _DriveCheck:
    """The check of one solve; each part is a method."""

    def __init__(self, solve: SolveCard, graphs: Mapping[str, Graph], available: Mapping[str, Port]) -> None:
        assert solve.drive is not None, "the card has checked that a solve in the program has a drive entry"
        self._solve, self._names, self._graphs, self._available = solve, solve.drive, graphs, available
        try:
            self._settings: MethodSettings = settings_of(solve)
        except InputError as error:
            raise self._error(str(error)) from None
        self._timeless = isinstance(self._settings.method, Iteration)
        self._check_kind()
        self._check_tolerances()
        self._check_values()
        self._check_graphs()

    def _error(self, message: str) -> ArtifactError:
        return ArtifactError(f"solve {self._solve.index}: {message}")

    def _need(self, condition: bool, message: str) -> None:
        if not condition:
            raise self._error(message)

    def _check_kind(self) -> None:
        """The method, and the entries that go with its kind."""
        solve, names, (method, control, grid) = self._solve, self._names, self._settings
        goes = f"{solve.method} does not go with its drive entry; export it again"
        self._need(self._timeless == (names.field is None), goes)
        by_graph = method.adaptive or method.fixed or method.stochastic or self._timeless
        self._need((names.step is not None) == by_graph, goes)
        if control is None:
            for key in ("start", "step_t", "jump_t"):
                self._need(getattr(names, key) is None, f"it names {key}, which {solve.method} does not have")
        else:
            started = names.start is not None or control.first_step is not None
            self._need(started, "it names neither a first_step nor a graph that estimates one")
        constructed = grid is not None and grid.constructed
        self._need(constructed == (names.grid is not None), "its grid is constructed, and named, or neither")
        if grid is not None and grid.steps is not None:
            self._need(grid.steps <= MOST_STEPS, f"its grid has {grid.steps} steps, more than {MOST_STEPS}")
        self._need(names.batched is None or solve.per_sample, "it names batched values, and solves no samples alone")
        batched = set(names.batched or ()) - set(names.captured)
        self._need(not batched, f"its batched values {sorted(batched)} are not captured")
        if names.event is not None:
            stepped = method.adaptive or (grid is not None and grid.step_size is not None)
            self._need(stepped and not solve.per_sample, f"{solve.method}, so set, cannot end at an event")

    def _check_tolerances(self) -> None:
        """That the method has the tolerances that it reads."""
        solve, (method, control, grid) = self._solve, self._settings
        for key in ("rtol", "atol"):
            value = getattr(solve, key)
            if isinstance(value, tuple):
                parts = len(self._names.y0)
                self._need(len(value) == parts, f"{key} has {len(value)} numbers for {parts} parts of the state")
            needed = (
                control is not None
                or (grid is None and not method.fixed)
                or (key == "atol" and self._names.event is not None)
            )
            self._need(value is not None or not needed, f"it has no {key}, which {solve.method} reads")
            single = self._names.event is not None or not (method.adaptive or method.fixed or self._timeless)
            self._need(not (single and isinstance(value, tuple)), f"{key} must be one number for {solve.method}")

    def _check_values(self) -> None:
        """The values that are made before the solve, and the dtypes of its state and of its times."""
        names = self._names
        motion = self._solve.brownian
        sde = () if motion is None else (*motion.inputs, *motion.memory)
        for name in (names.t, *names.y0, *names.captured, names.step_t, names.jump_t, names.grid, *sde):
            self._need(name is None or name in self._available, f"it needs {name!r}, which is made by no earlier step")
        states = [self._available[name] for name in names.y0]
        self._need(states[0].dtype in _FLOATS, f"its state {names.y0[0]!r} is {states[0].dtype}; expected a float")
        self._state = states[0].dtype
        for name, port in zip(names.y0, states, strict=True):
            self._need(port.dtype == self._state, f"its state {name!r} is {port.dtype}, and another part {self._state}")
        self._time = "float64"
        if names.t is not None:
            self._time = self._available[names.t].dtype
            pair = 2 if names.event is not None else None
            self._check_value(names.t, PortShape(_FLOATS, (pair,)))
        for key in (names.step_t, names.jump_t):
            if key is not None:
                self._check_value(key, PortShape(_FLOATS, (None,)))
        if names.grid is not None:
            self._check_value(names.grid, PortShape((self._time,), (None,)))
        if motion is not None:
            self._check_motion(motion)

    def _check_motion(self, motion: BrownianCard) -> None:
        """The noise of an SDE, and what its first step remembers."""
        method = self._settings.method
        assert isinstance(method, SdeMethod)
        self._need(len(self._names.y0) == 1, "an SDE has a state of one part")
        grid = self._settings.grid
        counted = grid is None or grid.constructed or grid.steps is not None
        self._need(counted, "an SDE of fixed steps has a grid, or a number of steps, as its noise has")
        rows = self._available[self._names.y0[0]].shape
        self._need(not rows or len(rows) == 2, f"its state has {len(rows)} axes; an SDE has a table")
        if method.step_doubling:
            self._check_value(motion.inputs[0], PortShape(("int64",), (None,)))
        else:
            for name, shape in zip(motion.inputs, draw_shapes(method, motion.channels).values(), strict=True):
                self._check_value(name, PortShape((self._state,), (None, None, *shape)))
        for name, remembered in zip(motion.memory, self._memory_shapes(), strict=True):
            self._check_value(name, remembered)

    def _memory_shapes(self) -> list[PortShape]:
        """The shapes of what a step of an SDE hands to the next: the drift, the diffusion and a state."""
        method, motion = self._settings.method, self._solve.brownian
        assert isinstance(method, SdeMethod) and motion is not None
        table = PortShape((self._state,), (None, None))
        matrix = table if motion.noise == "diagonal" else PortShape((self._state,), (None, None, motion.channels))
        return [matrix if name == "g" else table for name in method.memory]

    def _check_value(self, name: str, expected: PortShape) -> None:
        port = self._available[name]
        self._need(expected.fits(port, stated=False), f"{name!r} is {port}; expected {expected}")

    def _check_graphs(self) -> None:
        names = self._names
        event = names.event.graph if names.event is not None else None
        step = self._turn if self._timeless else self._adaptive_step if self._settings.control else self._fixed_step
        roles = ((names.field, self._field), (names.step, step), (names.start, self._start), (event, self._event))
        for file, role in roles:
            if file is not None:
                self._check_graph(self._graphs[file], role())

    def _check_graph(self, graph: Graph, role: Role) -> None:
        known = {**self._constants(), **role.feeds}
        for name, port in graph.inputs.items():
            if name not in known:
                raise ArtifactError(f"{graph.file}: it needs {name!r}, which the driver does not have")
            check_port(f"{graph.file}: the input {name!r}", port, known[name], stated=True)
        for name, shape in role.needs.items():
            if name not in graph.outputs:
                raise ArtifactError(f"{graph.file}: it has no output {name!r}, which the driver needs")
            check_port(f"{graph.file}: the output {name!r}", graph.outputs[name], shape, stated=False)
        for name, shape in role.optional.items():
            if name in graph.outputs:
                check_port(f"{graph.file}: the output {name!r}", graph.outputs[name], shape, stated=False)

    def _constants(self) -> dict[str, PortShape]:
        """What every graph of the solve may take: the captured values, and the shapes of the parts."""
        ports = {name: self._available[name] for name in self._names.captured}
        values = {name: PortShape((port.dtype,), port.shape) for name, port in ports.items()}
        ranks = [len(self._available[name].shape) for name in self._names.y0]
        return values | {f"shape.{i}": PortShape(("int64",), (rank,)) for i, rank in enumerate(ranks)}

    @property
    def _row(self) -> PortShape:
        """The state, and what is like it: its size is known where those of all parts are."""
        sizes = [self._available[name].shape for name in self._names.y0]
        known = [size for shape in sizes for size in shape if size is not None]
        whole = len(known) == sum(map(len, sizes)) and all(sizes)
        return PortShape(
            (self._state,), (1, sum(math.prod(size or 0 for size in shape) for shape in sizes) if whole else None)
        )

    @property
    def _lanes(self) -> tuple[int | None, ...]:
        """The shape of times, lengths and ratios."""
        return (None,) if self._solve.per_sample else ()

    def _tolerance_feeds(self, dtype: str) -> dict[str, PortShape]:
        values = {key: getattr(self._solve, key) for key in ("rtol", "atol")}
        return {key: PortShape((dtype,), (len(x),) if isinstance(x, tuple) else ()) for key, x in values.items()}

    def _field(self) -> Role:
        # The drift of an SDE takes times as they are given, and a field those of the state's dtype.
        dtype = self._time if self._settings.method.stochastic else self._state
        return Role({"t": PortShape((dtype,), self._lanes), "y": self._row}, {"k": self._row})

    def _event(self) -> Role:
        t = PortShape(("float64", "float32"), ())
        return Role({"t": t, "y": self._row}, {"c": PortShape(_FLOATS, (None,))})

    def _numbers(self) -> str:
        """The dtype of times in a solve with error control."""
        control = self._settings.control
        assert control is not None
        return str(np.promote_types(control.dtype, self._state))

    def _start(self) -> Role:
        dtype = self._numbers()
        number = PortShape((dtype,), self._lanes)
        feeds = {"t": number, "direction": PortShape((dtype,), ()), "y": self._row, "k": self._row}
        return Role({**feeds, **self._tolerance_feeds(dtype)}, {"h": number})

    def _adaptive_step(self) -> Role:
        dtype = self._numbers()
        number = PortShape((dtype,), self._lanes)
        feeds = {**dict.fromkeys(("t", "t1", "h"), number), "y": self._row, "k": self._row}
        needs = {**dict.fromkeys(("y1", "k1", "mid"), self._row), "ratio": number}
        return Role({**feeds, **self._tolerance_feeds(dtype)}, needs)

    def _fixed_step(self) -> Role:
        method, _, grid = self._settings
        if isinstance(method, SdeMethod):
            return self._sde_step(method)
        assert grid is not None
        # Times are written into the memory of the graph's own dtype.
        time, whole = PortShape(("float64", "float32"), ()), PortShape(("int64",), ())
        memory = [np.asarray(x) for x in method.initial_memory(self._two_numbers(), xp=NUMPY)]
        shapes = [PortShape((self._state,), (len(x), None)) if x.ndim else whole for x in memory]
        feeds = {"t": time, "t1": time, "y": self._row, **{f"memory.{i}": x for i, x in enumerate(shapes)}}
        needs = {"y1": self._row, **{f"memory1.{i}": x for i, x in enumerate(shapes)}}
        needs |= {"k0": self._row} if grid.reads_cubics else {}
        needs |= {"calls": whole} if method.evaluations is None else {}
        return Role(feeds, needs, {"calls": whole, "failed": whole, "k0": self._row})

    def _sde_step(self, method: SdeMethod) -> Role:
        motion = self._solve.brownian
        assert motion is not None
        time, shapes = PortShape((self._time,), ()), self._memory_shapes()
        feeds = {"t": time, "t1": time, "y": self._row, **{f"memory.{i}": x for i, x in enumerate(shapes)}}
        drawn = draw_shapes(method, motion.channels).values()
        feeds |= {name: PortShape((self._state,), (None, *x)) for name, x in zip(motion_of(method), drawn, strict=True)}
        return Role(feeds, {"y1": self._row, **{f"memory1.{i}": x for i, x in enumerate(shapes)}})

    def _turn(self) -> Role:
        method = self._settings.method
        assert isinstance(method, Iteration)
        y = self._two_numbers()
        first = initial_state(method, y, layout=Layout.of([y]), xp=NUMPY)
        number = PortShape((self._state,), self._lanes)
        rows = [PortShape((self._state,), (len(x), None)) for x in first.memory]
        shapes = [self._row, *(number if name in _NUMBERS else self._row for name in _FIELDS[1:]), *rows]
        feeds = {"y": shapes[0], **{f"memory.{i}": x for i, x in enumerate(shapes[1:])}}
        needs = {"y1": shapes[0], **{f"memory1.{i}": x for i, x in enumerate(shapes[1:])}}
        return Role({**feeds, **self._tolerance_feeds(self._state)}, needs)

    def _two_numbers(self) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        """A state (1, 2), for the shapes of what a method remembers."""
        return np.zeros((1, 2))

    def made(self) -> dict[str, Port]:
        """The parts of the solution and the time of the event."""
        names = self._names
        first: tuple[int | None, ...] = () if self._timeless else (None,)
        parts = [(*first, *self._available[name].shape) for name in names.y0]
        solution = {name: Port(self._state, shape) for name, shape in zip(names.solution, parts, strict=True)}
        return solution | ({names.event.time: Port(self._time, ())} if names.event is not None else {})


_FIELDS = IterationState._fields[:-1]
_NUMBERS = ("excess", "least_excess", "turns")
