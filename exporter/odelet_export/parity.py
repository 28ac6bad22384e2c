"""Parity: the artifact's answers, through the real runtime, beside torch's."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from odelet.errors import OdeletError
from odelet.implicit import ImplicitRK
from odelet.model import Model
from odelet.solution import SolveStats
from odelet.verify import OutputCheck, compare, largest_element
from odelet_export.draw import samples
from odelet_export.errors import ExportError
from odelet_export.reference import Samples, SolveCount, run_alone, run_reference
from odelet_export.report import (
    ROUNDING_FACTOR,
    ROUNDING_RUNS,
    ROUNDING_ULPS,
    Report,
    SampleCheck,
    SolveCheck,
)
from odelet_export.signature import Callee, Dynamic
from odelet_export.spec import Overrides, SolveSpec

# What counts as the same answer: errors of each output relative to its largest element.
# Those of half precision are its unit roundoff. Where an operator of torch's is one of ONNX's, the two round alike
# (errors of 1e-7 were measured); where it is several, as SiLU is, each rounds (9e-5 in float16, 7e-4 in bfloat16).
TOLERANCES = {
    "bfloat16": (4e-3, 1e-6),
    "float16": (5e-4, 1e-6),
    "float32": (1e-4, 1e-6),
    "float64": (1e-9, 1e-11),
}
# The stages of implicit Runge-Kutta methods are found to 1e-8, in torchdiffeq as here; the stand-in for a
# torchdiffeq that lacks them finds them to rounding.
ITERATED = (1e-7, 1e-8)


@dataclass(frozen=True)
class Comparison:
    """What an artifact is compared with, and how.

    calls: how many solves the model makes. tolerance: (rtol, atol) asked for, or None for TOLERANCES and what
    rounding does to torch itself. samples: where the samples of a batch are, if each is solved on its own; torch then
    gets each alone. states: the dtypes of the states of the solves.
    """

    model: Model
    callee: Callee
    specs: Sequence[SolveSpec]
    calls: int
    overrides: Overrides
    tolerance: tuple[float, float] | None = None
    samples: Samples | None = None
    states: Collection[str] = ()

    @property
    def dtype(self) -> str:
        """The float with the fewest digits: of the inputs, the outputs and the states, or the half precision of
        weights."""
        ends = {str(t.dtype).removeprefix("torch.") for t in self.callee.example} | {
            *(t.dtype for t in self.model.outputs),
            *self.states,
        }
        weights = {str(weight.dtype).removeprefix("torch.") for weight in self.callee.state_dict().values()}
        found = ends | (weights & {"float16", "bfloat16"})
        return next(name for name in TOLERANCES if name in found or name == "float64")

    @property
    def single(self) -> bool:
        """Whether any float of the model has fewer digits than a float64."""
        return self.dtype != "float64"

    @property
    def base(self) -> tuple[float, float]:
        iterated = not self.single and any(isinstance(spec.solver, ImplicitRK) for spec in self.specs)
        return self.tolerance or (ITERATED if iterated else TOLERANCES[self.dtype])

    def check(self, *, dynamic: Dynamic, times: Collection[str], count: int, seed: int) -> Report:
        """Compare at the example and at `count` fresh inputs, drawn with `seed`.

        times: inputs that are output times. Raises ExportError when the torch model fails on the example.
        """
        drawn = samples(self.callee.names, self.callee.example, dynamic, times, count=count, seed=seed)
        checks: list[SampleCheck] = []
        for number, tensors in enumerate(islice(drawn, 1 + 4 * count)):
            if len(checks) > count:
                break
            try:
                expected, counts = self._reference(tensors)
            except Exception as error:  # the model may raise anything on inputs it was not made for
                if number > 0:
                    continue
                raise ExportError(f"the torch model fails on the example: {type(error).__name__}: {error}") from error
            checks.append(self._sample(len(checks), tensors, expected, counts))
        return Report(*self.base, not self.single, checks)

    def _reference(self, tensors: Sequence[torch.Tensor]) -> tuple[list[np.ndarray], list[SolveCount]]:
        if self.samples is None:
            return run_reference(self.callee, tensors, self.overrides)
        return run_alone(self.callee, tensors, self.overrides, self.samples)

    def _sample(
        self,
        number: int,
        tensors: Sequence[torch.Tensor],
        expected: Sequence[np.ndarray],
        counts: Sequence[SolveCount],
    ) -> SampleCheck:
        arrays = {name: tensor.numpy() for name, tensor in zip(self.callee.names, tensors, strict=True)}
        shapes = {name: list(array.shape) for name, array in arrays.items()}
        names = [tensor.name for tensor in self.model.card.outputs]
        try:
            solution = self.model.solve(*arrays.values()).raise_if_failed()
        except OdeletError as error:
            return SampleCheck(shapes, [OutputCheck(number, name, False, note=str(error)) for name in names], [])
        solves = _solve_checks(self.specs, solution.stats.solves, counts)
        rtol, atol = self.base
        allowed = [atol + rtol * largest_element(value) for value in expected]
        outputs = [solution.outputs[name] for name in names]
        checks = _compared(number, names, outputs, expected, allowed)
        steady = [True]
        steps_differ = not self.single and not all(solve.equal for solve in solves)
        if self.tolerance is None and (steps_differ or not all(check.passed for check in checks)):
            again, _ = self._reference(tensors)
            steady = [_distance(a, b) <= limit for a, b, limit in zip(again, expected, allowed, strict=True)]
            if all(steady):
                moved, same_steps = self._rounding(tensors, expected, counts)
                allowed = [a + ROUNDING_FACTOR * m for a, m in zip(allowed, moved, strict=True)]
                checks = _compared(number, names, outputs, expected, allowed)
                steps_differ &= same_steps
        note = "the steps differ from torchdiffeq's" if steps_differ else ""
        if not all(steady):
            note = "torch itself gives other answers when it runs again on the same inputs"
        if len(counts) != self.calls:
            note = f"torch made {len(counts)} solves here and {self.calls} when the model was captured"
        bundle = {f"in/{name}": array for name, array in arrays.items()}
        bundle |= {f"out/{name}": value for name, value in zip(names, expected, strict=True)}
        bundle |= {f"allowed/{name}": np.asarray(a) for name, a in zip(names, allowed, strict=True)}
        return SampleCheck(shapes, checks, solves, note, bundle)

    def _rounding(
        self, tensors: Sequence[torch.Tensor], expected: Sequence[np.ndarray], counts: Sequence[SolveCount]
    ) -> tuple[list[float], bool]:
        """How far torch's outputs move when its inputs move in their last places, and whether its steps stay."""
        generator = torch.Generator().manual_seed(0)
        moved = [0.0 for _ in expected]
        same = True
        for _ in range(ROUNDING_RUNS):
            shaken = [_shake(tensor, generator) for tensor in tensors]
            try:
                outputs, again = self._reference(shaken)
            except Exception:  # what fails after rounding says nothing about how far the answer moves
                continue
            same &= list(again) == list(counts)
            moved = [max(far, _distance(one, other)) for far, one, other in zip(moved, outputs, expected, strict=True)]
        return moved, same


def _shake(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    if not tensor.is_floating_point():
        return tensor
    units = 2 * torch.rand(tensor.shape, generator=generator, dtype=torch.float64) - 1
    return (tensor.double() * (1 + ROUNDING_ULPS * torch.finfo(tensor.dtype).eps * units)).to(tensor.dtype)


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    if a.shape != b.shape:
        return 0.0
    with np.errstate(all="ignore"):
        return largest_element(a.astype(np.float64) - b.astype(np.float64))


def _compared(
    number: int,
    names: Sequence[str],
    outputs: Sequence[np.ndarray],
    expected: Sequence[np.ndarray],
    allowed: Sequence[float],
) -> list[OutputCheck]:
    return [
        compare(number, name, got, value, allowed=limit)
        for name, got, value, limit in zip(names, outputs, expected, allowed, strict=True)
    ]


def _solve_checks(
    specs: Sequence[SolveSpec], stats: Sequence[SolveStats], counts: Sequence[SolveCount]
) -> list[SolveCheck]:
    return [
        SolveCheck(spec.index, spec.method, counts[spec.call], done.steps, done.accepted, done.evaluations)
        for spec, done in zip(specs, stats, strict=True)
        if spec.call < len(counts)
    ]
