"""Steps taken by an ONNX step graph, with its state in buffers that are bound once.

The law here: between two steps nothing is allocated and nothing but scalars is copied to Python.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnxruntime as ort

from odelet.arrays import settings
from odelet.attempt import first_slope, slope_after_jump
from odelet.backend import NUMPY
from odelet.card import SolveCard
from odelet.control import Control
from odelet.drive import (
    AdaptiveSolve,
    Array,
    Limits,
    Points,
    direction_of,
    integrate_adaptive,
    integrate_fixed,
    solution_arrays,
)
from odelet.errors import InputError
from odelet.events import Event
from odelet.grid import Grid
from odelet.solution import SolveStats
from odelet.state import Layout
from odelet.tableau import TABLEAUS
from odelet.trajectory import Ends
from odelet.watch import Watched, integrate_until_event, march_until_event

_NUMPY_TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64}
_SCALARS = ("t", "t1", "h")


class Buffers:
    """The bound memory of a step graph.

    The state ping-pongs between two sets of buffers: a step reads one and writes the other, and accepting
    it only swaps their roles. On the CPU the buffers are numpy arrays that ONNX Runtime works on in place.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        starts: Mapping[str, Array],
        written: Mapping[str, Array],
        kept: Mapping[str, Array],
        device: str,
    ) -> None:
        self._session = session
        self._device = device
        types = {node.name: _NUMPY_TYPES.get(node.type) for node in session.get_inputs()}
        self._scalars = [
            (place, name, *self._scalar(types[name])) for place, name in enumerate(_SCALARS) if name in types
        ]
        # The start is copied: its memory may be the caller's own input, and steps write over it.
        self._states = {name: [self._buffer(x.copy()), self._buffer(np.empty_like(x))] for name, x in starts.items()}
        self._written = {name: self._buffer(x) for name, x in written.items()}
        self._kept = {name: self._buffer(x) for name, x in kept.items() if name in types}
        self._bindings = [self._bind(turn, types) for turn in (0, 1)]
        self._turn = 0

    def _scalar(self, dtype: Any) -> tuple[Array, ort.OrtValue]:
        array = np.zeros((), dtype)
        return array, ort.OrtValue.ortvalue_from_numpy(array)

    def _buffer(self, x: Array) -> tuple[Array, ort.OrtValue]:
        """An array and the value that is bound for it: the same memory on the CPU, a copy elsewhere."""
        x = np.ascontiguousarray(x).reshape(x.shape)
        # Scalars that the driver reads stay in its own memory on every device.
        return x, ort.OrtValue.ortvalue_from_numpy(x, self._device if x.ndim else "cpu", 0)

    def _bind(self, turn: int, types: Mapping[str, Any]) -> Any:
        binding = self._session.io_binding()
        for name, (_, value) in self._kept.items():
            binding.bind_ortvalue_input(name, value)
        for _, name, _, value in self._scalars:
            binding.bind_ortvalue_input(name, value)
        for name, pair in self._states.items():
            if name in types:
                binding.bind_ortvalue_input(name, pair[turn][1])
            binding.bind_ortvalue_output(f"{name}1", pair[1 - turn][1])
        for name, (_, value) in self._written.items():
            binding.bind_ortvalue_output(name, value)
        return binding

    def run(self, *scalars: float) -> None:
        """Attempt a step at scalars in the order of `_SCALARS`."""
        binding = self._bindings[self._turn]
        for place, name, array, value in self._scalars:
            array[...] = scalars[place]
            if self._device != "cpu":
                # A scalar bound for another device was copied there when it was bound.
                binding.bind_ortvalue_input(name, value)
        self._session.run_with_iobinding(binding)

    def swap(self) -> None:
        """Make what the step wrote the state."""
        self._turn = 1 - self._turn

    def state(self, name: str, *, before: bool = False) -> Array:
        """The state, or the one before the last swap."""
        return self._array(self._states[name][1 - self._turn if before else self._turn])

    def written(self, name: str) -> Array:
        return self._array(self._written[name])

    def set(self, name: str, x: Array) -> None:
        """Replace the state."""
        array, value = self._states[name][self._turn]
        array[...] = x
        if self._device != "cpu":
            value.update_inplace(array)

    def _array(self, buffer: tuple[Array, ort.OrtValue]) -> Array:
        return buffer[0] if self._device == "cpu" or not buffer[0].ndim else buffer[1].numpy()


