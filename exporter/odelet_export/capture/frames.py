"""The frames of the user's code from which each node of a traced graph comes, for messages with file and line.

By itself torch.export keeps only frames of functions called `forward`, and so no frame of a field that is a lambda;
tracing below autograd keeps none. Here every frame between the model's call and the operator is kept, except frames of
libraries.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.fx import traceback as fx_traceback
from torch.fx.proxy import TracerBase

from odelet_export.capture.sizes.watch import SizeWatch
from odelet_export.model import callee
from odelet_intercept.user_code import is_library


@contextmanager
def user_frames() -> Iterator[None]:
    """Let tracers record the frames of the model's own code with each node, the innermost last."""
    original = TracerBase._filter_traceback_frames

    def frames_of_the_user(_tracer: TracerBase, frames: traceback.StackSummary) -> traceback.StackSummary:
        entry = max((i for i, frame in enumerate(frames) if frame.filename == callee.__file__), default=-1)
        return traceback.StackSummary.from_list([f for f in frames[entry + 1 :] if not is_library(f.filename)])

    TracerBase._filter_traceback_frames = frames_of_the_user  # type: ignore[assignment, method-assign]  # torch has no hook
    try:
        yield
    finally:
        TracerBase._filter_traceback_frames = original  # type: ignore[method-assign]  # as above


class Retraced(torch.nn.Module):
    """A traced module that is traced again: the frames recorded with its nodes pass to the new nodes.

    sizes: the watch over the sizes of the first trace. names: those of the inputs.
    """

    def __init__(self, traced: torch.fx.GraphModule, sizes: SizeWatch, names: Sequence[str]) -> None:
        super().__init__()
        self.traced = traced
        self._sizes, self._names = sizes, names

    def forward(self, *tensors: torch.Tensor) -> Any:
        self._sizes.begin(dict(zip(self._names, tensors, strict=True)), again=True)
        with fx_traceback.preserve_node_meta():
            outputs = torch.fx.Interpreter(self.traced).run(*tensors)
        self._sizes.settle()
        return outputs
