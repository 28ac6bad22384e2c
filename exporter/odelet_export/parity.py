"""Parity: the artifact's answers, through the real runtime, beside torch's."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from odelet.errors import OdeletError
from odelet.model import Model
from odelet.solution import SolveStats
from odelet.verify import OutputCheck, compare

from odelet_export.draw import samples
from odelet_export.errors import ExportError
from odelet_export.reference import SolveCount, run_reference
from odelet_export.signature import Callee, Dynamic
from odelet_export.spec import Overrides, SolveSpec

# What counts as the same answer: errors of each output relative to its largest element.
TOLERANCES = {"float32": (1e-4, 1e-6), "float64": (1e-9, 1e-11)}
# Step for step agreement is owed in float64; in float32, rounding decides steps whose error ratio is near 1.
# Both answers are then within the solver's tolerance of the truth, and this many times it of each other.
OTHER_STEPS = 10.0


@dataclass(frozen=True)
class SolveCheck:
    """One solve in one sample: what torchdiffeq and odelet did. None where the form cannot know."""

    index: int
    method: str
    torch: SolveCount
    steps: int | None
    accepted: int | None
    evaluations: int | None

    @property
    def equal(self) -> bool:
        """Whether all counts that are known agree."""
        pairs = (
            (self.steps, self.torch.steps),
            (self.accepted, self.torch.accepted),
            (self.evaluations, self.torch.evaluations),
        )
        return all(ours is None or ours == theirs for ours, theirs in pairs)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        ours = {"steps": self.steps, "accepted": self.accepted, "evaluations": self.evaluations}
        return {
            "index": self.index,
            "method": self.method,
            "equal": self.equal,
            "odelet": ours,
            "torch": dict(self.torch.__dict__),
        }


@dataclass(frozen=True)
class SampleCheck:
    """One sample: the shapes of its inputs, its outputs compared, its solves compared."""

    shapes: dict[str, list[int]]
    outputs: list[OutputCheck]
    solves: list[SolveCheck]
    note: str = ""
    arrays: dict[str, np.ndarray] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Report:
    """The comparison of an artifact with its torch model.

    rtol, atol: an output passes when its largest error is at most atol + rtol times its largest element.
    strict: whether the steps must be the same too, as in float64.
    """

    rtol: float
    atol: float
    strict: bool
    samples: list[SampleCheck]

    @property
    def problems(self) -> list[str]:
        """What did not pass: which output, where, by how much."""
        found = []
        for number, sample in enumerate(self.samples):
            at = f"sample {number}"
            for check in sample.outputs:
                if not check.passed:
                    why = f"differs by {check.max_abs:.3g} ({check.max_rel:.3g} relative) at {list(check.worst)}"
                    why = check.note if math.isnan(check.max_abs) else why
                    found.append(f"{at}, output {check.output!r}: {why}")
            if sample.note:
                found.append(f"{at}: {sample.note}")
            found += [
                f"{at}, solve {solve.index} ({solve.method}): odelet took {solve.steps} steps, torchdiffeq {solve.torch.steps}"
                for solve in sample.solves
                if self.strict and not solve.equal
            ]
        return found

    @property
    def passed(self) -> bool:
        """Whether everything agrees."""
        return not self.problems

    @property
    def max_abs(self) -> float:
        """The largest error of any output."""
        return max((check.max_abs for sample in self.samples for check in sample.outputs), default=0.0)

    @property
    def max_rel(self) -> float:
        """The largest error of any output, relative to that output's largest element."""
        return max((check.max_rel for sample in self.samples for check in sample.outputs), default=0.0)

    def card(self) -> dict[str, Any]:
        """The summary that goes into the card."""
        return {
            "passed": self.passed,
            "rtol": self.rtol,
            "atol": self.atol,
            "max_abs": _finite(self.max_abs),
            "max_rel": _finite(self.max_rel),
            "samples": len(self.samples),
            "same_steps": all(solve.equal for sample in self.samples for solve in sample.solves),
        }

    def to_json(self) -> str:
        """Everything, as JSON."""
        data = {
            **self.card(),
            "problems": self.problems,
            "checks": [
                {
                    "inputs": sample.shapes,
                    "outputs": [check.to_dict() for check in sample.outputs],
                    "solves": [solve.to_dict() for solve in sample.solves],
                    "note": sample.note,
                }
                for sample in self.samples
            ],
        }
        return json.dumps(data, indent=2, allow_nan=False)

    def to_markdown(self) -> str:
        """Everything, for people."""
        verdict = "passed" if self.passed else "FAILED"
        lines = [
            f"# Parity with torch: {verdict}",
            "",
            "The artifact, run by odelet, beside the torch model, run by torchdiffeq. Sample 0 is the example that",
            "the model was exported with; the others are fresh inputs, drawn like it, with other batch sizes and,",
            "where the times are an input, other times.",
            "",
            f"An output passes when its largest error is at most {self.atol:g} + {self.rtol:g} x its largest element.",
            f"Steps must agree exactly: {'yes' if self.strict else 'no (float32)'}.",
            "",
            "| sample | inputs | output | max abs error | max rel error | pass |",
            "|---|---|---|---|---|---|",
        ]
        for number, sample in enumerate(self.samples):
            shapes = ", ".join(f"{name} {shape}" for name, shape in sample.shapes.items())
            for check in sample.outputs:
                lines.append(
                    f"| {number} | {shapes} | {check.output} | {check.max_abs:.3g} | {check.max_rel:.3g} "
                    f"| {'yes' if check.passed else '**no**'}{f' ({check.note})' if check.note else ''} |"
                )
        lines += [
            "",
            "| sample | solve | method | steps | accepted | evaluations | torchdiffeq's | same |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for number, sample in enumerate(self.samples):
            for solve in sample.solves:
                theirs = f"{solve.torch.steps}, {solve.torch.accepted}, {solve.torch.evaluations}"
                lines.append(
                    f"| {number} | {solve.index} | {solve.method} | {solve.steps} | {solve.accepted} "
                    f"| {solve.evaluations} | {theirs} | {'yes' if solve.equal else 'no'} |"
                )
        lines += ["", *(f"- {problem}" for problem in self.problems)] if self.problems else []
        return "\n".join(lines) + "\n"


def _finite(x: float) -> float | None:
    return x if math.isfinite(x) else None


def check(
    model: Model,
    callee: Callee,
    specs: Sequence[SolveSpec],
    *,
    dynamic: Dynamic,
    times: set[str],
    overrides: Overrides,
    count: int,
    seed: int,
    tolerance: tuple[float, float] | None,
) -> Report:
    """Compare an artifact with its torch model at the example and at `count` fresh inputs.

    tolerance: (rtol, atol) instead of TOLERANCES. Raises ExportError when the torch model itself fails on
    the example.
    """
    dtypes = {str(t.dtype) for t in (*callee.example,) if t.is_floating_point()}
    dtypes |= {tensor.dtype for tensor in model.card.outputs}
    single = any("float32" in dtype or "float16" in dtype for dtype in dtypes)
    rtol, atol = tolerance or TOLERANCES["float32" if single else "float64"]
    drawn = samples(callee.names, callee.example, dynamic, times, count=count, seed=seed)
    checks: list[SampleCheck] = []
    for number, tensors in enumerate(islice(drawn, 1 + 4 * count)):
        if len(checks) > count:
            break
        try:
            expected, counts = run_reference(callee, tensors, overrides)
        except Exception as error:  # the user's model may raise anything on inputs it was not made for
            if number == 0:
                raise ExportError(f"the torch model fails on the example: {type(error).__name__}: {error}") from error
            continue
        checks.append(_sample(len(checks), model, callee, tensors, expected, counts, specs, (rtol, atol), single))
    return Report(rtol, atol, not single, checks)


def _sample(
    number: int,
    model: Model,
    callee: Callee,
    tensors: Sequence[torch.Tensor],
    expected: Sequence[np.ndarray],
    counts: Sequence[SolveCount],
    specs: Sequence[SolveSpec],
    tolerance: tuple[float, float],
    single: bool,
) -> SampleCheck:
    arrays = {name: tensor.numpy() for name, tensor in zip(callee.names, tensors, strict=True)}
    shapes = {name: list(array.shape) for name, array in arrays.items()}
    names = [tensor.name for tensor in model.card.outputs]
    try:
        solution = model.solve(**arrays).raise_if_failed()
    except OdeletError as error:
        failed = [OutputCheck(number, name, False, note=str(error)) for name in names]
        return SampleCheck(shapes, failed, [])
    note = ""
    if len(counts) != len(specs):
        note = f"torch made {len(counts)} solves here and {len(specs)} when the model was captured"
    solves = [
        _solve_check(spec, stats, count)
        for spec, stats, count in zip(specs, solution.stats.solves, counts, strict=False)
    ]


    def compared(rtol: float, atol: float) -> list[OutputCheck]:
        return [
            compare(number, name, solution.outputs[name], value, rtol=rtol, atol=atol)
            for name, value in zip(names, expected, strict=True)
        ]

    outputs = compared(*tolerance)
    bundle: dict[str, np.ndarray] = {}
    if all(check.passed for check in outputs):
        bundle = {f"in/{name}": array for name, array in arrays.items()}
        bundle |= {f"out/{name}": value for name, value in zip(names, expected, strict=True)}
    elif single and not all(solve.equal for solve in solves):
        loose = [
            max([base, *(OTHER_STEPS * (getattr(spec, kind) or 0) for spec in specs)])
            for kind, base in zip(("rtol", "atol"), tolerance, strict=True)
        ]
        outputs = compared(*loose)
        note_loose = f"took other steps, in float32; compared within rtol {loose[0]:g}, atol {loose[1]:g}"
        outputs = [replace(check, note=check.note or note_loose) for check in outputs]
    return SampleCheck(shapes, outputs, solves, note, bundle)


def _solve_check(spec: SolveSpec, stats: SolveStats, count: SolveCount) -> SolveCheck:
    return SolveCheck(spec.index, spec.method, count, stats.steps, stats.accepted, stats.evaluations)


def write_report(report: Report, folder: Path) -> None:
    """Write parity.json and parity.md."""
    (folder / "parity.json").write_text(report.to_json(), encoding="utf-8")
    (folder / "parity.md").write_text(report.to_markdown(), encoding="utf-8")
