"""Lists as long as an axis, `torch.tensor([1000] * n)` with n the size of a dynamic axis: tensors that repeat a row.

Samplers write the labels of a batch so. Python asks a size for a number where it repeats a list. While a model is
traced, the size gives a `Repeated` in place of the list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch


class Repeated:
    """A list, repeated as often as an axis is long. Whatever else is asked of it than a tensor fixes the size."""

    def __init__(self, items: Sequence[Any], count: torch.SymInt) -> None:
        self.items, self.count = items, count

    def listed(self) -> list[Any]:
        """The list at the size of the trace, which fixes the size."""
        return list(self.items) * self.count.__index__()

    def __len__(self) -> int:
        return len(self.listed())

    def __iter__(self) -> Iterator[Any]:
        return iter(self.listed())

    def __getitem__(self, index: Any) -> Any:
        return self.listed()[index]

    def __add__(self, other: Any) -> list[Any]:
        return self.listed() + list(other)

    def __radd__(self, other: Any) -> list[Any]:
        return list(other) + self.listed()


@contextmanager
def repeated_lists() -> Iterator[None]:
    """Let a list times a size be a `Repeated`, until the block is left."""
    originals = {name: getattr(torch.SymInt, name) for name in ("__mul__", "__rmul__")}

    def times(original: Callable[..., Any]) -> Callable[..., Any]:
        def multiply(size: torch.SymInt, other: Any) -> Any:
            if isinstance(other, (list, tuple)) and not size.node.expr.is_number:
                return Repeated(other, size)
            return original(size, other)

        return multiply

    try:
        for name, original in originals.items():
            setattr(torch.SymInt, name, times(original))
        yield
    finally:
        for name, original in originals.items():
            setattr(torch.SymInt, name, original)


def tensor_of_repeated(data: Repeated, kwargs: Mapping[str, Any]) -> torch.Tensor:
    """The tensor of a repeated list, as torch.tensor makes it."""
    row = torch.tensor(list(data.items), **{key: given for key, given in kwargs.items() if key != "data"})
    return row.repeat(data.count, *[1] * (row.ndim - 1))
