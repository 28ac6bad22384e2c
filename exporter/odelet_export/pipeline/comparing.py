"""Compares captures of one model with the model, before they are lifted, and captures it at other sizes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from odelet_export.capture.capture import capture
from odelet_export.capture.captured import Captured
from odelet_export.graphs.nodes import DOMAIN
from odelet_export.lowering.lift import time_inputs
from odelet_export.model.axes import Dynamic
from odelet_export.model.callee import Callee
from odelet_export.pipeline.settings import ExportSettings
from odelet_export.proof.capture_check import CaptureCheck
from odelet_export.proof.judge import Judge
from odelet_export.proof.sample_inputs import Drawing
from odelet_export.proof.torch_clock import TorchClock


@dataclass(frozen=True)
class Comparing:
    """What the comparisons of one export have in common.

    callee, dynamic, settings: the model, its dynamic axes and the settings of the export. most_calls: how often one run
    of torch may call fields. clock: counts and limits the time of torch's runs.
    """

    callee: Callee
    dynamic: Dynamic
    settings: ExportSettings
    most_calls: int
    clock: TorchClock

    def of(self, captured: Captured) -> tuple[CaptureCheck, Judge]:
        """What compares a capture that is not lifted yet with the model, at inputs like the example."""
        guards = {one.output for one in captured.assumptions}
        outputs = [value for value in captured.model.graph.outputs if value.name not in guards]
        settings = self.settings
        judge = Judge(
            self.callee,
            captured.specs,
            settings.solves,
            [*_dtypes(outputs), *_states(captured.model.graph)],
            settings.proof.tolerance,
            noise=captured.noise,
            nested=captured.nested,
            seed=settings.proof.seed,
            most_calls=self.most_calls,
            clock=self.clock,
        )
        decisive = {name for one in captured.assumptions for name in one.inputs}
        times = time_inputs(captured)
        drawing = Drawing(self.callee.names, self.callee.example, self.dynamic, times, settings.freeze, decisive)
        return CaptureCheck(captured, judge, drawing), judge

    def recapture(self, sizes: Mapping[str, int]) -> Captured:
        """A capture of the model at other sizes of its dynamic axes, by label. Raises as `capture` does."""
        settings = self.settings
        return capture(
            self.callee,
            self.dynamic,
            settings.solves,
            opset=settings.opset,
            frozen=settings.freeze,
            sizes=sizes,
        )


def _states(graph: ir.Graph) -> Iterator[str]:
    """The dtypes of the states of the solves."""
    for node in graph:
        if node.domain == DOMAIN and node.op_type == "End":
            yield from _dtypes(node.outputs)


def _dtypes(values: Iterable[ir.Value]) -> Iterator[str]:
    yield from (value.dtype.numpy().name for value in values if value.dtype is not None)
