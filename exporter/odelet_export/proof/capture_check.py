"""The check of a capture: the captured graph, run under torchdiffeq, must answer as the model, before it is lowered."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

import torch

from odelet.artifact.formulas import Formula
from odelet_export.capture.captured import Captured
from odelet_export.model.axes import Dynamic
from odelet_export.model.trees import row_leaves
from odelet_export.proof.judge import Judge, Sample
from odelet_export.proof.replay import Replay
from odelet_export.proof.sample_inputs import draw
from odelet_intercept.errors import CaptureError
from odelet_intercept.user_code import place_in_trace, with_source

# Operators that take sizes have names that contain one of these.
_SIZED = re.compile(
    r"view|reshape|expand|broadcast|repeat|tile|full|zeros|ones|empty|arange|linspace|eye|split|narrow|slice|unflatten"
)


class CaptureCheck:
    """The check of one capture. judge: solves all batch rows together, as the captured graph does. times: the inputs
    that are output times."""

    def __init__(self, captured: Captured, judge: Judge, dynamic: Dynamic, times: Iterable[str]) -> None:
        self._captured, self._judge, self._dynamic, self._times = captured, judge, dynamic, set(times)
        self._replay = Replay(captured, judge.overrides)
        self._names = judge.callee.output_names

    def check(self, samples: Iterable[Sample]) -> None:
        """Raise CaptureError where the captured graph does not give the model's answers.

        Two kinds of samples tell nothing about the capture and are passed over: samples at which torch itself gives
        other answers when it runs again, and samples at which an assumption does not hold.
        """
        for sample in samples:
            problem = self._problem(sample)
            if problem is not None:
                raise CaptureError(self._message(sample, problem))

    def _problem(self, sample: Sample) -> str | None:
        """The description of what is wrong at a sample, or None."""
        if sample.number != 0 and not self._takes_sizes(sample):
            return None
        try:
            outputs = [
                output.numpy() for output in self._replay.run(sample.tensors, noise=dict(enumerate(sample.noise)))
            ]
        except CaptureError:
            raise
        except Exception as error:  # a graph that does not fit the inputs fails in any operator
            cause = next((line for line in str(error).splitlines() if line.strip()), "")
            return f"the captured graph fails: {type(error).__name__}: {cause.strip()[:200]}"
        if sample.number != 0 and not all(outputs[len(self._names) :]):
            return None
        verdict = self._judge.judge(sample, self._names, outputs[: len(self._names)])
        if verdict.passed or not verdict.steady:
            return None
        worst = next(check for check in verdict.checks if not check.passed)
        return f"output {worst.output!r} {worst.failure}"

    def _takes_sizes(self, sample: Sample) -> bool:
        """Whether a sample has sizes for which the capture holds."""
        tensors = dict(zip(self._judge.callee.names, sample.tensors, strict=True))
        sizes = {
            label: tensors[name].shape[axis] for name, axes in self._dynamic.items() for axis, label in axes.items()
        }
        return all(Formula(one.sizes).value(sizes) for one in self._captured.assumptions if one.sizes)

    def _message(self, sample: Sample, problem: str) -> str:
        """The text of the error: where the capture is wrong, the likely cause, and the remedy."""
        shapes = ", ".join(f"{name} {shape}" for name, shape in sample.shapes(self._judge.callee.names).items())
        lines = [
            "the capture is wrong: the captured graph, solved by torchdiffeq itself, does not give the model's answers",
            f"  where: sample {sample.number} ({shapes}): {problem}",
        ]
        sizes = self._traced_sizes()
        if self._dynamic and self._right_where_traced():
            at = ", ".join(f"{label}={size}" for label, size in sizes.items())
            lines.append(
                f"  found: it is right at the sizes it was traced with ({at}) and wrong at others; a size of the "
                "example is baked in"
            )
            lines += [f"    {place}" for place in self._baked(sizes)]
            lines.append(
                "  do: take sizes from tensor.shape as they are, without int(), len() or loops over an axis that may "
                "change; make no tensor from them in Python; or leave the axis out of `dynamic`"
            )
        else:
            lines += [
                "  found: a model that does something else while it is traced, or whose Python code decides by what "
                "it was given",
                "  do: make forward a function of its inputs alone: no counters, no caches, no look at whether it is "
                "being exported; choose by torch.where",
            ]
        return "\n".join(lines)

    def _traced_sizes(self) -> dict[str, int]:
        """The sizes of the dynamic axes while the model was traced."""
        tensors = dict(zip(self._judge.callee.names, self._captured.example, strict=True))
        return {
            label: tensors[name].shape[axis] for name, axes in self._dynamic.items() for axis, label in axes.items()
        }

    def _right_where_traced(self) -> bool:
        """Whether the capture is right for other values of the sizes that it was traced with."""
        callee, sizes = self._judge.callee, self._traced_sizes()
        generator = torch.Generator().manual_seed(0)
        tensors = [
            draw(example, self._dynamic.get(name, {}), sizes, is_time=name in self._times, generator=generator)
            for name, example in zip(callee.names, callee.example, strict=True)
        ]
        try:
            sample = self._judge.sample(-1, tensors)
        except Exception:  # the model may raise anything on inputs it was not made for
            return False
        return self._problem(sample) is None

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
