"""The transforms of torch.func that look at values or sizes in Python, as others that a tracer can follow.

linearize            torch runs a trace of its own, in which a tracer is lost; here each call of the linear function
                     is a `jvp`
vmap(chunk_size=)    the pieces save memory, and their number depends on the size; here there is one piece
jacrev, jacfwd       torch writes ones into a basis of zeros, so that the trace must be taken apart by tracing it anew;
                     here the basis is `torch.eye`
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch._functorch import apis, eager_transforms
from torch.func import jvp  # `_linearize` runs in torch's file, which has this name, too


def _linearize(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """The value of a function, and its derivative as a function of a direction."""
    return func(*primals), lambda *tangents: jvp(func, primals, tangents)[1]


def _identity(tensors: Sequence[torch.Tensor], numels: Sequence[int]) -> tuple[torch.Tensor, ...]:
    """An identity matrix, of which each tensor has as many columns as it has elements; in each row, its own shape."""
    total, start, parts = sum(numels), 0, []
    for tensor, numel in zip(tensors, numels, strict=True):
        columns = torch.eye(total, dtype=tensor.dtype, device=tensor.device)
        columns = columns if len(tensors) == 1 else columns[:, start : start + numel]
        # Under vmap the zeros have the axis of the batch, as torch's own basis has.
        parts.append((tensor.new_zeros(total, numel) + columns).reshape(total, *tensor.shape))
        start += numel
    return tuple(parts)


@contextmanager
def plain_transforms() -> Iterator[None]:
    """Let the transforms be others until the block is left, also under names that the model has imported."""
    linearize: Any = eager_transforms.linearize
    original, vmap, written = linearize.__code__, apis.vmap_impl, eager_transforms._chunked_standard_basis_for_

    def in_one_piece(
        func: Any, in_dims: Any, out_dims: Any, randomness: Any, _chunk_size: Any, *args: Any, **kwargs: Any
    ) -> Any:
        return vmap(func, in_dims, out_dims, randomness, None, *args, **kwargs)

    def basis(tensors: Any, numels: Any, chunk_size: int | None = None) -> Any:
        return written(tensors, numels, chunk_size) if chunk_size is not None else iter([_identity(tensors, numels)])

    try:
        linearize.__code__ = _linearize.__code__
        eager_transforms._chunked_standard_basis_for_ = basis  # type: ignore[assignment]  # as below
        apis.vmap_impl = in_one_piece  # type: ignore[assignment]  # torch has no hook for any
        yield
    finally:
        linearize.__code__ = original
        apis.vmap_impl = vmap
        eager_transforms._chunked_standard_basis_for_ = written
