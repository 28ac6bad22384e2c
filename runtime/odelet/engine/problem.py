"""A driven solve as the card, the host graph and the caller pose it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from odelet.artifact.solve_card import SolveCard
from odelet.engine.adaptive_steps import SolveGraphs, run_field, run_graph
from odelet.engine.buffers import NUMPY_TYPES, Buffers, MakeBuffers, StepArrays, memory_of
from odelet.engine.sample_steps import shape_inputs
from odelet.errors import ArtifactError
from odelet.loops.adaptive import Points, direction_of
from odelet.loops.limits import Limits
from odelet.loops.recorder import Recording
from odelet.loops.trajectory import Time
from odelet.numerics.backend import NUMPY, NumpyArray
from odelet.numerics.control import Control
from odelet.numerics.events import Event
from odelet.numerics.state import Layout


@dataclass(frozen=True)
class Request:
    """What a caller asks of a solve.

    limits: when to give up. rtol, atol: a scalar array, or one number for each part of the state, in place of the
    card's, or None. events: to look for. dense: whether to keep the accepted steps. recording: receives all attempted
    steps, or None.
    """

    limits: Limits
    rtol: NumpyArray | None = None
    atol: NumpyArray | None = None
    events: Sequence[Event] = ()
    dense: bool = False
    recording: Recording | None = None

    def settled(self, solve: SolveCard, settings: Mapping[str, NumpyArray]) -> Request:
        """The request with the tolerances among the settings, and with the card's step limit if they have none."""
        limits = self.limits
        if "max_steps" not in settings and solve.max_steps is not None:
            limits = replace(limits, max_steps=solve.max_steps)
        if "max_evals" not in solve.settings:  # what a caller sets goes to the solves that take it
            limits = replace(limits, max_evals=None)
        return replace(self, limits=limits, rtol=settings.get("rtol"), atol=settings.get("atol"))


@dataclass(frozen=True)
class Problem:
    """A driven solve, with what the host graph gave for it.

    row: the first state, (1, n). parts: the shapes of its parts. t: output times, which run in `direction`, 1 or -1;
    an iteration has the single time 0. constants: the values that the solve's graphs read besides times and states, by
    name. values: all that the host graph gave, by name. device: where step buffers lie.
    """

    solve: SolveCard
    graphs: SolveGraphs
    row: NumpyArray
    parts: Sequence[tuple[int, ...]]
    t: NumpyArray
    constants: Mapping[str, NumpyArray]
    values: Mapping[str, NumpyArray]
    request: Request
    direction: float
    device: str
    make_buffers: MakeBuffers = Buffers

    @property
    def states(self) -> list[NumpyArray]:
        """The parts of the first state, in the model's shapes."""
        assert self.solve.drive is not None
        return [self.values[name] for name in self.solve.drive.y0]

    def step_buffers(self, arrays: StepArrays) -> Buffers:
        """The memory of the step graph."""
        step = self.graphs.step
        assert step is not None
        return self.make_buffers(step, arrays, memory_of(self.device))

    def slope(self, time: Time, y: NumpyArray) -> NumpyArray:
        """dy/dt on rows (1, n)."""
        return run_field(self.graphs.field, time, y, self.constants)

    def event(self, time: Time, y: NumpyArray) -> NumpyArray:
        """The values (events,) of the event functions that end the solve, of a row (1, n)."""
        session = self.graphs.event
        assert session is not None
        types = {node.name: NUMPY_TYPES.get(node.type) for node in session.get_inputs()}
        feeds = {"t": np.asarray(time, types.get("t")), "y": y, **self.constants}
        return run_graph(session, "c", feeds, shape=(None,))

    def tolerance(self, name: str) -> NumpyArray:
        """The caller's tolerance, or the card's: float64, a scalar array or one number for each part of the state."""
        exported = np.asarray(getattr(self.solve, name), np.float64)
        requested: NumpyArray | None = getattr(self.request, name)
        return exported if requested is None else np.broadcast_to(requested, exported.shape)


def ends_of(solve: SolveCard, values: Mapping[str, NumpyArray]) -> tuple[float | None, float | None]:
    """The first and the last output time of a driven solve, where they are known before it: an iteration has none, and
    a solve that ends at an event has no last one. values: those of its drive entry, by name."""
    names = solve.drive
    t = None if names is None or names.t is None else values[names.t]
    if names is None or t is None or not t.size:
        return None, None
    return float(t.flat[0]), float(t.flat[-1]) if names.event is None else None


def problem_of(
    solve: SolveCard,
    graphs: SolveGraphs,
    values: Mapping[str, NumpyArray],
    request: Request,
    *,
    device: str = "cpu",
    make_buffers: MakeBuffers = Buffers,
) -> Problem:
    """The problem that a driven solve poses for the values of its drive entry, by name.

    make_buffers: makes the memory of its steps. Raises InputError when its times are not finite and strictly monotone,
    and ArtifactError for values of shapes that no solve can have.
    """
    names = solve.drive
    assert names is not None
    _check_axes(solve, values)
    parts = [values[name] for name in names.y0]
    t = values[names.t] if names.t is not None else np.zeros(1)
    direction = direction_of(t, f"solve {solve.index} ({solve.source}): t")
    row = Layout.of(parts).pack(parts, xp=NUMPY)
    constants = {name: values[name] for name in names.captured} | shape_inputs(parts)
    shapes = [part.shape for part in parts]
    return Problem(solve, graphs, row, shapes, t, constants, values, request, direction, device, make_buffers)


def _check_axes(solve: SolveCard, values: Mapping[str, NumpyArray]) -> None:
    """Raise ArtifactError for times that are no row, and for a state of samples without an axis: a graph that states no
    shape, or another one, may have made them."""
    names = solve.drive
    assert names is not None
    rows = [name for name in (names.t, names.step_t, names.jump_t, names.grid) if name is not None]
    # The times of an SDE are constants of the graph.
    constant = rows if solve.brownian is not None else ()
    wrong = [name for name in rows if values[name].ndim != 1 or (name in constant and not values[name].size)]
    wrong += [name for name in names.y0 if solve.per_sample and not values[name].ndim]
    for name in wrong:
        raise ArtifactError(
            f"solve {solve.index} ({solve.source}): {name!r} has the shape {values[name].shape}, and the solve needs "
            f"{'a row' if name in rows else 'an axis of samples'}: export the model again"
        )


def control_settings(problem: Problem, control: Control) -> tuple[Control, dict[str, NumpyArray], Points]:
    """The settings of error control with the dtype of times, rtol and atol in it, and the times at which steps end.

    control: as the options of the solve give it.
    """
    names, values = problem.solve.drive, problem.values
    assert names is not None
    control = replace(control, dtype=np.promote_types(control.dtype, problem.row.dtype).name)
    points: dict[str, Any] = {
        name: values[key].tolist() for name, key in (("step_t", names.step_t), ("jump_t", names.jump_t)) if key
    }
    bounds = {name: problem.tolerance(name).astype(control.dtype) for name in ("rtol", "atol")}
    return control, bounds, Points(**points)