class AdaptiveGraph:
    """A Stepper over the graphs of an adaptive method: the field, the first step's length, and one step."""

    def __init__(self, graphs: Graphs, y0: Array, kept: Mapping[str, Array], direction: float, device: str) -> None:
        self._graphs, self._kept, self._direction = graphs, kept, direction
        self._y0, self._device = y0, device
        self._buffers: Buffers | None = None
        self._jumped: Array | None = None

    def begin(self, t: float) -> None:
        k0 = first_slope(self._slope, np.float64(t), self._y0, xp=NUMPY)
        types = {node.name: _NUMPY_TYPES.get(node.type) for node in self._graphs.step.get_outputs()}
        written = {"mid": np.empty_like(self._y0), "ratio": np.zeros((), types["ratio"])}
        self._buffers = Buffers(self._graphs.step, {"y": self._y0, "k": k0}, written, self._kept, self._device)
        self._ratio = self._buffers.written("ratio")

    def _slope(self, t: Any, y: Array) -> Array:
        return _run(self._graphs.field, "k", {"t": np.asarray(t, y.dtype), "y": y, **self._kept})

    def first_length(self, t: float) -> float:
        assert self._buffers is not None and self._graphs.start is not None
        number = self._ratio.dtype
        feeds = {"t": np.asarray(t, number), "direction": np.asarray(self._direction, number)}
        feeds |= {"y": self._y0, "k": self._buffers.state("k"), **self._kept}
        return float(_run(self._graphs.start, "h", feeds))

    def attempt(self, t: float, t1: float, h: float) -> float:
        self._buffers.run(t, t1, h)  # type: ignore[union-attr]
        return float(self._ratio)

    def accept(self, jump: float | None) -> None:
        buffers = self._buffers
        assert buffers is not None
        buffers.swap()
        self._jumped = None
        if jump is not None:
            # The slope at the end of the step is still read from; the new one is for the next step.
            self._jumped = buffers.state("k").copy()
            y = buffers.state("y")
            with np.errstate(all="ignore"):
                time = np.float64(jump)
                buffers.set("k", slope_after_jump(self._slope, time, y, direction=self._direction, xp=NUMPY))

    def restart(self, t: float, y: Array) -> None:
        buffers = self._buffers
        assert buffers is not None
        buffers.set("y", y)
        buffers.set("k", first_slope(self._slope, np.float64(t), y, xp=NUMPY))

    def ends(self) -> Ends:
        buffers = self._buffers
        assert buffers is not None
        k1 = buffers.state("k") if self._jumped is None else self._jumped
        before = [buffers.state(name, before=True) for name in ("y", "k")]
        return Ends(before[0], buffers.state("y"), buffers.written("mid"), before[1], k1)


class FixedGraph:
    """A FixedStepper over a step graph."""

    def __init__(self, step: ort.InferenceSession, y0: Array, kept: Mapping[str, Array], device: str) -> None:
        self._buffers = Buffers(step, {"y": y0}, {}, kept, device)

    def attempt(self, t: float, t1: float) -> float:
        self._buffers.run(t, t1)
        return 0.0

    def accept(self) -> None:
        self._buffers.swap()

    def ends(self) -> Ends:
        return Ends(self._buffers.state("y", before=True), self._buffers.state("y"))


def _run(session: ort.InferenceSession, output: str, feeds: Mapping[str, Any]) -> Array:
    """One output of a graph, from those of the feeds that it takes."""
    (value,) = session.run([output], {node.name: feeds[node.name] for node in session.get_inputs()})
    return np.asarray(value)


@dataclass(frozen=True)
class Graphs:
    """The sessions of a driven solve. start: where the length of the first step is estimated. event: where the
    zero of a function ends the solve."""

    field: ort.InferenceSession
    step: ort.InferenceSession
    start: ort.InferenceSession | None = None
    event: ort.InferenceSession | None = None


@dataclass(frozen=True)
class Request:
    """What a caller asks of a solve: rtol and atol (a scalar array, or one number for each part) in place of the
    card's, or None; when to give up; what to watch for, and whether to keep the accepted steps."""

    limits: Limits
    rtol: Array | None = None
    atol: Array | None = None
    events: Sequence[Event] = ()
    dense: bool = False


