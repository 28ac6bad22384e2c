"""Solves driven over ONNX graphs: steppers over the graphs of a solve, and which loop drives them.

The law here: how a solve goes is decided by its loop (`drive`, `march`, `watch`, `scipy_solver`), not here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnxruntime as ort

from odelet.attempt import first_slope, slope_after_jump
from odelet.backend import NUMPY
from odelet.buffers import NUMPY_TYPES, Array, Buffers
from odelet.card import SolveCard
from odelet.control import Control
from odelet.drive import AdaptiveSolve, Limits, Points, Run, direction_of, integrate_adaptive, solution_arrays
from odelet.errors import InputError
from odelet.events import Event
from odelet.march import March, march_along
from odelet.methods import METHODS
from odelet.options import configured, settings
from odelet.scipy_solver import SciPy, Solved, solve_scipy
from odelet.solution import SolveStats
from odelet.state import Layout
from odelet.trajectory import Ends
from odelet.walk import FixedGraph
from odelet.watch import Watched, integrate_until_event, march_until_event


class AdaptiveGraph:
    """A Stepper over the graphs of an adaptive method: the field, the first step's length, and one step."""

    def __init__(self, graphs: Graphs, y0: Array, kept: Mapping[str, Array], direction: float, device: str) -> None:
        self._graphs, self._kept, self._direction = graphs, kept, direction
        self._y0, self._device = y0, device
        self._buffers: Buffers | None = None
        self._jumped: Array | None = None

    def begin(self, t: float) -> None:
        k0 = first_slope(self._slope, np.float64(t), self._y0, xp=NUMPY)
        assert self._graphs.step is not None
        types = {node.name: NUMPY_TYPES.get(node.type) for node in self._graphs.step.get_outputs()}
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


def _run(session: ort.InferenceSession, output: str, feeds: Mapping[str, Any]) -> Array:
    """One output of a graph, from those of the feeds that it takes."""
    (value,) = session.run([output], {node.name: feeds[node.name] for node in session.get_inputs()})
    return np.asarray(value)


@dataclass(frozen=True)
class Graphs:
    """The sessions of a driven solve. step: None for a solver that needs the field alone. start: where the length
    of the first step is estimated. event: where the zero of a function ends the solve."""

    field: ort.InferenceSession
    step: ort.InferenceSession | None = None
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

    def settled(self, solve: SolveCard, settings: Mapping[str, Array]) -> Request:
        """With the tolerances that were set, and the step limit of the card where none was."""
        limits = self.limits
        if "max_steps" not in settings and solve.max_steps is not None:
            limits = replace(limits, max_steps=solve.max_steps)
        return replace(self, limits=limits, rtol=settings.get("rtol"), atol=settings.get("atol"))


@dataclass(frozen=True)
class Problem:
    """A driven solve, with what the host graph gave for it. parts: the shapes of the state's."""

    solve: SolveCard
    graphs: Graphs
    row: Array
    parts: Sequence[tuple[int, ...]]
    t: Array
    kept: Mapping[str, Array]
    values: Mapping[str, Array]
    request: Request
    direction: float
    device: str

    def slope(self, time: Any, y: Array) -> Array:
        """dy/dt on rows (1, n)."""
        return _run(self.graphs.field, "k", {"t": np.asarray(time, y.dtype), "y": y, **self.kept})

    def event(self, time: Any, y: Array) -> Array:
        """The values of the event function that ends the solve, (events,)."""
        session = self.graphs.event
        assert session is not None
        types = {node.name: NUMPY_TYPES.get(node.type) for node in session.get_inputs()}
        return _run(session, "c", {"t": np.asarray(time, types.get("t")), "y": y, **self.kept})

    def tolerance(self, name: str) -> Any:
        """The card's, or what the caller asks for."""
        asked = getattr(self.request, name)
        own = np.asarray(getattr(self.solve, name), np.float64)
        return own if asked is None else np.broadcast_to(asked, own.shape)


def posed(
    solve: SolveCard, graphs: Graphs, values: Mapping[str, Array], request: Request, *, device: str = "cpu"
) -> Problem:
    """A solve with the arrays that its drive entry names. Raises InputError when its times turn back."""
    names = solve.drive
    assert names is not None
    t = values[names.t]
    parts = [values[name] for name in names.y0]
    direction = direction_of(t, f"solve {solve.index} ({solve.source}): t")
    row = Layout.of(parts).pack(parts, xp=NUMPY)
    kept = {name: values[name] for name in names.captured}
    kept |= {f"shape.{i}": np.array(part.shape, np.int64) for i, part in enumerate(parts)}
    shapes = [part.shape for part in parts]
    return Problem(solve, graphs, row, shapes, t, kept, values, request, direction, device)


