"""Windows and triangles of indices of a size that may change, in other operators that leave the size free.

torch makes them on the processor, and takes numbers alone for their sizes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Composite = Callable[[Sequence[Any], Mapping[str, Any], object], Callable[[], Any] | None]


def _window(shape: Callable[..., Tensor], **settings: float) -> Composite:
    """The rewrite of a window. shape: its values, of places from 0 to 1 and of settings, which have defaults here."""
    names = ("window_length", "periodic", *settings)

    def rewrite(args: Sequence[Any], kwargs: Mapping[str, Any], _: object) -> Callable[[], Tensor] | None:
        given = {"periodic": True, **settings, **dict(zip(names, args, strict=False)), **kwargs}
        size: Any = given["window_length"]
        if not isinstance(size, torch.SymInt) or len(args) > len(names):
            return None

        def window(size: Any = size) -> Tensor:
            places = torch.arange(size, dtype=torch.float64)
            count = torch.ones_like(places).sum()
            length = (count if given["periodic"] else count - 1).clamp(min=1)
            values = shape(places / length, *(given[name] for name in settings))
            # A window of one element is 1 in torch.
            return torch.where(count == 1, 1.0, values).to(given.get("dtype") or torch.get_default_dtype())

        return window

    return rewrite


def _hamming(place: Tensor, alpha: float, beta: float) -> Tensor:
    return alpha - beta * (2 * math.pi * place).cos()


def _blackman(place: Tensor) -> Tensor:
    return 0.42 - 0.5 * (2 * math.pi * place).cos() + 0.08 * (4 * math.pi * place).cos()


def _kaiser(place: Tensor, beta: float) -> Tensor:
    inside = (1 - (2 * place - 1).square()).clamp(min=0).sqrt()
    return torch.i0(beta * inside) / torch.i0(torch.full((), beta, dtype=place.dtype))


def triangle(*, lower: bool) -> Composite:
    """The rewrite of torch.tril_indices or triu_indices of a square, with its diagonal or without it."""

    def rewrite(args: Sequence[Any], kwargs: Mapping[str, Any], _: object) -> Callable[[], Tensor] | None:
        given = {"offset": 0, **dict(zip(("row", "col", "offset"), args, strict=False)), **kwargs}
        size: Any = given["row"]
        columns, offset = given["col"], given["offset"]
        if not isinstance(size, torch.SymInt) or not isinstance(columns, torch.SymInt):
            return None
        without = -1 if lower else 1
        if size.node.expr != columns.node.expr or offset not in (0, without):
            return None

        def indices(size: Any = size) -> Tensor:
            rows = size - (offset != 0)
            count = rows * (rows + 1) // 2
            place = torch.arange(count)
            place = place if lower else count - 1 - place
            # Row r begins at the place r (r + 1) / 2. Rounding is mended by a comparison with whole numbers.
            row = (((8 * place + 1).double().sqrt() - 1) / 2).floor().long()
            row = torch.where(row * (row + 1) // 2 > place, row - 1, row)
            row = torch.where((row + 1) * (row + 2) // 2 <= place, row + 1, row)
            column = place - row * (row + 1) // 2
            both = torch.stack([row + (offset != 0), column])
            return (both if lower else size - 1 - both).to(given.get("dtype") or torch.int64)

        return indices

    return rewrite


WINDOWS: dict[str, Composite] = {
    "hann_window": _window(lambda place: _hamming(place, 0.5, 0.5)),
    "hamming_window": _window(_hamming, alpha=0.54, beta=0.46),
    "blackman_window": _window(_blackman),
    "bartlett_window": _window(lambda place: 1 - (2 * place - 1).abs()),
    "kaiser_window": _window(_kaiser, beta=12.0),
}
