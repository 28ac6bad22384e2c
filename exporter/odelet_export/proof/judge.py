"""The torch model's answers at the sample inputs of an export, and the largest differences that other answers may
have."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch

from odelet.artifact.samples import OutputCheck, compare, largest_element
from odelet.methods.implicit_rk import ImplicitRK
from odelet_export.capture.noise_inputs import NoiseInput
from odelet_export.model.axes import Dynamic
from odelet_export.model.callee import Callee
from odelet_export.model.field_calls import TooManyCalls
from odelet_export.model.overrides import Overrides
from odelet_export.model.random_draws import drawing
from odelet_export.model.random_sources import ReplayedSource, SeededSource
from odelet_export.model.reference import SolveCount, Solver, run_reference
from odelet_export.model.results import StructureError
from odelet_export.model.spec import SolveSpec
from odelet_export.model.widening import widened, widened_model
from odelet_export.proof.alone import SampleAxes, run_alone
from odelet_export.proof.report import OWN_ERRORS, ROUNDING_FACTOR, ROUNDING_RUNS, ROUNDING_ULPS
from odelet_export.proof.sample_inputs import samples

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


# No more samples are drawn after so many that torch did not solve in bounded time, if any others are there.
_MOST_UNENDING = 3


@dataclass(frozen=True)
class Sample:
    """A sample input, and the torch model's answer.

    number: the sample's number, 0 for the example. noise: all base draws, also those that nothing uses. expected: the
    outputs. counts: the counts of each solve. changed: sentences about numbers in the result that the artifact gives
    otherwise.
    """

    number: int
    tensors: Sequence[torch.Tensor]
    noise: Sequence[torch.Tensor]
    expected: Sequence[np.ndarray]
    counts: Sequence[SolveCount]
    changed: Sequence[str] = ()

    def shapes(self, names: Sequence[str]) -> dict[str, list[int]]:
        """The shapes of the inputs, by name."""
        return {name: list(tensor.shape) for name, tensor in zip(names, self.tensors, strict=True)}


@dataclass(frozen=True)
class SampleVerdict:
    """The result of comparing the outputs at one sample with torch's outputs.

    allowed: the largest error with which each output passes. steady: whether torch itself gave the same answers when it
    ran again. same_steps: whether torch took the same steps when its inputs changed in their last places.
    """

    checks: Sequence[OutputCheck]
    allowed: Sequence[float]
    steady: bool = True
    same_steps: bool = True

    @property
    def passed(self) -> bool:
        """Whether all outputs agree."""
        return all(check.passed for check in self.checks)


@dataclass(frozen=True)
class Judge:
    """The torch model with which answers are compared, and the differences that they may have.

    floats: the dtypes of the model's outputs, and of the states of its solves. tolerance: (rtol, atol) that the user
    gave, or None for TOLERANCES and the effect of rounding on torch itself. alone: the batch axes, where each batch row
    is solved on its own; torch then runs on each row alone. noise: the inputs that stand for base draws. nested: the
    nested solves, which are not compared by themselves. seed: the seed of the base draws. instead: solvers that take
    the place of torchdiffeq, by the number of the call. most_calls: how often one run of torch may call fields.
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

    @property
    def dtype(self) -> str:
        """The float dtype with the fewest digits among inputs, outputs and states, or the weights' half precision."""
        ends = {str(t.dtype).removeprefix("torch.") for t in self.callee.example} | set(self.floats)
        weights = {str(weight.dtype).removeprefix("torch.") for weight in self.callee.state_dict().values()}
        names = ends | (weights & {"float16", "bfloat16"})
        return next(name for name in TOLERANCES if name in names or name == "float64")

    @property
    def single(self) -> bool:
        """Whether any float of the model has fewer digits than a float64."""
        return self.dtype != "float64"

    @property
    def base(self) -> tuple[float, float]:
        """The tolerances (rtol, atol), before rounding is taken into account."""
        iterated = not self.single and any(isinstance(spec.solver, ImplicitRK) for spec in [*self.specs, *self.nested])
        return self.tolerance or (ITERATED if iterated else TOLERANCES[self.dtype])

    def sample(self, number: int, tensors: Sequence[torch.Tensor]) -> Sample:
        """Run the torch model on inputs, with fresh base draws, all batch rows together."""
        source = SeededSource(self.seed + number)
        with drawing(source):
            expected, counts = self._run(self.callee, tensors)
        return Sample(number, tensors, source.arrays, expected, counts, self.callee.changed())

    def reference(
        self, tensors: Sequence[torch.Tensor], drawn: Sequence[torch.Tensor]
    ) -> tuple[list[np.ndarray], list[SolveCount]]:
        """The torch model's outputs, and the counts of its solves, with these base draws."""
        if self.alone is not None:
            used = {x.draw.index for x in self.noise}
            used_draws = [x if i in used else None for i, x in enumerate(drawn)]
            return run_alone(self.callee, tensors, self.overrides, self.alone, used_draws, most_calls=self.most_calls)
        with drawing(ReplayedSource(drawn)):
            return self._run(self.callee, tensors)

    def _run(self, callee: Callee, tensors: Sequence[torch.Tensor]) -> tuple[list[np.ndarray], list[SolveCount]]:
        return run_reference(callee, tensors, self.overrides, self.instead, most_calls=self.most_calls)

    def judge(
        self, sample: Sample, names: Sequence[str], outputs: Sequence[np.ndarray], *, steps_differ: bool = False
    ) -> SampleVerdict:
        """Compare outputs with torch's. Where outputs or steps differ, allow the differences that rounding makes in
        torch."""
        rtol, atol = self.base
        allowed = [atol + rtol * largest_element(value) for value in sample.expected]
        checks = _compared(sample, names, outputs, allowed)
        if self.tolerance is not None or (not steps_differ and all(check.passed for check in checks)):
            return SampleVerdict(checks, allowed)
        again, _ = self.reference(sample.tensors, sample.noise)
        if any(_distance(a, b) > limit for a, b, limit in zip(again, sample.expected, allowed, strict=True)):
            return SampleVerdict(checks, allowed, steady=False)
        moved, same_steps = self._rounding(sample)
        allowed = [a + ROUNDING_FACTOR * m for a, m in zip(allowed, moved, strict=True)]
        return SampleVerdict(_compared(sample, names, outputs, allowed), allowed, same_steps=same_steps)

    def _rounding(self, sample: Sample) -> tuple[list[float], bool]:
        """The distance by which each of torch's outputs moves when the inputs change in their last places, and whether
        the steps stay the same."""
        normal = {x.draw.index for x in self.noise if x.draw.distribution == "normal"}
        generator = torch.Generator().manual_seed(0)
        moved = [OWN_ERRORS / ROUNDING_FACTOR * error for error in self._own_error(sample)]
        same = True
        for _ in range(ROUNDING_RUNS):
            shaken = [_shake(tensor, generator) for tensor in sample.tensors]
            # Uniform draws are not changed: models compare them with probabilities, and a decision is no rounding.
            drawn = [_shake(x, generator) if i in normal else x for i, x in enumerate(sample.noise)]
            try:
                outputs, again = self.reference(shaken, drawn)
            except Exception:  # a model that fails after rounding does not show how far its answer moves
                continue
            same &= list(again) == list(sample.counts)
            moved = [
                max(far, _distance(one, other)) for far, one, other in zip(moved, outputs, sample.expected, strict=True)
            ]
        return moved, same

    def _own_error(self, sample: Sample) -> list[float]:
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
            with drawing(ReplayedSource([x.double() for x in sample.noise])):
                outputs, _ = self._run(callee, widened(sample.tensors))
        except Exception:  # a model with float32 numbers of its own may raise any error
            return nothing
        return [_distance(one, other) for one, other in zip(outputs, sample.expected, strict=True)]


