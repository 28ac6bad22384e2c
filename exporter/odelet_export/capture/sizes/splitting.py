"""Pieces of an axis whose size may change, `chunk` and `split`, as slices of symbolic length.

torch's own functions return as many pieces as fit, a number that a trace would fix together with the size. Here the
number of pieces is that of the example, and a condition on the size where another size would give another number. As
other rewrites do, these return a function that computes the result, or None for a call that can be traced as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.fx.experimental.symbolic_shapes import statically_known_true

Pieces = Callable[[], tuple[torch.Tensor, ...]]


def chunked(args: Sequence[Any], kwargs: Mapping[str, Any], _numbers: object) -> Pieces | None:
    """A rewrite of x.chunk(chunks, dim)."""
    x, chunks, axis = _arguments(args, kwargs, ("chunks",))
    size = x.shape[axis]
    if not isinstance(size, torch.SymInt) or not isinstance(chunks, int) or chunks < 1:
        return None
    even = statically_known_true(size % chunks == 0)
    return _pieces(x, axis, size // chunks if even else (size + chunks - 1) // chunks)


def split(args: Sequence[Any], kwargs: Mapping[str, Any], _numbers: object) -> Pieces | None:
    """A rewrite of x.split(length, dim) with one length for all pieces but the last."""
    x, length, axis = _arguments(args, kwargs, ("split_size_or_sections", "split_size"))
    symbolic = [isinstance(number, torch.SymInt) for number in (x.shape[axis], length)]
    if not any(symbolic) or not isinstance(length, (int, torch.SymInt)) or _on_example(length) < 1:
        return None
    return _pieces(x, axis, length)


def _arguments(args: Sequence[Any], kwargs: Mapping[str, Any], names: Sequence[str]) -> tuple[torch.Tensor, Any, int]:
    """The tensor, the argument by one of the names, and the axis."""
    given = list(args)
    x = given.pop(0) if given else kwargs.get("input", kwargs.get("tensor"))
    number = given.pop(0) if given else next(kwargs[name] for name in names if name in kwargs)
    axis = given.pop(0) if given else kwargs.get("dim", 0)
    assert isinstance(x, torch.Tensor)
    return x, number, axis


def _pieces(x: torch.Tensor, axis: int, length: Any) -> Pieces:
    """The pieces of an axis, all of a length but the last, which may be shorter."""
    size: Any = x.shape[axis]
    count = max(1, -(-_on_example(size) // _on_example(length)))

    def cut() -> tuple[torch.Tensor, ...]:
        # In a trace each question adds its answer to the conditions on the sizes, unless it is always the same.
        assert size <= count * length
        assert count == 1 or (count - 1) * length < size
        rest = size - (count - 1) * length
        return tuple(x.narrow(axis, i * length, length if i < count - 1 else rest) for i in range(count))

    return cut


def _on_example(number: Any) -> int:
    """A size as it is in the trace."""
    return int(number.node.hint) if isinstance(number, torch.SymInt) else int(number)
