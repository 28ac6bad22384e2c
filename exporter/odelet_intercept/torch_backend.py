"""The backend of torch tensors, with the functions that layouts of states and fixed-point iterations need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from odelet.numerics.backend import Numpy, Shape, StateBackend


class Torch:
    """The backend on tensors. `odelet.numerics.backend` documents the results of its functions."""

    loop = staticmethod(Numpy.loop)
    stacked_shape = staticmethod(Numpy.stacked_shape)
    matmul = staticmethod(torch.matmul)

    @staticmethod
    def where(condition: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.where(condition, x, y)

    @staticmethod
    def maximum(a: torch.Tensor, *others: Any) -> torch.Tensor:
        for b in others:
            a = torch.maximum(a, TORCH.cast(b, a))
        return a

    @staticmethod
    def cast(x: Any, like: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(x, dtype=like.dtype, device=like.device)

    @staticmethod
    def rms(x: torch.Tensor, *, axis: int | None = None) -> torch.Tensor:
        squares = x * x
        if not x.numel():
            return torch.sqrt(squares.sum() if axis is None else squares.sum(axis))
        return torch.sqrt(squares.mean() if axis is None else squares.mean(axis))

    @staticmethod
    def expand(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        return x.expand(like.shape)

    @staticmethod
    def reshape(x: torch.Tensor, shape: Shape) -> torch.Tensor:
        return x.reshape(shape)

    @staticmethod
    def concat(xs: Sequence[torch.Tensor], axis: int) -> torch.Tensor:
        return torch.cat(list(xs), dim=axis)

    @staticmethod
    def split(x: torch.Tensor, sizes: Sequence[int]) -> Sequence[torch.Tensor]:
        return torch.split(x, list(sizes), dim=-1)

    @staticmethod
    def transpose(x: torch.Tensor, axes: tuple[int, ...] = (1, 0)) -> torch.Tensor:
        return x.permute(axes)

    @staticmethod
    def sum(x: torch.Tensor, axis: int) -> torch.Tensor:
        return x.sum(axis)

    @staticmethod
    def take(x: torch.Tensor, index: int, axis: int) -> torch.Tensor:
        return x.select(axis, index)

    @staticmethod
    def any(condition: torch.Tensor) -> torch.Tensor:
        return condition.any()

    @staticmethod
    def constant(values: Any, like: torch.Tensor) -> torch.Tensor:
        return torch.tensor(values, dtype=like.dtype, device=like.device)


TORCH = Torch()

if TYPE_CHECKING:
    # In this way mypy proves that TORCH has all functions that its callers need, while they keep narrower types.
    _: StateBackend = TORCH
