"""Numbers among the arguments that are inputs of the artifact, such as a number of steps.

An input is a tensor everywhere in an export; a number is one of shape (). The model itself gets Python numbers. While
it is traced, a whole number is the size of the only axis of a stand-in, as tracers keep the sizes of axes as symbols:
the number may be a count of times or an end of a range. The label of that axis is the label of the number, and other
axes may have it too: their sizes are then that number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from odelet_intercept.errors import CaptureError

# What a user may say of an input that changes: a label for each axis, or for a number one label.
GivenDynamic = Mapping[str, Mapping[int, str] | str]


def declared_numbers(dynamic: GivenDynamic | None) -> frozenset[str]:
    """The names of the numbers that are declared as inputs: those with a label in place of axes."""
    return frozenset(name for name, label in (dynamic or {}).items() if isinstance(label, str))


def is_number(leaf: object) -> bool:
    """Whether an argument is a number that can be an input."""
    return isinstance(leaf, (int, float)) and not isinstance(leaf, bool)


def as_input(leaf: Any) -> torch.Tensor:
    """An argument, a tensor or a number, as the tensor that is the input: int64 or float64, of shape ()."""
    if isinstance(leaf, torch.Tensor):
        return leaf.detach()
    return torch.tensor(leaf, dtype=torch.int64 if isinstance(leaf, int) else torch.float64)


def as_argument(tensor: torch.Tensor) -> Any:
    """The Python number of an input that is a number; of a stand-in, the size of its axis."""
    return tensor.shape[0] if tensor.ndim == 1 else tensor.item()


def stand_ins(tensors: Sequence[torch.Tensor], dynamic: Sequence[Mapping[int, str]]) -> list[torch.Tensor]:
    """Inputs for a trace, with a stand-in for each whole number. dynamic: the dynamic axes of each input; a whole
    number alone has axes and no shape."""
    return [
        stand_in(tensor) if axes and tensor.ndim == 0 else tensor for tensor, axes in zip(tensors, dynamic, strict=True)
    ]


def stand_in(number: torch.Tensor) -> torch.Tensor:
    """The stand-in of a whole number: a tensor whose only axis has that size."""
    return torch.zeros(int(number), dtype=torch.bool)


def check_numbers(dynamic: GivenDynamic | None, leaves: Sequence[tuple[str, Any]]) -> None:
    """Raise CaptureError for a label of what is no number. leaves: the arguments of the example, with their names."""
    given = dict(leaves)
    for name in declared_numbers(dynamic):
        if name not in given:
            raise CaptureError(
                f"dynamic names the number {name!r}, and the example call does not give it; it gives "
                f"{', '.join(given)}: pass a value for {name}, by its keyword where it has a default"
            )
        leaf = given[name]
        if not is_number(leaf) and not isinstance(leaf, torch.Tensor):
            raise CaptureError(
                f"dynamic[{name!r}]={(dynamic or {})[name]!r} declares a number, and the example gives the "
                f"{type(leaf).__name__} {leaf!r}; only an int or a float can be an input"
            )
        if isinstance(leaf, int) and leaf < 1:
            raise CaptureError(f"the example gives {name}={leaf}; a whole number that is an input must be at least 1")
