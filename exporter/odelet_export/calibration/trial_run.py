"""A model run in numpy with some of its solves along given grids: by the graphs of its driven form.

The law here: what a bounded graph computes is computed here by the same text, `odelet.numerics.grid_path`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from odelet.engine.driven import drive_solve
from odelet.engine.opening import Artifact
from odelet.engine.problem import Problem, Request, control_settings, problem_of
from odelet.engine.program import RunGraph
from odelet.errors import InputError
from odelet.loops.adaptive import Limits
from odelet.loops.ivp import odeint
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
    """What a solve is held to. rtol, atol: scalars in the dtype of times, or a list of one for each part."""

    tableau: Tableau
    number: np.dtype[Any]
    rtol: Any
    atol: Any

    @property
    def tolerances(self) -> dict[str, Any]:
        return {"rtol": self.rtol, "atol": self.atol}


@dataclass(frozen=True)
class GridRun:
    """rows: the states (times, n). ratios: (steps, samples)."""

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
    """Solve on numpy arrays along a grid. row: (1, n). layout: with samples where they are told apart."""
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
    """How far two solutions (times, n) are apart, over the tolerance, as error ratios are: (samples,), the largest of
    all times; infinite where either is not a number."""
    with np.errstate(all="ignore"):
        size = np.maximum(abs(rows), abs(others)).astype(np.float64)
        wide = {
            name: [np.float64(x) for x in value] if isinstance(value, list) else np.float64(value)
            for name, value in bounds.tolerances.items()
        }
        allowed = layout.allowed_error(size, **wide, xp=NUMPY)
        scaled = (rows.astype(np.float64) - others) / allowed
        found = np.max([NUMPY.rms(table, axis=2) for table in layout.tables(scaled, len(rows), xp=NUMPY)], axis=0)
    return np.asarray(np.where(found >= 0, found, np.inf).max(axis=0))


@dataclass(frozen=True)
class Posed:
    """A solve in one call, ready to be run along grids."""

    problem: Problem
    bounds: Bounds
    layout: Layout

    @classmethod
    def of(cls, problem: Problem, *, per_sample: bool) -> Posed:
        control, tolerances, _ = control_settings(problem)
        number = np.dtype(control.dtype)
        found = {name: list(value) if value.ndim else number.type(value) for name, value in tolerances.items()}
        tableau = METHODS[problem.solve.method].tableau  # type: ignore[attr-defined]
        assert problem.solve.drive is not None
        parts = [problem.values[name] for name in problem.solve.drive.y0]
        return cls(problem, Bounds(tableau, number, **found), Layout.of(parts, per_sample=per_sample))

    def along(self, positions: NumpyArray) -> GridRun:
        """The solve on a grid."""
        one = self.problem
        return run_along(one.slope, self.bounds, one.t, positions, one.row, self.layout, direction=one.direction)

    def slopes(self) -> list[NumpyArray]:
        """dy/dt at the start, (samples, width) for each part."""
        one = self.problem
        row = one.slope(one.t[0], one.row)
        return [table[0] for table in self.layout.tables(row, 1, xp=NUMPY)]

    def adaptive(self, quantile: float) -> NumpyArray:
        """Positions of the steps of an adaptive solve that keeps all samples, or a share, within the tolerance."""
        one = self.problem
        if len(one.t) == 1:
            return np.array([0.0, 1.0])

        def largest(state: Any) -> float:
            row = Layout.of(one_part(state)).pack(one_part(state), xp=NUMPY)
            found = np.asarray(self.layout.norm(row, xp=NUMPY)).reshape(-1)
            return (
                float(np.quantile(np.where(found >= 0, found, np.inf), quantile, method="higher")) if found.size else 0
            )

        def field(t: Any, state: Any) -> Any:
            row = self.layout.pack(one_part(state), xp=NUMPY)
            slopes = self.layout.unpack(one.slope(t, row), xp=NUMPY)
            return slopes[0] if single else tuple(slopes)

        parts = self.layout.unpack(one.row, xp=NUMPY)
        single = len(parts) == 1
        options = {name: value for name, value in one.solve.drive.options.items() if name != "max_num_steps"}  # type: ignore[union-attr]
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


def one_part(state: Any) -> list[NumpyArray]:
    return list(state) if isinstance(state, tuple) else [state]


def _plain(tolerance: Any) -> Any:
    return [float(x) for x in tolerance] if isinstance(tolerance, list) else float(tolerance)


@dataclass(frozen=True)
class Outcome:
    """One call of the model. outputs: by name. solves: by index, those along grids, with how they were posed."""

    outputs: Mapping[str, NumpyArray]
    solves: Mapping[int, tuple[Posed, GridRun]]


@dataclass(frozen=True)
class Trial:
    """A driven artifact, with the grids of some of its solves."""

    artifact: Artifact
    placed: Mapping[int, Placed]

    def having(self, index: int, placed: Placed) -> Trial:
        return replace(self, placed={**self.placed, index: placed})

    def pose(self, samples: CalibrationSamples, index: int, *, per_sample: bool) -> list[Posed]:
        """A solve in each of some calls, those before it run."""
        return [self._until(call, index, per_sample=per_sample) for call in samples.calls]

    def _until(self, call: Inputs, index: int, *, per_sample: bool) -> Posed:
        for now, problem, _ in self._walk(dict(call)):
            if now == index:
                assert problem is not None
                return Posed.of(problem, per_sample=per_sample)
        raise AssertionError(f"the program drives no solve {index}")

    def run(self, samples: CalibrationSamples) -> list[Outcome]:
        """All calls, from inputs to outputs."""
        return [self._run(call) for call in samples.calls]

    def _run(self, call: Inputs) -> Outcome:
        values, solves = dict(call), {}
        for index, _, done in self._walk(values):
            if done is not None:
                solves[index] = done
        return Outcome({tensor.name: values[tensor.name] for tensor in self.artifact.card.outputs}, solves)

    def _walk(self, values: Inputs) -> Iterator[tuple[int, Problem | None, tuple[Posed, GridRun] | None]]:
        """Run the program; tells of each solve before and after it is run."""
        for step in self.artifact.program:
            if isinstance(step, RunGraph):
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
            own = Posed.of(problem, per_sample=placed.samples is not None)
            done = own.along(placed.positions)
            pieces = own.layout.slices(done.rows, xp=NUMPY)
            shaped = [p.reshape(len(done.rows), *s) for p, s in zip(pieces, problem.parts, strict=True)]
            values |= zip(step.names.results, shaped, strict=True)
            yield solve.index, None, (own, done)


def stacked(ratios: Sequence[NumpyArray]) -> NumpyArray:
    """The ratios of several calls side by side."""
    return np.concatenate(ratios, axis=1)
