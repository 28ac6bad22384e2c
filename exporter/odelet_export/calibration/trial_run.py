"""Runs a model in numpy with some of its solves along given grids, by the graphs of its driven form.

The law here: the steps are computed by the same text as in a bounded graph, `odelet.numerics.grid_path`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from odelet.engine.driven import drive_solve
from odelet.engine.method_settings import settings_of
from odelet.engine.opening import Artifact
from odelet.engine.problem import Problem, Request, control_settings, problem_of
from odelet.engine.program import DriveSolve
from odelet.errors import InputError
from odelet.loops.ivp import odeint
from odelet.loops.limits import Limits
from odelet.methods.roster import METHODS
from odelet.numerics.backend import NUMPY, NumpyArray
from odelet.numerics.grid_path import error_ratios, interpolate, scaled_grid, take_steps
from odelet.numerics.rk import Field
from odelet.numerics.state import Layout
from odelet.numerics.tableau import Tableau
from odelet.status import Status
from odelet_export.calibration.data import CalibrationSamples, Inputs
from odelet_export.lowering.hole import Placed


@dataclass(frozen=True)
class Bounds:
    """The tolerances of a solve, and the method that they are for.

    number: the dtype of the times and the error ratios. rtol, atol: a scalar of that dtype, or a list with one scalar
    for each part of the state.
    """

    tableau: Tableau
    number: np.dtype[Any]
    rtol: Any
    atol: Any

    @property
    def tolerances(self) -> dict[str, Any]:
        """The tolerances rtol and atol by name."""
        return {"rtol": self.rtol, "atol": self.atol}


@dataclass(frozen=True)
class GridRun:
    """A solve along a grid. rows: the states (times, n) at output times. ratios: the error ratios (steps, samples)."""

    rows: NumpyArray
    ratios: NumpyArray


def run_along(
    field: Field,
    bounds: Bounds,
    t: NumpyArray,
    positions: NumpyArray,
    row: NumpyArray,
    layout: Layout,
    *,
    direction: float,
) -> GridRun:
    """Solve on numpy arrays along a grid.

    t: the output times (times,). positions: (steps + 1,), from 0 to 1. row: the state (1, n) at the start. layout: has
    a table of samples, where error ratios of samples are computed separately.
    """
    times = t.astype(bounds.number)
    steps = len(positions) - 1
    if len(t) == 1:
        return GridRun(row, np.zeros((1, _samples(layout))))
    points = scaled_grid(times, positions.astype(bounds.number), xp=NUMPY)
    with np.errstate(all="ignore"):
        path = take_steps(field, bounds.tableau, points, row, steps=steps, direction=direction, xp=NUMPY)
        ratios = error_ratios(path, **bounds.tolerances, layout=layout, xp=NUMPY)
        return GridRun(interpolate(path, points, times, xp=NUMPY), ratios)


def _samples(layout: Layout) -> int:
    return 1 if layout.table_shapes is None else int(layout.table_shapes[0][0])


def distances(rows: NumpyArray, others: NumpyArray, bounds: Bounds, layout: Layout) -> NumpyArray:
    """The distances (samples,) of two solutions (times, n) over the tolerances, as error ratios: the largest over all
    times; infinite where either solution is not a number."""
    with np.errstate(all="ignore"):
        size = np.maximum(abs(rows), abs(others)).astype(np.float64)
        wide = {
            name: [np.float64(x) for x in value] if isinstance(value, list) else np.float64(value)
            for name, value in bounds.tolerances.items()
        }
        allowed = layout.allowed_error(size, **wide, xp=NUMPY)
        scaled = (rows.astype(np.float64) - others) / allowed
        largest = np.max([NUMPY.rms(table, axis=2) for table in layout.tables(scaled, len(rows), xp=NUMPY)], axis=0)
    return np.asarray(np.where(largest >= 0, largest, np.inf).max(axis=0))


@dataclass(frozen=True)
class Posed:
    """A solve in one call of the model, ready to be run along grids."""

    problem: Problem
    bounds: Bounds
    layout: Layout

    @classmethod
    def of(cls, problem: Problem, *, per_sample: bool) -> Posed:
        """The solve of a problem. per_sample: whether error ratios of samples are computed separately."""
        posed = settings_of(problem.solve).control
        assert posed is not None, "only methods with an error estimate have grids"
        control, tolerances, _ = control_settings(problem, posed)
        number = np.dtype(control.dtype)
        scalars = {name: list(value) if value.ndim else number.type(value) for name, value in tolerances.items()}
        tableau = METHODS[problem.solve.method].tableau  # type: ignore[attr-defined]  # all methods with an error estimate have one
        assert problem.solve.drive is not None
        parts = [problem.values[name] for name in problem.solve.drive.y0]
        return cls(problem, Bounds(tableau, number, **scalars), Layout.of(parts, per_sample=per_sample))

    def along(self, positions: NumpyArray) -> GridRun:
        """Run the solve along a grid of positions (steps + 1,)."""
        one = self.problem
        return run_along(one.slope, self.bounds, one.t, positions, one.row, self.layout, direction=one.direction)

    def slopes(self) -> list[NumpyArray]:
        """The slopes at the start, (samples, width) for each part of the state."""
        one = self.problem
        row = one.slope(one.t[0], one.row)
        return [table[0] for table in self.layout.tables(row, 1, xp=NUMPY)]

    def adaptive(self, quantile: float) -> NumpyArray:
        """The positions (steps + 1,) of the steps of an adaptive solve that keeps a share `quantile` of the samples
        within the tolerances. Raises InputError where that solve fails."""
        one = self.problem
        if len(one.t) == 1:
            return np.array([0.0, 1.0])

        def largest(state: Any) -> float:
            row = Layout.of(parts_of(state)).pack(parts_of(state), xp=NUMPY)
            norms = np.asarray(self.layout.norm(row, xp=NUMPY)).reshape(-1)
            return (
                float(np.quantile(np.where(norms >= 0, norms, np.inf), quantile, method="higher")) if norms.size else 0
            )

        def field(t: Any, state: Any) -> Any:
            row = self.layout.pack(parts_of(state), xp=NUMPY)
            slopes = self.layout.unpack(one.slope(t, row), xp=NUMPY)
            return slopes[0] if single else tuple(slopes)

        parts = self.layout.unpack(one.row, xp=NUMPY)
        single = len(parts) == 1
        options = {name: value for name, value in one.solve.drive.options.items() if name != "max_num_steps"}  # type: ignore[union-attr]  # the solve is driven
        solution = odeint(
            field,
            parts[0] if single else tuple(parts),
            one.t[[0, -1]],
            method=one.solve.method,
            rtol=_plain(self.bounds.rtol),
            atol=_plain(self.bounds.atol),
            options={**options, "norm": largest},
            dense=True,
        )
        if solution.status is not Status.OK:
            raise InputError(
                f"calibration: solve {one.solve.index} ({one.solve.source}) fails on these samples: "
                f"{solution.status.sentence}; leave out the samples that cannot be solved, or {solution.status.advice}"
            )
        ends = solution.trajectories[0].ends
        start, stop = one.direction * float(one.t[0]), one.direction * float(one.t[-1])
        inner = (ends - start) / (stop - start)
        return np.concatenate([[0.0], inner[inner < 1 - 1e-9], [1.0]])


def parts_of(state: Any) -> list[NumpyArray]:
    """The parts of a state that is an array or a tuple of arrays."""
    return list(state) if isinstance(state, tuple) else [state]


def _plain(tolerance: Any) -> Any:
    return [float(x) for x in tolerance] if isinstance(tolerance, list) else float(tolerance)


@dataclass(frozen=True)
class Outcome:
    """The results of one call of the model. outputs: arrays by name. solves: the solves along grids, by index."""

    outputs: Mapping[str, NumpyArray]
    solves: Mapping[int, tuple[Posed, GridRun]]


@dataclass(frozen=True)
class Trial:
    """A driven artifact, with grids for some of its solves, by index."""

    artifact: Artifact
    placed: Mapping[int, Placed]

    def having(self, index: int, placed: Placed) -> Trial:
        """The same artifact, with a grid for one more solve."""
        return replace(self, placed={**self.placed, index: placed})

    def pose(self, samples: CalibrationSamples, index: int, *, per_sample: bool) -> list[Posed]:
        """A solve in each call of some samples, after the solves before it were run. index: the solve's index."""
        return [self._until(call, index, per_sample=per_sample) for call in samples.calls]

    def _until(self, call: Inputs, index: int, *, per_sample: bool) -> Posed:
        for now, problem, _ in self._walk(dict(call)):
            if now == index:
                assert problem is not None
                return Posed.of(problem, per_sample=per_sample)
        raise AssertionError(f"the program drives no solve {index}")

    def run(self, samples: CalibrationSamples) -> list[Outcome]:
        """Run all calls of some samples, from inputs to outputs."""
        return [self._run(call) for call in samples.calls]

    def _run(self, call: Inputs) -> Outcome:
        values, solves = dict(call), {}
        for index, _, done in self._walk(values):
            if done is not None:
                solves[index] = done
        return Outcome({tensor.name: values[tensor.name] for tensor in self.artifact.card.outputs}, solves)

    def _walk(self, values: Inputs) -> Iterator[tuple[int, Problem | None, tuple[Posed, GridRun] | None]]:
        """Run the program, which adds its results to `values`.

        Yields (index, problem, None) before each solve, and (index, None, (solve, run)) after a solve along a grid.
        """
        for step in self.artifact.program:
            if not isinstance(step, DriveSolve):
                values |= step(values, {})
                continue
            solve, placed = step.solve, self.placed.get(step.solve.index)
            request = Request(Limits()).settled(solve, {})
            problem = problem_of(solve, step.graphs, values, request)
            yield solve.index, problem, None
            if placed is None:
                solution, stats, _ = drive_solve(solve, step.graphs, values, request)
                if stats.status is not Status.OK:
                    raise InputError(
                        f"calibration: solve {solve.index} ({solve.source}) fails on these samples: "
                        f"{stats.status.sentence}; {stats.status.advice}"
                    )
                values |= zip(step.names.results, solution, strict=True)
                continue
            on_grid = Posed.of(problem, per_sample=placed.samples is not None)
            run = on_grid.along(placed.positions)
            slices = on_grid.layout.slices(run.rows, xp=NUMPY)
            shaped = [part.reshape(len(run.rows), *shape) for part, shape in zip(slices, problem.parts, strict=True)]
            values |= zip(step.names.results, shaped, strict=True)
            yield solve.index, None, (on_grid, run)


def stacked(ratios: Sequence[NumpyArray]) -> NumpyArray:
    """The error ratios (steps, samples) of several calls side by side."""
    return np.concatenate(ratios, axis=1)
