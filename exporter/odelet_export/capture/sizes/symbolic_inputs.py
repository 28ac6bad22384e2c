"""Inputs of a trace below autograd in which the sizes of dynamic axes are symbols, and all other sizes numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch._dynamo.source import ConstantSource
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext


@contextmanager
def symbolic_inputs(tensors: Sequence[torch.Tensor], dynamic_axes: Sequence[Mapping[int, object]]) -> Iterator[None]:
    """Let make_fx take symbols for the sizes of the dynamic axes alone; by itself it takes them for all sizes, so that
    no size can be a key of a dict or the end of a range.

    tensors: the inputs, as they are passed to make_fx. dynamic_axes: the dynamic axes of each.
    """
    mode = FakeTensorMode(allow_fallback_kernels=False, allow_non_fake_inputs=True, shape_env=ShapeEnv())
    remembered = []
    for i, (tensor, axes) in enumerate(zip(tensors, dynamic_axes, strict=True)):
        kinds = [DimDynamic.DYNAMIC if axis in axes else DimDynamic.STATIC for axis in range(tensor.ndim)]
        context: StatelessSymbolicContext[Any, Any] = StatelessSymbolicContext(dynamic_sizes=kinds)
        # make_fx asks the mode that is on, and a mode gives the same answer again as long as the first is in use.
        remembered.append(mode.from_tensor(tensor, source=ConstantSource(f"input{i}"), symbolic_context=context))
    with mode:
        yield