class FreshSamples:
    """The sample inputs of an export: the example, then fresh inputs that the torch model takes; torch runs each once.

    times: the inputs that are output times. frozen: the inputs that stay as in the example. count: the number of fresh
    samples wanted; iteration gives more, as some samples may break an assumption. first: the answer on the example,
    where it is known. skipped: a sentence for each kind of inputs that were drawn and left out, so far.
    """

    def __init__(
        self,
        judge: Judge,
        *,
        dynamic: Dynamic,
        times: Collection[str],
        frozen: Collection[str],
        count: int,
        first: Sample | None = None,
    ) -> None:
        callee = judge.callee
        endless = samples(callee.names, callee.example, dynamic, times, frozen=frozen, count=count, seed=judge.seed)
        self.count = count
        self.skipped: dict[str, None] = {}
        self._judge, self._unending = judge, 0
        self._inputs = enumerate(islice(endless, 1 + 8 * count))
        self._known: list[Sample] = []
        if first is not None:
            next(self._inputs)
            self._known.append(first)

    def __iter__(self) -> Iterator[Sample]:
        number = 0
        while number < len(self._known) or self._draw():
            yield self._known[number]
            number += 1

    def _draw(self) -> bool:
        """Run the model on one more sample, if there is one."""
        for number, tensors in self._inputs:
            try:
                sample = self._judge.sample(len(self._known), tensors)
            except TooManyCalls as error:
                self.skipped[_skipped(error)] = None
                self._unending += 1
                if self._unending >= _MOST_UNENDING and len(self._known) > 1:
                    return False
                continue
            except StructureError:
                raise
            except Exception:  # the model may raise anything on inputs it was not made for
                if number > 0:
                    continue
                raise
            self._known.append(sample)
            return True
        return False


def _skipped(error: TooManyCalls) -> str:
    """The warning for a sample that torch did not solve in bounded time."""
    return (
        f"some inputs drawn for the comparison were left out: {error}, far more often than on the example (an event "
        "that never comes, or a problem that turns stiff); the runtime ends such a call at max_steps, or at a deadline"
    )


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
    sample: Sample,
    names: Sequence[str],
    outputs: Sequence[np.ndarray],
    allowed: Sequence[float],
) -> list[OutputCheck]:
    return [
        compare(sample.number, name, got, value, allowed=limit)
        for name, got, value, limit in zip(names, outputs, sample.expected, allowed, strict=True)
    ]