def drive_solve(
    solve: SolveCard, graphs: Graphs, values: Mapping[str, Array], request: Request, *, device: str = "cpu"
) -> tuple[list[Array], SolveStats, Watched | None]:
    """Solve with the loop outside the graph.

    values: the arrays that the card's drive entry names. Returns the solution, (times, *shape) for each part of
    the state, and the time of the event that ended it, if it ends at one; what the solve did; and what was
    watched, if anything was. Raises InputError when the times are not strictly monotone.
    """
    problem = posed(solve, graphs, values, request, device=device)
    names, row, t = solve.drive, problem.row, problem.t
    assert names is not None
    method = METHODS[solve.method]
    watched: Watched | None = None
    if request.events or request.dense:
        if not method.adaptive or graphs.event is not None:
            why = "ends at an event of its own" if method.adaptive else f"does not control its error ({solve.method})"
            raise InputError(f"solve {solve.index} ({solve.source}) {why}; events and dense are for other solves")
        layout = Layout.of([values[name] for name in names.y0])
        watched = Watched.of(request.events, layout, t, row, single=len(problem.parts) == 1)
    found: list[Array] = []
    unconverged = None
    steps: int | None
    done: Run | March | Solved
    if method.adaptive:
        run, found = _adaptive(problem, watched)
        done, steps, accepted = run, run.steps, run.accepted
    elif method.fixed:
        marched, found = _fixed(problem)
        done, steps, accepted, unconverged = marched, marched.steps, marched.steps, marched.unconverged
    else:
        own, _ = configured(method, names.options)
        assert isinstance(own, SciPy)
        rtol, atol = (problem.tolerance(name).item() for name in ("rtol", "atol"))
        done = solve_scipy(problem.slope, own, row, t, direction=problem.direction, rtol=rtol, atol=atol)
        steps = accepted = None
    stats = stats_of(solve, done, steps, accepted, unconverged)
    return [*solution_arrays(done.rows, problem.parts), *found], stats, watched


def stats_of(
    solve: SolveCard, done: Run | March | Solved, steps: int | None, accepted: int | None, unconverged: int | None
) -> SolveStats:
    """What a driven solve did."""
    return SolveStats(
        index=solve.index,
        method=solve.method,
        form=solve.form,
        steps=steps,
        accepted=accepted,
        rejected=None if steps is None or accepted is None else steps - accepted,
        evaluations=done.evaluations,
        status=done.status,
        time=done.time,
        source=solve.source,
        unconverged=unconverged,
    )


def _adaptive(problem: Problem, watched: Watched | None) -> tuple[Run, list[Array]]:
    """The run, and the time of the event that ended it, if it ends at one."""
    row, t = problem.row, problem.t
    begin = begun(problem)
    if problem.graphs.event is not None:
        run, time = integrate_until_event(begin, row, t, problem.event, atol=problem.tolerance("atol").item())
        return run, [np.asarray(time, t.dtype)]
    return integrate_adaptive(begin, row, t) if watched is None else watched.integrate(begin, row, t), []


def begun(problem: Problem) -> Callable[[], AdaptiveSolve]:
    """What begins an adaptive solve."""
    solve, row, values = problem.solve, problem.row, problem.values
    names, method = solve.drive, METHODS[solve.method]
    assert names is not None and method.order is not None and method.calls is not None
    control: Control = settings(Control, names.options, solve.method)
    control = replace(control, dtype=np.promote_types(control.dtype, row.dtype).name)
    points = Points(
        **{name: values[key].tolist() for name, key in (("step_t", names.step_t), ("jump_t", names.jump_t)) if key}
    )
    tolerances = {name: problem.tolerance(name).astype(control.dtype) for name in ("rtol", "atol")}
    kept = {**problem.kept, **tolerances}
    order, calls = method.order, method.calls
    return lambda: AdaptiveSolve(
        AdaptiveGraph(problem.graphs, row, kept, problem.direction, problem.device),
        float(problem.t[0]),
        direction=problem.direction,
        order=order,
        calls=calls,
        control=control,
        limits=problem.request.limits,
        points=points,
    )


def walker_of(problem: Problem, method: Any) -> FixedGraph:
    """What takes the steps of a fixed-step method."""
    assert problem.graphs.step is not None
    memory = method.start(problem.row, xp=NUMPY)
    return FixedGraph(problem.graphs.step, problem.row, memory, problem.kept, method.calls, problem.device)


def _fixed(problem: Problem) -> tuple[March, list[Array]]:
    """The march, and the time of the event that ended it, if it ends at one."""
    solve, row, t = problem.solve, problem.row, problem.t
    names = solve.drive
    assert names is not None
    options = names.options if names.grid is None else {**names.options, "grid_constructor": names.grid}
    method, grid = configured(METHODS[solve.method], options)
    walker = walker_of(problem, method)
    if problem.graphs.event is not None:
        atol = problem.tolerance("atol").item()
        assert grid.step_size is not None
        marched, time = march_until_event(walker, method, row, t, problem.event, step_size=grid.step_size, atol=atol)
        return marched, [np.asarray(time, t.dtype)]
    given = None if names.grid is None else problem.values[names.grid]
    return march_along(walker, problem.slope, method, grid, row, t, problem.direction, given), []
