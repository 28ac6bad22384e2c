"""A driven solve as it is posed: what the card, the host graph and the caller say of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from odelet.artifact.solve_card import SolveCard
from odelet.engine.adaptive_steps import SolveGraphs, run_graph
from odelet.engine.buffers import NUMPY_TYPES, Buffers, memory_of
from odelet.loops.adaptive import Limits, Points, direction_of
from odelet.loops.options import settings_from
from odelet.loops.recorder import Recording
from odelet.numerics.backend import NUMPY, NumpyArray
from odelet.numerics.control import Control
from odelet.numerics.events import Event
from odelet.numerics.state import Layout


@dataclass(frozen=True)
class Request:
    """What a caller asks of a solve: rtol and atol (a scalar array, or one number for each part) in place of the
    card's, or None; when to give up; what to watch for, and whether to keep the accepted steps; where to record all
    steps that are tried, or None."""

    limits: Limits
    rtol: NumpyArray | None = None
    atol: NumpyArray | None = None
    events: Sequence[Event] = ()
    dense: bool = False
    recording: Recording | None = None

    def settled(self, solve: SolveCard, settings: Mapping[str, NumpyArray]) -> Request:
        """With the tolerances that were set, and the step limit of the card where none was."""
        limits = self.limits
        if "max_steps" not in settings and solve.max_steps is not None:
            limits = replace(limits, max_steps=solve.max_steps)
        return replace(self, limits=limits, rtol=settings.get("rtol"), atol=settings.get("atol"))


@dataclass(frozen=True)
class Problem:
    """A driven solve, with what the host graph gave for it. parts: the shapes of the state's."""

    solve: SolveCard
    graphs: SolveGraphs
    row: NumpyArray
    parts: Sequence[tuple[int, ...]]
    t: NumpyArray
    kept: Mapping[str, NumpyArray]
    values: Mapping[str, NumpyArray]
    request: Request
    direction: float
    device: str
    make_buffers: Callable[..., Buffers] = Buffers

    def bind(
        self,
        starts: Mapping[str, NumpyArray],
        written: Mapping[str, NumpyArray],
        kept: Mapping[str, NumpyArray],
        *,
        lanes: int | None = None,
    ) -> Buffers:
        """The memory of the step graph; see `Buffers`."""
        step = self.graphs.step
        assert step is not None
        return self.make_buffers(step, starts, written, kept, memory_of(self.device), lanes=lanes)

    def slope(self, time: Any, y: NumpyArray) -> NumpyArray:
        """dy/dt on rows (1, n)."""
        return run_graph(self.graphs.field, "k", {"t": np.asarray(time, y.dtype), "y": y, **self.kept})

    def event(self, time: Any, y: NumpyArray) -> NumpyArray:
        """The values of the event function that ends the solve, (events,)."""
        session = self.graphs.event
        assert session is not None
        types = {node.name: NUMPY_TYPES.get(node.type) for node in session.get_inputs()}
        return run_graph(session, "c", {"t": np.asarray(time, types.get("t")), "y": y, **self.kept})

    def tolerance(self, name: str) -> Any:
        """The card's, or what the caller asks for."""
        asked = getattr(self.request, name)
        own = np.asarray(getattr(self.solve, name), np.float64)
        return own if asked is None else np.broadcast_to(asked, own.shape)


def problem_of(
    solve: SolveCard,
    graphs: SolveGraphs,
    values: Mapping[str, NumpyArray],
    request: Request,
    *,
    device: str = "cpu",
    make_buffers: Callable[..., Buffers] = Buffers,
) -> Problem:
    """A solve with the arrays that its drive entry names. make_buffers: makes the memory of its steps. Raises
    InputError when its times turn back."""
    names = solve.drive
    assert names is not None
    parts = [values[name] for name in names.y0]
    t = values[names.t] if names.t is not None else np.zeros(1)
    direction = direction_of(t, f"solve {solve.index} ({solve.source}): t")
    row = Layout.of(parts).pack(parts, xp=NUMPY)
    kept = {name: values[name] for name in names.captured}
    kept |= {f"shape.{i}": np.array(part.shape, np.int64) for i, part in enumerate(parts)}
    shapes = [part.shape for part in parts]
    return Problem(solve, graphs, row, shapes, t, kept, values, request, direction, device, make_buffers)


def control_settings(problem: Problem) -> tuple[Control, dict[str, NumpyArray], Points]:
    """The settings of error control, the tolerances in the dtype of times, and where steps end."""
    solve, values = problem.solve, problem.values
    names = solve.drive
    assert names is not None
    control: Control = settings_from(Control, names.options, solve.method)
    control = replace(control, dtype=np.promote_types(control.dtype, problem.row.dtype).name)
    points = Points(
        **{name: values[key].tolist() for name, key in (("step_t", names.step_t), ("jump_t", names.jump_t)) if key}
    )
    return control, {name: problem.tolerance(name).astype(control.dtype) for name in ("rtol", "atol")}, points
