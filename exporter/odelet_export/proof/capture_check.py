"""The check of a capture: the captured graph, run under torchdiffeq, must answer as the model, before it is lowered."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import torch

from odelet.artifact.formulas import Formula
from odelet.artifact.input_cards import AssumptionCard
from odelet_export.capture.captured import Captured
from odelet_export.model.time_limit import OutOfTime
from odelet_export.model.trees import row_leaves
from odelet_export.model.writes import Writes, watching_writes
from odelet_export.proof.judge import Judge, Sample
from odelet_export.proof.replay import Replay
from odelet_export.proof.sample_inputs import Drawing
from odelet_export.proof.sample_sizes import sizes_of
from odelet_intercept.errors import CaptureError
from odelet_intercept.user_code import place_in_trace, with_source

# Operators that take sizes have names that contain one of these.
_SIZED = re.compile(
    r"view|reshape|expand|broadcast|repeat|tile|full|zeros|ones|empty|arange|linspace|eye|split|narrow|slice|unflatten"
)


_OVERLAPS = (
    "  found: an operation that writes into memory which it reads through another view; torch leaves undefined what",
    "  that gives, and its answer changes with the sizes and the machine:",
)
_COPY = "  do: let it read a copy, as in x[:, 1:] -= x[:, :-1].clone()"
_INTO_STATE = (
    "  found: a field that writes into the time or the state that the solver gives it; the solver goes on from what is",
    "  written, in some of its stages, so that dy/dt is no function of t and y:",
)
_OWN_TENSOR = (
    "  do: write to a tensor of the field's own, as in y = y.clamp(-1, 1) for y.clamp_(-1, 1), or y = y.clone() before "
    "the line; the model's answers then change, as its solver no longer sees what is written"
)
# How often inputs of the traced sizes are drawn until one tells something.
_DRAWS = 6


class WrongCaptureError(CaptureError):
    """The captured graph does not give the model's answers under torchdiffeq."""


@dataclass(frozen=True)
class Finding:
    """What one sample tells of a capture. problem: what is wrong there."""

    kind: Literal["right", "wrong", "unknown"]
    problem: str = ""


_RIGHT, _UNKNOWN = Finding("right"), Finding("unknown")


