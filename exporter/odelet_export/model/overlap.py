"""Whether two tensors share elements of memory without being the same view of it."""

from __future__ import annotations

import torch

# Above so many elements, the addresses of two views are not compared one by one.
_MOST = 2**22


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
