"""Finds out why rounding moves torch's own answer far: jumps, loose tolerances, or a model that amplifies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from odelet.artifact.samples import largest_element
from odelet_export.model.overrides import Overrides
from odelet_export.model.reference import SolveCount, Solver, solved
from odelet_export.model.spec import SolveSpec
from odelet_export.proof.judge import Judge, Sample
from odelet_export.proof.jumps import Evaluation, Jumps, find_jumps
from odelet_export.proof.rough import Cause
from odelet_export.proof.rounding import distance, shaken
from odelet_intercept.call import Call

# How many places of jumps are named.
_NAMED = 4
# Tolerances are tried that are this much tighter, down to what float32 can resolve. They are to blame where torch's
# answer then moves by less than this share of its move.
_TIGHTER, _TIGHTEST, _STEADIER = 0.01, 1e-6, 0.2


def causes(judge: Judge, sample: Sample) -> list[Cause]:
    """The reasons why torch's answers at a sample move far by rounding; at least one."""
    jumping = [
        cause for spec in judge.specs if not (spec.timeless or spec.sde) for cause in _jumping(judge, sample, spec)
    ]
    if jumping:
        return jumping
    adaptive = [spec for spec in judge.specs if spec.adaptive]
    if adaptive and not sample.moves.same_steps and _steadier_when_tighter(judge, sample, adaptive):
        spec = adaptive[0]
        return [
            Cause(
                f"its tolerances are looser than the field is smooth (rtol={spec.rtol}, atol={spec.atol} at "
                f"{spec.source}): rounding is enough to make it take other steps, which give another answer",
                "tighten rtol and atol",
            )
        ]
    return [
        Cause(
            "the model amplifies rounding: a change in the last place of its inputs grows to that size",
            "export the model in float64, or solve over a shorter time",
        )
    ]


def _jumping(judge: Judge, sample: Sample, spec: SolveSpec) -> list[Cause]:
    """The causes that are jumps of the field of one solve."""
    found: list[Jumps] = []
    probing = replace(judge, instead={**judge.instead, spec.call: _probe(found.append, judge.overrides)})
    try:
        probing.reference(sample.tensors, sample.noise, number=sample.number)
    except Exception:  # the field may raise anything at states between those that a solver asks for
        return []
    lines = []
    times = sorted({f"{time:.4g}" for jumps in found for time in jumps.times}, key=float)
    if times:
        more = f" and {len(times) - _NAMED} more times" if len(times) > _NAMED else ""
        advice = (
            'give these times to the solver, options={"jump_t": times}'
            if spec.adaptive
            else "let no step end or begin within rounding of these times"
        )
        at = ", ".join(times[:_NAMED])
        lines.append(Cause(f"the field of the solve at {spec.source} jumps at time {at}{more}", advice))
    if any(jumps.in_state for jumps in found):
        lines.append(
            Cause(
                f"the field of the solve at {spec.source} jumps where the state crosses a border",
                "make the field smooth there, or end the solve at the border by an event",
            )
        )
    return lines


def _probe(tell: Callable[[Jumps], None], overrides: Overrides) -> Solver:
    """A solver that solves as torchdiffeq does, then looks for jumps of the field along the solution."""

    def solve(call: Call, original: Callable[..., Any]) -> tuple[Any, SolveCount]:
        evaluations: list[Evaluation] = []

        def field(t: torch.Tensor, y: Any) -> Any:
            slope = call.func(t, y)
            evaluations.append(Evaluation.of(t, y, slope))
            return slope

        answer = solved(replace(call, func=field), original, overrides)
        given = "jump_t" in (call.options or {})
        jumps = find_jumps(call.func, evaluations)
        tell(replace(jumps, times=()) if given else jumps)
        return answer, SolveCount(None, None, None)

    return solve


def _steadier_when_tighter(judge: Judge, sample: Sample, adaptive: Sequence[SolveSpec]) -> bool:
    """Whether torch's answer moves much less by rounding once the tolerances are tighter."""
    rtol = max(_TIGHTER * min(_smallest(spec.rtol) for spec in adaptive), _TIGHTEST)
    atol = _TIGHTER * min(_smallest(spec.atol) for spec in adaptive)
    tight = replace(judge, overrides=replace(judge.overrides, rtol=rtol, atol=atol))
    numbers = torch.Generator().manual_seed(1)
    try:
        one, _ = tight.reference(sample.tensors, sample.noise, number=sample.number)
        tensors = [shaken(tensor, numbers) for tensor in sample.tensors]
        other, _ = tight.reference(tensors, sample.noise, number=sample.number)
    except Exception:  # torch may fail with tolerances that the model was not made for
        return False
    floor = judge.base[0]
    return all(
        distance(a, b) <= max(_STEADIER * far, floor * largest_element(a))
        for a, b, far in zip(one, other, sample.moves.moved or sample.moves.own_errors, strict=True)
    )


def _smallest(tolerance: Any) -> float:
    """The smallest number of a tolerance, which may have one for each part of the state."""
    return min(tolerance) if isinstance(tolerance, tuple) else float(tolerance)
