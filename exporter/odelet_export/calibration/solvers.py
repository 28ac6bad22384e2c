"""Other solvers for a call of torchdiffeq: along a grid, or at tight tolerances; and solvers that keep the solution.

The law here: everything around the solve, the field included, stays the torch model's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from odelet.loops.adaptive import direction_of
from odelet.loops.array_steps import row_field
from odelet.methods.roster import METHODS
from odelet.numerics.backend import NUMPY
from odelet.numerics.control import Control
from odelet.numerics.state import Layout
from odelet_export.calibration.trial_run import Bounds, run_along
from odelet_export.lowering.hole import Placed
from odelet_export.model.overrides import Overrides
from odelet_export.model.reference import SolveCount, Solver, solved
from odelet_export.model.spec import SolveSpec
from odelet_intercept.call import Call

# The reference's tolerances over those of the solve that is compared with it, and the smallest that rounding allows.
TIGHTER = 1e-4
TIGHTEST = 1e-13


@dataclass
class KeptSolutions:
    """A store of the states (times, n) that solves returned, by the number of the call."""

    rows: dict[int, np.ndarray] = field(default_factory=dict)

    def by(self, solver: Solver, number: int) -> Solver:
        """A solver that solves as `solver` does, and keeps the solution under `number`."""

        def solve(call: Call, original: Callable[..., Any]) -> tuple[Any, SolveCount]:
            answer, count = solver(call, original)
            parts = answer if isinstance(answer, tuple) else (answer,)
            self.rows[number] = np.concatenate(
                [part.detach().cpu().numpy().reshape(len(part), -1) for part in parts], axis=1
            )
            return answer, count

        return solve


def bounds_of(spec: SolveSpec, dtype: np.dtype[Any]) -> Bounds:
    """The tolerances of a solve whose state has this dtype, as scalars of the dtype of the error ratios."""
    assert spec.control is not None
    number = np.promote_types(spec.control.dtype, dtype)
    tolerances = {
        name: [number.type(x) for x in value] if isinstance(value, tuple) else number.type(value)
        for name, value in (("rtol", spec.rtol), ("atol", spec.atol))
    }
    return Bounds(spec.tableau, number, **tolerances)


def on_grid(spec: SolveSpec, placed: Placed) -> Solver:
    """A solver that takes the steps of a grid."""

    def solve(call: Call, original: Callable[..., Any]) -> tuple[Any, SolveCount]:
        del original
        single = not isinstance(call.y0, tuple)
        parts = [part.detach().numpy() for part in ([call.y0] if single else call.y0)]
        layout = Layout.of(parts, per_sample=placed.samples is not None)
        t = call.t.detach().numpy()

        def slope(now: Any, state: Any) -> Any:
            tensors = [torch.from_numpy(np.array(part)) for part in ([state] if single else state)]
            with torch.no_grad():
                slopes = call.func(torch.tensor(now, dtype=tensors[0].dtype), tensors[0] if single else tuple(tensors))
            return slopes.numpy() if single else tuple(part.numpy() for part in slopes)

        run = run_along(
            row_field(slope, layout, single=single),
            bounds_of(spec, parts[0].dtype),
            t,
            placed.positions,
            layout.pack(parts, xp=NUMPY),
            layout,
            direction=direction_of(t),
        )
        slices = layout.slices(run.rows, xp=NUMPY)
        shaped = [torch.from_numpy(p.reshape(len(t), *x.shape).copy()) for p, x in zip(slices, parts, strict=True)]
        steps = len(run.ratios) if len(t) > 1 else 0
        calls = METHODS[spec.method].evaluations
        assert calls is not None
        count = SolveCount(steps, steps, 1 + calls * steps if steps else 0)
        return (shaped[0] if single else tuple(shaped)), count

    return solve


def as_asked(overrides: Overrides) -> Solver:
    """torchdiffeq's own solver, with the overrides of the export."""
    return lambda call, original: (solved(call, original, overrides), SolveCount(None, None, None))


def tightly(spec: SolveSpec, overrides: Overrides, *, factor: float = TIGHTER) -> Solver:
    """torchdiffeq's dopri5 as a solver, at the tolerances of the solve times `factor`."""
    tolerances = [
        max(factor * min(value if isinstance(value, tuple) else (value or 0.0,)), TIGHTEST)
        for value in (spec.rtol, spec.atol)
    ]

    def solve(call: Call, original: Callable[..., Any]) -> tuple[Any, SolveCount]:
        options = {name: x for name, x in (call.options or {}).items() if name in Control.__dataclass_fields__}
        for name in ("first_step", "min_step", "max_num_steps", "dtype"):
            options.pop(name, None)
        tight = replace(call, method="dopri5", rtol=tolerances[0], atol=tolerances[1], options=options or None)
        return solved(tight, original, overrides), SolveCount(None, None, None)

    return solve