def drive_solve(
    solve: SolveCard, graphs: Graphs, values: Mapping[str, Array], request: Request, *, device: str = "cpu"
) -> tuple[list[Array], SolveStats, Watched | None]:
    """Solve with the loop outside the graph.

    values: the arrays that the card's drive entry names. Returns the solution, (times, *shape) for each part of
    the state, and the time of the event that ended it, if it ends at one; what the solve did; and what was
    watched, if anything was. Raises InputError when the times are not strictly monotone.
    """
    names = solve.drive
    assert names is not None
    t = values[names.t]
    parts = [values[name] for name in names.y0]
    direction = direction_of(t, f"solve {solve.index} ({solve.source}): t")
    row = Layout.of(parts).pack(parts, xp=NUMPY)
    kept = {name: values[name] for name in names.captured}
    kept |= {f"shape.{i}": np.array(part.shape, np.int64) for i, part in enumerate(parts)}
    found: list[Array] = []
    watched: Watched | None = None
    adaptive = TABLEAUS[solve.method].adaptive
    if request.events or request.dense:
        if not adaptive or graphs.event is not None:
            why = "ends at an event of its own" if adaptive else f"takes the fixed steps of {solve.method}"
            raise InputError(f"solve {solve.index} ({solve.source}) {why}; events and dense are for other solves")
        layout = Layout.of(parts)
        watched = Watched.of(request.events, layout, t, row, single=len(parts) == 1)
    if adaptive:
        begin = _begun(solve, graphs, row, t, kept, values, request, direction, device)
    if graphs.event is not None:
        atol = solve.atol if request.atol is None else request.atol.item()
        assert isinstance(atol, float)
        at_event = _event_values(graphs.event, kept)
        if adaptive:
            run, time = integrate_until_event(begin, row, t, at_event, atol=atol)
        else:
            grid = settings(Grid, names.options, solve.method)
            steps = FixedGraph(graphs.step, row, kept, device)
            run, time = march_until_event(steps, row, t, at_event, step_size=grid.step_size, atol=atol)
        found.append(np.asarray(time, t.dtype))
    elif adaptive:
        run = integrate_adaptive(begin, row, t) if watched is None else watched.integrate(begin, row, t)
    else:
        grid = settings(Grid, names.options, solve.method)
        points = grid.points(t, direction=t.dtype.type(direction), xp=NUMPY)
        run = integrate_fixed(FixedGraph(graphs.step, row, kept, device), row, t, points, direction=direction)
    evaluations = run.evaluations
    if evaluations is None and solve.evaluations is not None:
        evaluations = solve.evaluations.start + solve.evaluations.step * run.steps
    stats = SolveStats(
        index=solve.index,
        method=solve.method,
        form=solve.form,
        steps=run.steps,
        accepted=run.accepted,
        rejected=run.steps - run.accepted,
        evaluations=evaluations,
        status=run.status,
        time=run.time,
        source=solve.source,
    )
    return [*solution_arrays(run.rows, [part.shape for part in parts]), *found], stats, watched


def _event_values(event: ort.InferenceSession, kept: Mapping[str, Array]) -> Callable[[Any, Array], Array]:
    """The values of an event graph, of a time and a row."""
    numbers = {node.name: _NUMPY_TYPES.get(node.type) for node in event.get_inputs()}

    def values(t: Any, row: Array) -> Array:
        return _run(event, "c", {"t": np.asarray(t, numbers.get("t")), "y": np.ascontiguousarray(row), **kept})

    return values


def _begun(
    solve: SolveCard,
    graphs: Graphs,
    row: Array,
    t: Array,
    kept: Mapping[str, Array],
    values: Mapping[str, Array],
    request: Request,
    direction: float,
    device: str,
) -> Callable[[], AdaptiveSolve]:
    """What begins an adaptive solve."""
    names, tableau = solve.drive, TABLEAUS[solve.method]
    assert names is not None
    control: Control = settings(Control, names.options, solve.method)
    control = replace(control, dtype=np.promote_types(control.dtype, row.dtype).name)
    points = Points(
        **{name: values[key].tolist() for name, key in (("step_t", names.step_t), ("jump_t", names.jump_t)) if key}
    )
    asked = {"rtol": request.rtol, "atol": request.atol}
    number = np.dtype(control.dtype)
    own = {name: np.asarray(getattr(solve, name), number) for name in asked}
    tolerances = {
        name: own[name] if value is None else np.broadcast_to(value.astype(number), own[name].shape)
        for name, value in asked.items()
    }
    return lambda: AdaptiveSolve(
        AdaptiveGraph(graphs, row, {**kept, **tolerances}, direction, device),
        float(t[0]),
        direction=direction,
        order=tableau.order,
        stages=tableau.stages,
        control=control,
        limits=request.limits,
        points=points,
    )
