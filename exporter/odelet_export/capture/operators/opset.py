"""The operators of ONNX as functions: during a translation, `op.Add(x, y)` records a node and returns its output.

onnxscript types them for its own scripts, in which a value may be a numpy array. Here they take values of the graph and
Python numbers, and return a value of the graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

import onnx_ir as ir
from onnxscript import opset18


class Operators(Protocol):
    """An operator for each attribute: a function of the operator's inputs, and of its attributes by name."""

    def __getattr__(self, name: str) -> Callable[..., ir.Value]: ...


op = cast(Operators, opset18)
