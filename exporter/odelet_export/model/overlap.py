"""Finds writes into memory that the same operation reads through another view: torch leaves undefined what they give.

`x[:, 1:] -= x[:, :-1]` is one: each element may be computed from the old value of its neighbour or from the new one,
as the size of the tensor and the machine will have it. torch refuses the simplest such writes, and computes others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from odelet_intercept.user_code import Place, short, user_frame

# Above so many elements, the addresses of two views are not compared one by one.
_MOST = 2**22


class _Watch(TorchDispatchMode):
    """Runs every operation as it is, and notes the lines of those that write where they read. places: the lines."""

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[Place, None] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[Any],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """The result of the operation."""
        kwargs = kwargs or {}
        if func._schema.is_mutable and _writes_where_it_reads(func._schema.arguments, args, kwargs):
            self.places[user_frame()] = None
        return func(*args, **kwargs)


@contextmanager
def watching_writes() -> Iterator[Callable[[], list[Place]]]:
    """Watch the operations within the context. Yields a function that gives the user's lines found so far."""
    with _Watch() as watch:
        yield lambda: list(watch.places)


def undefined(place: Place) -> str:
    """The warning about a line that writes where it reads."""
    return (
        f"{short(place)} writes into memory that it reads through another view, which torch leaves undefined; let it "
        "read a copy, as in x[:, 1:] -= x[:, :-1].clone()"
    )


def _writes_where_it_reads(parameters: Sequence[Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a tensor that an operation writes shares memory, in another view, with one that it reads."""
    written: list[torch.Tensor] = []
    read: list[torch.Tensor] = []
    for place, parameter in enumerate(parameters):
        value = args[place] if place < len(args) else kwargs.get(parameter.name)
        tensors = [one for one in (value if isinstance(value, (list, tuple)) else [value]) if torch.is_tensor(one)]
        writes = parameter.alias_info is not None and parameter.alias_info.is_write
        (written if writes else read).extend(tensors)
    return any(overlap(one, other) for one in written for other in read)


def overlap(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors have an element in common, and are not the same view of it."""
    if one.layout is not torch.strided or other.layout is not torch.strided or not one.numel() or not other.numel():
        return False
    if one.untyped_storage().data_ptr() != other.untyped_storage().data_ptr() or one.data_ptr() == 0:
        return False
    geometry = [(x.storage_offset(), x.shape, x.stride(), x.dtype) for x in (one, other)]
    if geometry[0] == geometry[1] or max(one.numel(), other.numel()) > _MOST:
        return False
    return bool(torch.isin(_addresses(one), _addresses(other)).any())


def _addresses(tensor: torch.Tensor) -> torch.Tensor:
    """The places of a tensor's elements in its storage, in bytes."""
    places = torch.tensor([tensor.storage_offset()])
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        places = (places[:, None] + torch.arange(size) * stride).reshape(-1)
    return places * tensor.element_size()
