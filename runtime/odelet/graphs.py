"""Steps taken by an ONNX step graph, with its state in buffers that are bound once.

The law here: between two steps nothing is allocated and nothing but scalars is copied to Python.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort

from odelet.arrays import configured, march_along, settings
from odelet.backend import NUMPY
from odelet.card import SolveCard
from odelet.control import Control
from odelet.drive import (
    DEFAULT_MAX_STEPS,
    Array,
    Ends,
    Run,
    direction_of,
    solution_arrays,
    solve_adaptive,
)
from odelet.march import March
from odelet.methods import METHODS
from odelet.scipy_solver import SciPy, Solved, solve_scipy
from odelet.solution import SolveStats
from odelet.state import Layout

_NUMPY_TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64}


class StepGraph:
    """A Stepper over a step graph.

    The state ping-pongs between two sets of buffers: a step reads one and writes the other, and accepting
    it only swaps their roles. On the CPU the buffers are numpy arrays that ONNX Runtime works on in place.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        y0: Array,
        k0: Array | None,
        outside: Mapping[str, Array],
        device: str,
        memory: Sequence[Array] = (),
        calls: int | None = None,
    ) -> None:
        self._session = session
        self._device = device
        types = {node.name: _NUMPY_TYPES.get(node.type) for node in session.get_inputs()}
        names = ("t", "h") if "h" in types else ("t", "t1")
        self._scalars = [(name, *self._scalar(types[name])) for name in names if name in types]
        self._places = [names.index(name) for name, *_ in self._scalars]
        pairs = {"y": "y1", "k": "k1"} if k0 is not None else {"y": "y1"}
        starts = {"y": y0, "k": k0} if k0 is not None else {"y": y0}
        starts |= {f"memory.{i}": np.asarray(x) for i, x in enumerate(memory)}
        pairs |= {f"memory.{i}": f"memory1.{i}" for i in range(len(memory))}
        # The start is copied: its memory may be the caller's own input, and steps write over it.
        self._states = {name: [self._buffer(x.copy()), self._buffer(np.empty_like(x))] for name, x in starts.items()}
        self._mid = self._buffer(np.empty_like(y0)) if k0 is not None else None
        self._ratio = np.zeros((), np.float64)
        self._calls, self._outputs = calls, {node.name for node in session.get_outputs()}
        self._told = {name: np.zeros((), np.int64) for name in ("calls", "failed") if name in self._outputs}
        self._slope = self._buffer(np.empty_like(y0)) if "k0" in self._outputs else None
        self._kept = {name: self._buffer(x) for name, x in outside.items() if name in types}
        self._bindings = [self._bind(turn, pairs, types) for turn in (0, 1)]
        self._turn = 0

    def _scalar(self, dtype: Any) -> tuple[Array, ort.OrtValue]:
        array = np.zeros((), dtype)
        return array, ort.OrtValue.ortvalue_from_numpy(array)

    def _buffer(self, x: Array) -> tuple[Array, ort.OrtValue]:
        """An array and the value that is bound for it: the same memory on the CPU, a copy elsewhere."""
        x = np.ascontiguousarray(x).reshape(x.shape)
        return x, ort.OrtValue.ortvalue_from_numpy(x, self._device, 0)

    def _bind(self, turn: int, pairs: Mapping[str, str], types: Mapping[str, Any]) -> Any:
        binding = self._session.io_binding()
        for name, (_, value) in self._kept.items():
            binding.bind_ortvalue_input(name, value)
        for name, _, value in self._scalars:
            binding.bind_ortvalue_input(name, value)
        for name, output in pairs.items():
            if name in types:
                binding.bind_ortvalue_input(name, self._states[name][turn][1])
            binding.bind_ortvalue_output(output, self._states[name][1 - turn][1])
        for name, array in self._told.items():
            binding.bind_ortvalue_output(name, ort.OrtValue.ortvalue_from_numpy(array))
        if self._slope is not None:
            binding.bind_ortvalue_output("k0", self._slope[1])
        if self._mid is not None:
            binding.bind_ortvalue_output("mid", self._mid[1])
            binding.bind_ortvalue_output("ratio", ort.OrtValue.ortvalue_from_numpy(self._ratio))
        return binding

    def attempt(self, t: float, h: float) -> float:
        binding = self._bindings[self._turn]
        given = (t, h)
        for place, (name, array, value) in zip(self._places, self._scalars, strict=True):
            array[...] = given[place]
            if self._device != "cpu":
                # A scalar bound for another device was copied there when it was bound.
                binding.bind_ortvalue_input(name, value)
        self._session.run_with_iobinding(binding)
        return float(self._ratio)

    def accept(self) -> None:
        self._turn = 1 - self._turn

    def walk(self, t: float, t1: float) -> tuple[int, bool]:
        """A step of a fixed-step method; see `odelet.march.Walker`."""
        self.attempt(t, t1)
        self.accept()
        calls = int(self._told["calls"]) if "calls" in self._told else self._calls
        assert calls is not None
        return calls, "failed" in self._told and bool(self._told["failed"])

    def ends(self) -> Ends:
        # After `accept` the roles are swapped: the turn's own buffers hold the end of the step.
        after, before = self._turn, 1 - self._turn
        y0, y1 = (self._array(self._states["y"][side]) for side in (before, after))
        if self._mid is None:
            return Ends(y0, y1, k0=None if self._slope is None else self._array(self._slope))
        k0, k1 = (self._array(self._states["k"][side]) for side in (before, after))
        return Ends(y0, y1, self._array(self._mid), k0, k1)

    def _array(self, buffer: tuple[Array, ort.OrtValue]) -> Array:
        return buffer[0] if self._device == "cpu" else buffer[1].numpy()