class CaptureCheck:
    """The check of one capture. judge: solves all batch rows together, as the captured graph does. drawing: draws
    further inputs like the example."""

    def __init__(self, captured: Captured, judge: Judge, drawing: Drawing) -> None:
        self._captured, self._judge, self.drawing = captured, judge, drawing
        self._replay = Replay(captured, judge.overrides)
        self._names = judge.callee.output_names

    @property
    def traced_sizes(self) -> dict[str, int]:
        """The sizes of the dynamic axes while the model was traced, by label."""
        return sizes_of(self._judge.callee.names, self._captured.example, self.drawing.dynamic)

    @property
    def conditions(self) -> list[Formula]:
        """What the captured graph needs of the sizes of axes."""
        return [Formula(one.sizes) for one in self._captured.assumptions if one.sizes]

    def check(self, samples: Iterable[Sample]) -> None:
        """Raise WrongCaptureError where the captured graph does not give the model's answers.

        Three kinds of samples tell nothing about the capture and are passed over: samples at which torch itself gives
        other answers when it runs again, samples at which an assumption does not hold, and samples for which torch has
        no time left.
        """
        for sample in samples:
            finding = self._finding(sample)
            if finding.kind == "wrong":
                raise WrongCaptureError(self._message(sample, finding.problem))

    def _finding(self, sample: Sample) -> Finding:
        """What a sample tells of the capture."""
        if sample.number != 0 and not self._takes_sizes(sample):
            return _UNKNOWN
        return self.compare(sample)

    def compare(self, sample: Sample) -> Finding:
        """What a sample tells of the capture, whatever the capture needs of sizes."""
        try:
            outputs = [
                output.numpy() for output in self._replay.run(sample.tensors, noise=dict(enumerate(sample.noise)))
            ]
        except CaptureError:
            raise
        except Exception as error:  # a graph that does not fit the inputs fails in any operator
            if sample.number != 0 and self._breaks_an_assumption(sample):
                return _UNKNOWN
            cause = next((line for line in str(error).splitlines() if line.strip()), "")
            return Finding("wrong", f"the captured graph fails: {type(error).__name__}: {cause.strip()[:200]}")
        guards = outputs[len(self._names) :]
        if sample.number != 0 and not all(guards):
            return _UNKNOWN
        for guard, assumption in zip(guards, self._captured.assumptions, strict=False):  # those on sizes have no guard
            if not guard:
                raise self._depends_on_sizes(assumption)
        try:
            verdict = self._judge.judge(sample, self._names, outputs[: len(self._names)])
        except OutOfTime:
            return _UNKNOWN
        if not verdict.steady:
            return _UNKNOWN
        # What torch leaves undefined may differ between its float32 and its float64, which would allow anything.
        undefined = verdict.passed and not verdict.close and bool(self._writes(sample).undefined)
        if verdict.passed and not undefined:
            return _RIGHT
        worst = max(verdict.checks, key=lambda check: (not check.passed, check.max_rel))
        return Finding("wrong", f"output {worst.output!r} {worst.failure}")

    def _breaks_an_assumption(self, sample: Sample) -> bool:
        """Whether an assumption does not hold at a sample for which the graph fails."""
        try:
            return not all(self._replay.run(sample.tensors, first=len(self._names)))
        except Exception:  # a guard that fails as the graph does tells nothing
            return False

    def _depends_on_sizes(self, assumption: AssumptionCard) -> CaptureError:
        """The error for a decision or a number that is another on the example than at the sizes of the trace."""
        at = ", ".join(f"{label}={size}" for label, size in self.traced_sizes.items())
        return CaptureError(
            f"{assumption.source}: {assumption.text}\n  found: a Python decision or number that depends on how large a "
            f"dynamic axis is: it is {assumption.value} where the model was traced ({at}), and not on the example\n"
            "  do: keep it a tensor (torch.where for a decision, x.sum() for int(x.sum())), or leave the axis out of "
            "`dynamic`"
        )

    def _takes_sizes(self, sample: Sample) -> bool:
        """Whether a sample has sizes for which the capture holds."""
        sizes = sizes_of(self._judge.callee.names, sample.tensors, self.drawing.dynamic)
        return all(condition.value(sizes) for condition in self.conditions)

    def _message(self, sample: Sample, problem: str) -> str:
        """The text of the error: where the capture is wrong, the likely cause, and the remedy."""
        shapes = ", ".join(f"{name} {shape}" for name, shape in sample.shapes(self._judge.callee.names).items())
        lines = [
            "the capture is wrong: the captured graph, with its solves run in torch, does not give the model's answers",
            f"  where: sample {sample.number} ({shapes}): {problem}",
        ]
        writes = self._writes(sample)
        for places, found, advice in (
            (writes.undefined, _OVERLAPS, _COPY),
            (writes.into_state, _INTO_STATE, _OWN_TENSOR),
        ):
            if places:
                return "\n".join([*lines, *found, *(f"    {with_source(place)}" for place in places), advice])
        sizes = self.traced_sizes
        # A size is to blame only where the capture is right at the sizes that it was traced with.
        there = self._where_traced() if self.drawing.dynamic else "wrong"
        at = ", ".join(f"{label}={size}" for label, size in sizes.items())
        baked = [f"    {place}" for place in self._baked(sizes)]
        advice = (
            "  do: take sizes from tensor.shape as they are, without int(), len() or loops over an axis that may "
            "change; make no tensor from them in Python; or leave the axis out of `dynamic`"
        )
        if there == "right":
            lines.append(
                f"  found: it is right at the sizes it was traced with ({at}) and wrong at others; a size of the "
                "example is baked in"
            )
            lines += [*baked, advice]
        elif there == "unknown":
            lines.append(
                f"  found: nothing certain; at the sizes it was traced with ({at}), no inputs were drawn on which "
                "the model can be compared, as they break an assumption or torch fails on them"
            )
            lines += ["  maybe: a size of the example is baked in", *baked] if baked else []
            lines.append(f"{advice}; if no size is to blame, make forward a function of its inputs alone")
        else:
            lines += [
                "  found: a model that does something else while it is traced, or whose Python code decides by what "
                "it was given",
                "  do: make forward a function of its inputs alone: no counters, no caches, no look at whether it is "
                "being exported; choose by torch.where",
            ]
        return "\n".join(lines)

    def _writes(self, sample: Sample) -> Writes:
        """The lines of the model that write into memory into which they must not, in a run of torch at a sample."""
        with watching_writes() as writes, suppress(Exception):  # the model may raise anything; what was found counts
            self._judge.reference(sample.tensors, sample.noise, number=sample.number)
        return writes

    def _where_traced(self) -> Literal["right", "wrong", "unknown"]:
        """Whether the capture is right for other values of the sizes that it was traced with."""
        generator = torch.Generator().manual_seed(0)
        for draw in range(_DRAWS):
            tensors = self.drawing.at(self.traced_sizes, generator, gently=draw % 2 == 1)
            try:
                finding = self._finding(self._judge.sample(1, tensors))
            except Exception:  # the model may raise anything on inputs it was not made for
                continue
            if finding.kind != "unknown":
                return finding.kind
        return "unknown"

    def _baked(self, sizes: Mapping[str, int]) -> list[str]:
        """Lines about operators that take a traced size as a number, with their places in the user's code."""
        lines: dict[str, None] = {}
        for node in self._captured.program.graph_module.graph.nodes:
            name = getattr(node.target, "__name__", "").split(".")[0]
            numbers = _numbers([*node.args, *node.kwargs.values()]) if _SIZED.search(name) else []
            same = [f"{label}={size}" for label, size in sizes.items() if size in numbers]
            if same:
                place = place_in_trace(node.meta.get("stack_trace"))
                lines[f"{name} with {' and '.join(same)}: {with_source(place)}"] = None
        return list(islice(lines, 3))


def _numbers(arguments: Sequence[object]) -> list[int]:
    """The plain integers among arguments and in lists of them."""
    return [x for x in row_leaves(arguments) if isinstance(x, int) and not isinstance(x, bool)]
