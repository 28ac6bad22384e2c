"""Finds the tensors that a field computes with, so that the adjoint method gives a gradient to each of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def leaves_of(tensors: Iterable[Tensor], *, without: Iterable[Tensor] = ()) -> list[Tensor]:
    """The tensors that gradients of `tensors` end at. without: tensors behind which is no search."""
    stopped = {tensor.grad_fn for tensor in without if tensor.grad_fn is not None}
    own = {id(tensor) for tensor in without}
    waiting: list[Any] = [tensor.grad_fn for tensor in tensors]
    seen, found = set(stopped), {}
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if type(node).__name__ == "AccumulateGrad":
            if id(node.variable) not in own:
                found[id(node.variable)] = node.variable
            continue
        waiting.extend(before for before, _ in node.next_functions)
    return list(found.values())


def parameters_of(func: Any, t: Tensor, y0: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The tensors with gradients that a field computes with: the parameters of a module, and what else its value at the
    start depends on, such as a tensor of the model's that a closure or an attribute holds."""
    known: dict[int, Tensor] = {
        id(p): p for p in (func.parameters() if isinstance(func, nn.Module) else ()) if p.requires_grad
    }
    with torch.enable_grad():
        inputs = [part.detach().requires_grad_(True) for part in ((y0,) if isinstance(y0, Tensor) else y0)]
        start = t[0].detach()
        value = func(start, inputs[0] if isinstance(y0, Tensor) else tuple(inputs))
        values: Sequence[Tensor] = (value,) if isinstance(value, Tensor) else tuple(value)
    known |= {id(leaf): leaf for leaf in leaves_of(values, without=inputs)}
    return tuple(known.values())