def drive_solve(
    solve: SolveCard,
    field: ort.InferenceSession,
    step: ort.InferenceSession | None,
    values: Mapping[str, Array],
    *,
    rtol: float | None = None,
    atol: float | None = None,
    max_steps: int | None = None,
    device: str = "cpu",
) -> tuple[list[Array], SolveStats]:
    """Solve with the loop outside the graph.

    values: the arrays that the card's drive entry names. rtol, atol, max_steps: instead of the card's.
    Returns the solution, (times, *shape) for each part of the state, and what the solve did. Raises
    InputError when the times are not strictly monotone.
    """
    names = solve.drive
    assert names is not None
    t = values[names.t]
    parts = [values[name] for name in names.y0]
    direction = direction_of(t, f"solve {solve.index} ({solve.source}): t")
    layout = Layout.of(parts)
    row = layout.pack(parts, xp=NUMPY)
    outside = {name: values[name] for name in names.captured}
    outside |= {f"shape.{i}": np.array(part.shape, np.int64) for i, part in enumerate(parts)}
    method = METHODS[solve.method]
    tolerances = (solve.rtol if rtol is None else rtol, solve.atol if atol is None else atol)
    evaluations = solve.evaluations
    unconverged = None
    if method.adaptive:
        limit = max_steps if max_steps is not None else solve.max_steps or DEFAULT_MAX_STEPS
        assert step is not None
        run = _adaptive(solve, field, step, row, t, layout, outside, tolerances, limit, direction, device)
        done: Run | March | Solved = run
        steps, accepted = run.steps, run.accepted
        called = None if evaluations is None else evaluations.start + evaluations.step * steps
    elif method.fixed:
        assert step is not None
        marched = _fixed(solve, field, step, row, t, values, outside, direction, device)
        done, steps, accepted, called = marched, marched.steps, marched.steps, marched.evaluations
        unconverged = marched.unconverged
    else:
        own, _ = configured(method, names.options)
        assert isinstance(own, SciPy)
        absolute, relative = tolerances[1] or 0, tolerances[0] or 0
        slope = _slope_of(field, outside)
        done = solved = solve_scipy(slope, own, row, t, direction=direction, rtol=relative, atol=absolute)
        steps, accepted, called = None, None, solved.evaluations
    stats = SolveStats(
        index=solve.index,
        method=solve.method,
        form=solve.form,
        steps=steps,
        accepted=accepted,
        rejected=None if steps is None or accepted is None else steps - accepted,
        evaluations=called,
        status=done.status,
        time=done.time,
        source=solve.source,
        unconverged=unconverged,
    )
    return solution_arrays(done.rows, [part.shape for part in parts]), stats


def _slope_of(field: ort.InferenceSession, outside: Mapping[str, Array]) -> Callable[[Any, Array], Array]:
    """dy/dt on rows (1, n), by a field graph."""
    inputs = {node.name for node in field.get_inputs()}

    def slope(time: Any, y: Array) -> Array:
        feeds = {"t": np.asarray(time, y.dtype), "y": y, **outside}
        (k,) = field.run(["k"], {name: value for name, value in feeds.items() if name in inputs})
        return np.asarray(k)

    return slope


def _fixed(
    solve: SolveCard,
    field: ort.InferenceSession,
    step: ort.InferenceSession,
    row: Array,
    t: Array,
    values: Mapping[str, Array],
    outside: Mapping[str, Array],
    direction: float,
    device: str,
) -> March:
    names = solve.drive
    assert names is not None
    options = names.options if names.grid is None else {**names.options, "grid_constructor": names.grid}
    method, grid = configured(METHODS[solve.method], options)
    memory = method.start(row, xp=NUMPY)
    walker = StepGraph(step, row, None, outside, device, memory, method.calls)
    given = None if names.grid is None else values[names.grid]
    return march_along(walker, _slope_of(field, outside), method, grid, row, t, direction, given)


def _adaptive(
    solve: SolveCard,
    field: ort.InferenceSession,
    step: ort.InferenceSession,
    row: Array,
    t: Array,
    layout: Layout,
    outside: Mapping[str, Array],
    tolerances: Sequence[float | None],
    max_steps: int,
    direction: float,
    device: str,
) -> Run:
    tableau = METHODS[solve.method].tableau  # type: ignore[attr-defined]
    assert solve.drive is not None
    control: Control = settings(Control, solve.drive.options, solve.method)
    rtol, atol = (np.float64(tolerance or 0) for tolerance in tolerances)
    scalars = {"rtol": np.asarray(rtol), "atol": np.asarray(atol)}
    return solve_adaptive(
        _slope_of(field, outside),
        lambda k0: StepGraph(step, row, k0, {**outside, **scalars}, device),
        row,
        t,
        order=tableau.order,
        control=control,
        rtol=rtol,
        atol=atol,
        layout=layout,
        direction=direction,
        max_steps=max_steps,
    )
