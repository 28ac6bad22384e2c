"""Where in the user's code each operator of a captured graph comes from.

torch keeps the frames of functions called `forward` alone, which says nothing of a field that is a lambda; and its
tracing below autograd keeps none. Here every frame of the user's own is kept.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.fx import traceback as fx_traceback
from torch.fx.proxy import TracerBase

from odelet_export.model import callee
from odelet_intercept.user_code import is_library


@contextmanager
def user_frames() -> Iterator[None]:
    """Let tracers keep the frames of the model's own code with each node, the innermost last."""
    original = TracerBase._filter_traceback_frames

    def own(_tracer: TracerBase, frames: traceback.StackSummary) -> traceback.StackSummary:
        entry = max((i for i, frame in enumerate(frames) if frame.filename == callee.__file__), default=-1)
        return traceback.StackSummary.from_list([f for f in frames[entry + 1 :] if not is_library(f.filename)])

    TracerBase._filter_traceback_frames = own  # type: ignore
    try:
        yield
    finally:
        TracerBase._filter_traceback_frames = original  # type: ignore[method-assign]


class Retraced(torch.nn.Module):
    """A traced module to be traced again: what is recorded of its nodes goes over to the new ones."""

    def __init__(self, traced: torch.fx.GraphModule) -> None:
        super().__init__()
        self.traced = traced

    def forward(self, *tensors: torch.Tensor) -> Any:
        with fx_traceback.preserve_node_meta():
            return torch.fx.Interpreter(self.traced).run(*tensors)
