"""The torch model on calibration data: solved with its own settings, and at tight tolerances as the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from odelet.numerics.backend import NumpyArray
from odelet_export.calibration.data import Inputs
from odelet_export.calibration.solvers import KeptSolutions, as_asked, tightly
from odelet_export.model.callee import Callee
from odelet_export.model.random_draws import drawing
from odelet_export.model.random_sources import ReplayedSource, SeededSource
from odelet_export.model.reference import Solver, run_reference
from odelet_export.model.spec import SolveSpec
from odelet_export.model.widening import widened_model
from odelet_export.proof.judge import Judge

# The reference's tolerances over the model's own tolerances: in float64, and in the model's own dtype, tried in this
# order.
_WIDE, _OWN = 1e-4, (1e-3, 1e-2)


@dataclass(frozen=True)
class ReferenceRun:
    """One run of the model. outputs: the model's outputs. rows: the states (times, n) of its solves, by the number of
    the call."""

    outputs: Sequence[NumpyArray]
    rows: dict[int, NumpyArray]


class TorchReference:
    """Runs the torch model on calls. specs: the solves whose states are kept. draws: the number of base draws of a
    call."""

    def __init__(self, judge: Judge, specs: Sequence[SolveSpec], draws: int) -> None:
        self._judge, self._specs, self._draws = judge, specs, draws
        self._wide = widened_model(judge.callee) if judge.single else judge.callee
        self._used: set[str] = set()
        self._runs: dict[tuple[int, bool], tuple[Inputs, ReferenceRun | None]] = {}

    @property
    def reference(self) -> str:
        """A description of the reference: its method, dtype and tolerances, in words."""
        return " and ".join(sorted(self._used))

    def noise(self, call: Inputs, number: int) -> Inputs:
        """The base draws of a call, by the names of the inputs that take them. number: the call's, for its seed."""
        if not self._judge.noise:
            return {}
        source = SeededSource(self._judge.seed + number)
        with drawing(source):
            run_reference(self._judge.callee, self._tensors(call, None), self._judge.overrides)
        return {x.name: source.arrays[x.draw.index].numpy() for x in self._judge.noise}

    def solve(self, call: Inputs, *, tight: bool) -> ReferenceRun | None:
        """Run the model on a call, once; None where it fails. tight: whether to solve as the reference, at tight
        tolerances, not with the model's own settings."""
        key = (id(call), tight)
        if key not in self._runs:
            # The call is kept too, so that no other call gets its id.
            self._runs[key] = (call, self._solve(call, tight=tight))
        return self._runs[key][1]

    def _solve(self, call: Inputs, *, tight: bool) -> ReferenceRun | None:
        overrides = self._judge.overrides
        if not tight:
            return self._run(self._judge.callee, call, None, {spec.call: as_asked(overrides) for spec in self._specs})
        if self._wide is not None:
            solvers = {spec.call: tightly(spec, overrides, factor=_WIDE) for spec in self._specs}
            run = self._run(self._wide, call, torch.float64, solvers)
            if run is not None:
                self._used.add(f"the torch model in float64, by dopri5 with tolerances {_WIDE:g} times those asked")
                return run
        for factor in _OWN if self._judge.single else ():
            solvers = {spec.call: tightly(spec, overrides, factor=factor) for spec in self._specs}
            run = self._run(self._judge.callee, call, None, solvers)
            if run is not None:
                dtype = self._judge.dtype
                self._used.add(f"the torch model in {dtype}, by dopri5 with tolerances {factor:g} times those asked")
                return run
        return None

    def _run(
        self, callee: Callee, call: Inputs, dtype: torch.dtype | None, solvers: dict[int, Solver]
    ) -> ReferenceRun | None:
        solutions = KeptSolutions()
        used = {x.draw.index: _as(torch.from_numpy(np.array(call[x.name])), dtype) for x in self._judge.noise}
        drawn = [used.get(index) for index in range(self._draws)]
        try:
            with drawing(ReplayedSource(drawn)):
                outputs, _ = run_reference(
                    callee,
                    self._tensors(call, dtype),
                    self._judge.overrides,
                    {number: solutions.by(solver, number) for number, solver in solvers.items()},
                )
        except Exception:  # the model may mix dtypes, a step may underflow, and the model may raise anything itself
            return None
        return ReferenceRun(outputs, solutions.rows)

    def _tensors(self, call: Inputs, dtype: torch.dtype | None) -> list[torch.Tensor]:
        return [_as(torch.from_numpy(np.array(call[name])), dtype) for name in self._judge.callee.names]


def _as(tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor
