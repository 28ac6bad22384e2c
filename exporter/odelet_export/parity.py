"""Parity: the artifact's answers, through the real runtime, beside torch's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from odelet.errors import OdeletError
from odelet.model import Model
from odelet.solution import SolveStats
from odelet.verify import OutputCheck
from odelet_export.judge import Judge, Sample
from odelet_export.reference import SolveCount
from odelet_export.report import Report, SampleCheck, SolveCheck
from odelet_export.spec import SolveSpec


@dataclass(frozen=True)
class Comparison:
    """What an artifact is compared with, and how. calls: how many solves the model makes."""

    model: Model
    judge: Judge
    calls: int

    def check(self, drawn: Iterable[Sample]) -> Report:
        """Compare at the samples. Raises ExportError when the torch model fails on the example."""
        judge = self.judge
        if judge.alone is not None:
            drawn = (replace(sample, **_solved_alone(judge, sample)) for sample in drawn)
        return Report(*judge.base, not judge.single, [self._sample(sample) for sample in drawn])

    def _sample(self, sample: Sample) -> SampleCheck:
        judge = self.judge
        arrays = {name: tensor.numpy() for name, tensor in zip(judge.callee.names, sample.tensors, strict=True)}
        shapes = sample.shapes(judge.callee.names)
        names = [tensor.name for tensor in self.model.card.outputs]
        try:
            solution = self.model.solve(*arrays.values()).raise_if_failed()
        except OdeletError as error:
            notes = [OutputCheck(sample.number, name, False, note=str(error)) for name in names]
            return SampleCheck(shapes, notes, [])
        solves = _solve_checks(judge.specs, solution.stats.solves, sample.counts)
        steps_differ = not judge.single and not all(solve.equal for solve in solves)
        outputs = [solution.outputs[name] for name in names]
        verdict = judge.judge(sample, names, outputs, steps_differ=steps_differ)
        note = "the steps differ from torchdiffeq's" if steps_differ and verdict.same_steps else ""
        if not verdict.steady:
            note = "torch itself gives other answers when it runs again on the same inputs"
        if len(sample.counts) != self.calls:
            note = f"torch made {len(sample.counts)} solves here and {self.calls} when the model was captured"
        bundle = {f"in/{name}": array for name, array in arrays.items()}
        bundle |= {f"out/{name}": value for name, value in zip(names, sample.expected, strict=True)}
        bundle |= {f"allowed/{name}": np.asarray(a) for name, a in zip(names, verdict.allowed, strict=True)}
        return SampleCheck(shapes, list(verdict.checks), solves, note, bundle)


def _solved_alone(judge: Judge, sample: Sample) -> dict[str, Any]:
    expected, counts = judge.reference(sample.tensors)
    return {"expected": expected, "counts": counts}


def _solve_checks(
    specs: Sequence[SolveSpec], stats: Sequence[SolveStats], counts: Sequence[SolveCount]
) -> list[SolveCheck]:
    return [
        SolveCheck(spec.index, spec.method, counts[spec.call], done.steps, done.accepted, done.evaluations)
        for spec, done in zip(specs, stats, strict=True)
        if spec.call < len(counts)
    ]
