"""The frames of the user's code from which each node of a traced graph comes, for messages with file and line.

By itself torch.export keeps only frames of functions called `forward`, and so no frame of a field that is a lambda;
tracing below autograd keeps none. Here every frame between the model's call and the operator is kept, except frames of
libraries.
"""

from __future__ import annotations

import sys
import traceback
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch.fx import proxy as fx_proxy
from torch.fx import traceback as fx_traceback
from torch.fx.proxy import TracerBase

from odelet_export.capture.sizes.watch import SizeWatch
from odelet_export.model import callee
from odelet_intercept.user_code import is_library


class _Stack:
    """Stands for torch's captured traceback, with the frames of the model's own code alone.

    torch's own describes every frame, most of them torch's, for each node of a graph.
    """

    @staticmethod
    def extract() -> _Stack:
        """The stack that runs now."""
        return _Stack()

    def summary(self) -> traceback.StackSummary:
        """The frames between the model's call and this one that are no library's, the innermost last."""
        found = []
        frame: types.FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename != callee.__file__:
            if not _is_library(frame.f_code.co_filename):
                found.append(traceback.FrameSummary(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
            frame = frame.f_back
        return traceback.StackSummary.from_list(reversed(found))


@cache
def _is_library(file: str) -> bool:
    return is_library(file)


@contextmanager
def user_frames() -> Iterator[None]:
    """Let tracers record the frames of the model's own code with each node, the innermost last."""
    stack, frames = fx_proxy.CapturedTraceback, TracerBase._filter_traceback_frames
    fx_proxy.CapturedTraceback = _Stack  # type: ignore[assignment, misc]  # torch has no hook
    TracerBase._filter_traceback_frames = lambda _tracer, frames: frames  # type: ignore[assignment, method-assign]  # as above
    try:
        yield
    finally:
        fx_proxy.CapturedTraceback = stack  # type: ignore[misc]  # as above
        TracerBase._filter_traceback_frames = frames  # type: ignore[method-assign]  # as above


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
