"""The torch model's answers at the sample inputs of an export, and the largest differences that other answers may
have."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from odelet.artifact.samples import OutputCheck, compare, largest_element
from odelet.methods.implicit_rk import ImplicitRK
from odelet_export.capture.noise_inputs import NoiseInput
from odelet_export.model.callee import Callee
from odelet_export.model.overrides import Overrides
from odelet_export.model.random_draws import drawing
from odelet_export.model.random_sources import ReplayedSource, SeededSource
from odelet_export.model.reference import SolveCount, Solver, run_reference
from odelet_export.model.spec import SolveSpec
from odelet_export.model.time_limit import OutOfTime
from odelet_export.model.widening import widened, widened_model
from odelet_export.proof.alone import SampleAxes, run_alone
from odelet_export.proof.rounding import ROOM, Answers, Moves, distance, shaken
from odelet_export.proof.torch_clock import TorchClock
from odelet_export.proof.verdict import SampleVerdict

# The tolerances (rtol, atol) within which two answers count as the same: an output may differ by atol plus rtol times
# its largest element. For half precision, rtol is the unit roundoff. Where an operator of torch is one of ONNX, the two
# round alike (errors of 1e-7 were measured); where it is several, as SiLU is, each of them rounds (9e-5 in float16,
# 7e-4 in bfloat16).
TOLERANCES = {
    "bfloat16": (4e-3, 1e-6),
    "float16": (5e-4, 1e-6),
    "float32": (1e-4, 1e-6),
    "float64": (1e-9, 1e-11),
}
# The same tolerances for implicit Runge-Kutta methods, whose stages torchdiffeq and odelet iterate to 1e-8; the
# stand-in for a torchdiffeq that lacks these methods iterates them to rounding.
ITERATED = (1e-7, 1e-8)
# What an iterator gives when it has ended.
_ENDED = object()


@dataclass(frozen=True)
class Sample:
    """A sample input, and the torch model's answer.

    number: the sample's number, 0 for the example. noise: all base draws, also those that nothing uses. expected: the
    outputs. counts: the counts of each solve. changed: sentences about numbers in the result that the artifact gives
    otherwise. moves: what is known so far of torch's own rounding here.
    """

    number: int
    tensors: Sequence[torch.Tensor]
    noise: Sequence[torch.Tensor]
    expected: Sequence[np.ndarray]
    counts: Sequence[SolveCount]
    changed: Sequence[str] = ()
    moves: Moves = field(default_factory=Moves, compare=False, repr=False)

    def shapes(self, names: Sequence[str]) -> dict[str, list[int]]:
        """The shapes of the inputs, by name."""
        return {name: list(tensor.shape) for name, tensor in zip(names, self.tensors, strict=True)}


@dataclass(frozen=True)
class Judge:
    """The torch model with which answers are compared, and the differences that they may have.

    floats: the dtypes of the model's outputs, and of the states of its solves. tolerance: (rtol, atol) that the user
    gave, or None for TOLERANCES and the effect of rounding on torch itself. alone: the batch axes, where each batch row
    is solved on its own; torch then runs on each row alone. noise: the inputs that stand for base draws. nested: the
    nested solves, which are not compared by themselves. seed: the seed of the base draws. instead: solvers that take
    the place of torchdiffeq, by the number of the call. most_calls: how often one run of torch may call fields. clock:
    counts and limits the time of torch's runs. reduced: whether the artifact's weights have fewer digits than torch's.
    """

    callee: Callee
    specs: Sequence[SolveSpec]
    overrides: Overrides
    floats: Sequence[str]
    tolerance: tuple[float, float] | None = None
    alone: SampleAxes | None = None
    noise: Sequence[NoiseInput] = ()
    nested: Sequence[SolveSpec] = ()
    seed: int = 0
    instead: Mapping[int, Solver] = field(default_factory=dict)
    most_calls: int | None = None
    clock: TorchClock = field(default_factory=lambda: TorchClock(math.inf))
    reduced: bool = False

    @property
    def dtype(self) -> str:
        """The float dtype with the fewest digits among inputs, outputs and states, or the weights' half precision."""
        ends = {str(t.dtype).removeprefix("torch.") for t in self.callee.example} | set(self.floats)
        weights = {str(weight.dtype).removeprefix("torch.") for weight in self.callee.state_dict().values()}
        names = ends | (weights & {"float16", "bfloat16"})
        return next(name for name in TOLERANCES if name in names or name == "float64")

    @property
    def single(self) -> bool:
        """Whether any float of the model or of the artifact has fewer digits than a float64."""
        return self.reduced or self.dtype != "float64"

    @property
    def base(self) -> tuple[float, float]:
        """The tolerances (rtol, atol), before rounding is taken into account."""
        iterated = not self.single and any(isinstance(spec.solver, ImplicitRK) for spec in [*self.specs, *self.nested])
        return self.tolerance or (ITERATED if iterated else TOLERANCES[self.dtype])

    def sample(self, number: int, tensors: Sequence[torch.Tensor]) -> Sample:
        """Run the torch model on inputs, with fresh base draws, all batch rows together."""
        source = SeededSource(self.seed + number)
        with drawing(source):
            expected, counts = self._run(self.callee, tensors, number=number)
        return Sample(number, tensors, source.arrays, expected, counts, self.callee.changed())

    def reference(
        self, tensors: Sequence[torch.Tensor], drawn: Sequence[torch.Tensor], *, number: int
    ) -> tuple[list[np.ndarray], list[SolveCount]]:
        """The torch model's outputs, and the counts of its solves, with these base draws. number: the sample's."""
        if self.alone is not None:
            used = {x.draw.index for x in self.noise}
            used_draws = [x if i in used else None for i, x in enumerate(drawn)]
            with self._clocked(number):
                return run_alone(
                    self.callee, tensors, self.overrides, self.alone, used_draws, most_calls=self.most_calls
                )
        with drawing(ReplayedSource(drawn)):
            return self._run(self.callee, tensors, number=number)

    def _run(
        self, callee: Callee, tensors: Sequence[torch.Tensor], *, number: int
    ) -> tuple[list[np.ndarray], list[SolveCount]]:
        with self._clocked(number):
            return run_reference(callee, tensors, self.overrides, self.instead, most_calls=self.most_calls)

    def _clocked(self, number: int) -> AbstractContextManager[None]:
        """A context for a run of torch at a sample. Only the example has any time that it needs."""
        return self.clock.running(f"sample {number}" if number else "the example", limited=number != 0)

    def solved_alone(self, sample: Sample) -> Sample:
        """The sample with torch's answers on each batch row alone; the sample itself where rows are solved together."""
        if self.alone is None:
            return sample
        expected, counts = self.reference(sample.tensors, sample.noise, number=sample.number)
        return replace(sample, expected=expected, counts=counts, moves=Moves())

    def judge(
        self, sample: Sample, names: Sequence[str], outputs: Sequence[np.ndarray], *, steps_differ: bool = False
    ) -> SampleVerdict:
        """Compare outputs with torch's. Where outputs or steps differ, allow the differences that rounding makes in
        torch, which is run until they cover the difference. Raises OutOfTime where it may run no longer."""
        rtol, atol = self.base
        scales = [largest_element(value) for value in sample.expected]
        base = [atol + rtol * scale for scale in scales]
        checks = _compared(sample, names, outputs, base)
        if self.tolerance is not None or (not steps_differ and all(check.passed for check in checks)):
            return SampleVerdict(checks, base, base, scales)
        moves = sample.moves
        # No allowance covers an output of another shape, or numbers where torch has none.
        if not self._steady(sample, base) or not all(math.isfinite(check.max_abs) for check in checks):
            return SampleVerdict(checks, base, base, scales, steady=moves.steady is True)
        more = self._more(sample)
        while not _covered(checks, moves.allowed(base)) or (steps_differ and moves.same_steps):
            if next(more, _ENDED) is _ENDED:
                break
        allowed = moves.allowed(base)
        return SampleVerdict(
            _compared(sample, names, outputs, allowed), allowed, base, scales, same_steps=moves.same_steps
        )

    def allowed_anywhere(self, sample: Sample) -> list[float]:
        """The largest error that each output may have in an engine that rounds in its own way: all that rounding moves
        in torch is allowed, as for an answer that differs here. It is found out in as much time as torch has."""
        rtol, atol = self.base
        base = [atol + rtol * largest_element(value) for value in sample.expected]
        try:
            if self.tolerance is None and self._steady(sample, base):
                for _ in self._more(sample):
                    pass
        except OutOfTime:
            pass
        return sample.moves.allowed(base)

    def _steady(self, sample: Sample, base: Sequence[float]) -> bool:
        """Whether torch gives the same answers at a sample when it runs again. base: the errors that pass."""
        moves = sample.moves
        if moves.steady is None:
            again, _ = self.reference(sample.tensors, sample.noise, number=sample.number)
            moves.steady = all(
                distance(a, b) <= limit for a, b, limit in zip(again, sample.expected, base, strict=True)
            )
        return moves.steady

    def _more(self, sample: Sample) -> Iterator[None]:
        """Find out more of torch's own rounding at a sample with each turn."""
        return sample.moves.more(
            (sample.expected, sample.counts), lambda numbers: self._shaken(sample, numbers), lambda: self._wide(sample)
        )

    def _shaken(self, sample: Sample, numbers: torch.Generator) -> Answers:
        """Torch's answers where the inputs are changed in their last places."""
        normal = {x.draw.index for x in self.noise if x.draw.distribution == "normal"}
        tensors = [shaken(tensor, numbers) for tensor in sample.tensors]
        # Uniform draws are not changed: models compare them with probabilities, and a decision is no rounding.
        drawn = [shaken(x, numbers) if i in normal else x for i, x in enumerate(sample.noise)]
        return self.reference(tensors, drawn, number=sample.number)

    def _wide(self, sample: Sample) -> list[float]:
        """The distance of each of torch's float32 outputs from its float64 output; zeros if the model does not run in
        float64.

        An adaptive solve that takes another step because of rounding is as far off as its tolerance.
        """
        nothing = [0.0 for _ in sample.expected]
        if self.dtype != "float32" or self.alone is not None:
            return nothing
        callee = widened_model(self.callee)
        if callee is None:
            return nothing
        try:
            with drawing(ReplayedSource(widened(sample.noise))):
                outputs, _ = self._run(callee, widened(sample.tensors), number=sample.number)
        except OutOfTime:
            raise
        except Exception:  # a model with float32 numbers of its own may raise any error
            return nothing
        return [distance(one, other) for one, other in zip(outputs, sample.expected, strict=True)]


def _covered(checks: Sequence[OutputCheck], allowed: Sequence[float]) -> bool:
    """Whether errors lie within what is allowed, with room for other machines where rounding was taken into account."""
    return all(ROOM * check.max_abs <= limit for check, limit in zip(checks, allowed, strict=True))


def _compared(
    sample: Sample,
    names: Sequence[str],
    outputs: Sequence[np.ndarray],
    allowed: Sequence[float],
) -> list[OutputCheck]:
    return [
        compare(sample.number, name, got, value, allowed=limit)
        for name, got, value, limit in zip(names, outputs, sample.expected, allowed, strict=True)
    ]
