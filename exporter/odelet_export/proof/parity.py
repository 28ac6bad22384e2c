"""Parity: the artifact's answers, as the runtime gives them, compared with torch's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from odelet.artifact.card import Card
from odelet.artifact.samples import OutputCheck
from odelet.errors import AssumptionError, OdeletError, SolveError
from odelet.loops.stats import SolveStats
from odelet.model.model import Model
from odelet.status import Status
from odelet_export.model.reference import SolveCount
from odelet_export.model.spec import SolveSpec
from odelet_export.model.time_limit import OutOfTime
from odelet_export.proof.fresh_samples import FreshSamples
from odelet_export.proof.judge import Judge, Sample
from odelet_export.proof.report import Report, SampleCheck, SolveCheck

# A bounded solve may end with this status and is compared all the same, as torch solves it on the same grid.
_GUARDED = (Status.OUT_OF_TOLERANCE, Status.NOT_FINITE)


@dataclass(frozen=True)
class Comparison:
    """An artifact and the judge of its answers. solves, draws: the numbers of the model's solves and random draws."""

    model: Model
    judge: Judge
    solves: int
    draws: int

    def check(self, drawn: FreshSamples, more: Sequence[Sample] = ()) -> tuple[Report, list[Sample]]:
        """Compare at the samples in `more`, at the example and at `drawn.count` fresh samples.

        Fresh samples that break an assumption are skipped. Returns the report and the samples compared. Raises
        ExportError where the torch model fails on the example, and AssumptionError where the example breaks one.
        """
        judge = self.judge
        checks: list[SampleCheck] = []
        compared: list[Sample] = []
        for batch in chain(more, drawn):
            try:
                sample = judge.solved_alone(batch)
                if other := self._other_axes(sample):
                    drawn.leave_out(batch, other, told=True)
                    continue
                checks.append(self.at(sample, len(checks)))
            except AssumptionError as error:
                if batch.number == 0:
                    raise
                drawn.leave_out(batch, f"an assumption does not hold there ({error.assumption})")
                continue
            except OutOfTime as error:
                drawn.leave_out(batch, str(error))
                continue
            compared.append(batch)
            if len(checks) > drawn.count + len(more):
                break
        report = Report(*judge.base, not judge.single, checks, wanted=drawn.count, left_out=drawn.left_out)
        return report, compared

    def _other_axes(self, sample: Sample) -> str:
        """A clause for an output of torch's that has other axes than the artifact's; empty where there is none."""
        for tensor, expected in zip(self.model.card.outputs, sample.expected, strict=True):
            if np.ndim(expected) != len(tensor.shape):
                return (
                    f"torch's own output {tensor.name!r} has {np.ndim(expected)} axes there and {len(tensor.shape)} on "
                    "the example, as squeeze() leaves out every axis of size 1; name the axis, as in squeeze(-1), so "
                    "that the artifact takes such inputs"
                )
        return ""

    def at(self, sample: Sample, number: int) -> SampleCheck:
        """Compare at one sample. number: the number that the report gives to it. Raises AssumptionError where the
        sample breaks an assumption, and OutOfTime where torch may run no longer."""
        judge = self.judge
        arrays = {name: tensor.numpy() for name, tensor in zip(judge.callee.names, sample.tensors, strict=True)}
        drawn = sample.noise
        arrays |= {x.name: drawn[x.draw.index].numpy() for x in judge.noise if x.draw.index < len(drawn)}
        shapes = {name: list(array.shape) for name, array in arrays.items()}
        names = [tensor.name for tensor in self.model.card.outputs]
        solution = None
        try:
            if not _takes(self.model.card, arrays):
                # A size of what torch drew may be a number of the example, which an assumption checks in each call.
                self.model.solve(*list(arrays.values())[: len(sample.tensors)])
            solution = self.model.solve(*arrays.values())
            if not (judge.instead and solution.status in _GUARDED):
                solution.raise_if_failed()
        except AssumptionError:
            raise
        except OdeletError as error:
            notes = [OutputCheck(number, name, False, note=str(error)) for name in names]
            solves = [] if solution is None else _solve_checks(judge.specs, solution.stats.solves, sample.counts)
            return SampleCheck(shapes, notes, solves, _unconverged(error, judge.specs, solves))
        if sample.changed:
            return SampleCheck(shapes, [OutputCheck(number, names[0], False, note=sample.changed[0])], [])
        solves = _solve_checks(judge.specs, solution.stats.solves, sample.counts)
        steps_differ = not judge.single and not all(solve.equal for solve in solves)
        outputs = [solution.outputs[name] for name in names]
        verdict = judge.judge(replace(sample, number=number), names, outputs, steps_differ=steps_differ)
        note = "the steps differ from torchdiffeq's" if steps_differ and verdict.same_steps else ""
        if not verdict.steady:
            note = "torch itself gives other answers when it runs again on the same inputs"
        if len(drawn) != self.draws:
            note = f"torch drew random numbers {len(drawn)} times here and {self.draws} times when it was captured"
        if len(sample.counts) != self.solves:
            note = f"torch made {len(sample.counts)} solves here and {self.solves} when the model was captured"
        bundle = {f"in/{name}": array for name, array in arrays.items()}
        bundle |= {f"out/{name}": value for name, value in zip(names, sample.expected, strict=True)}
        bundle |= {f"allowed/{name}": np.asarray(a) for name, a in zip(names, verdict.allowed, strict=True)}
        # `odelet verify` expects solves that end well, not only answers that agree with torch's.
        stored = bundle if solution.status is Status.OK else {}
        return SampleCheck(shapes, list(verdict.checks), solves, note, stored, base=verdict.base, scales=verdict.scales)


def _takes(card: Card, arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether the sizes that an artifact fixes are those of the arrays, by the names of its inputs."""
    return all(
        len(tensor.shape) == arrays[tensor.name].ndim
        and all(
            size == fixed
            for size, fixed in zip(arrays[tensor.name].shape, tensor.shape, strict=True)
            if isinstance(fixed, int)
        )
        for tensor in card.inputs
        if tensor.name in arrays
    )


def _solve_checks(
    specs: Sequence[SolveSpec], stats: Sequence[SolveStats], counts: Sequence[SolveCount]
) -> list[SolveCheck]:
    return [
        SolveCheck(
            *(spec.index, spec.method, counts[spec.call], done.steps, done.accepted, done.evaluations),
            noise="" if spec.sde is None else spec.sde.noise,
        )
        for spec, done in zip(specs, stats, strict=True)
        if spec.call < len(counts)
    ]


def _unconverged(error: OdeletError, specs: Sequence[SolveSpec], solves: Sequence[SolveCheck]) -> str:
    """A note where an iteration did not converge that took as many turns in torch; else an empty text."""
    if not isinstance(error, SolveError) or error.status is not Status.NOT_CONVERGED:
        return ""
    alike = {solve.index for solve in solves if solve.equal}
    ended = [spec.source for spec in specs if spec.timeless and spec.index in alike]
    if not ended:
        return ""
    return f"the iteration at {', '.join(ended)} does not converge in torch either; change the model or its `mark`"
