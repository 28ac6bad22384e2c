"""The axes of inputs whose sizes may change between calls, and inputs of other sizes made from the example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from odelet_export.model.number_inputs import GivenDynamic
from odelet_intercept.errors import CaptureError

# Sizes for axes that may change, tried in turn. All are at least 2 and no two are alike: a tracer takes a size of 1 for
# a constant, and two equal sizes for one.
_SIZES = (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41)
# Multiples take the place of a size of the example from this one on.
_LARGE = 4

# The axes that may change: a label for each axis, by the input's name. Axes with one label have one size. A whole
# number that is an input, of shape (), has its label under axis 0, and the number is the size.
Dynamic = Mapping[str, Mapping[int, str]]


def check_dynamic(dynamic: GivenDynamic | None, names: Sequence[str], example: Sequence[torch.Tensor]) -> Dynamic:
    """The axes that may change, with every axis counted from the front.

    names, example: the inputs and their example values, in one order. Raises CaptureError for an input or axis that
    does not exist, for a label that is no identifier, and for a label whose axes differ in size in the example.
    """
    checked: dict[str, dict[int, str]] = {}
    for name, axes in (dynamic or {}).items():
        if name not in names:
            raise CaptureError(f"dynamic names input {name!r}, but the model's inputs are {', '.join(names)}")
        given = example[list(names).index(name)]
        rank = given.ndim
        if isinstance(axes, str) and rank == 0 and not given.is_floating_point():
            rank, axes = 1, {0: axes}
        if isinstance(axes, str) and rank == 0:
            continue  # a number that is no size needs no label
        if not isinstance(axes, Mapping):
            raise CaptureError(f'dynamic[{name!r}]={axes!r} must map axes to names, as in {{0: "batch"}}')
        for axis, label in axes.items():
            if not isinstance(axis, int) or not -rank <= axis < rank:
                raise CaptureError(f"dynamic[{name!r}] names axis {axis!r}, but that input has {rank} axes")
            if not isinstance(label, str) or not label.isidentifier():
                raise CaptureError(f"dynamic[{name!r}][{axis}]={label!r} must be a name, such as 'batch'")
            checked.setdefault(name, {})[axis % rank] = label
    _check_sizes(checked, dict(zip(names, example, strict=True)))
    return checked


def _check_sizes(dynamic: Dynamic, example: Mapping[str, torch.Tensor]) -> None:
    """Raise CaptureError for a label whose axes differ in size in the example."""
    first_use: dict[str, tuple[int, str]] = {}
    for name, axes in dynamic.items():
        for axis, label in axes.items():
            size = axis_size(example[name], axis)
            first_size, first_input = first_use.setdefault(label, (size, name))
            if first_size != size:
                raise CaptureError(
                    f"axis {label!r} is {first_size} in input {first_input!r} and {size} in input {name!r} of the "
                    "example"
                )


def traced_example(
    names: Sequence[str], example: Sequence[torch.Tensor], dynamic: Dynamic, *, least: int = 2
) -> list[torch.Tensor]:
    """The example resized along its dynamic axes so that a tracer confuses no two sizes.

    The sizes are at least `least`, differ from each other, and differ from every size that is fixed. A size of the
    example that meets these conditions is kept; a multiple takes the place of another of 4 or more, as a model that
    halves a size takes its multiples, and stays far from sizes of 1. With a `least` of 4, neither x[1:] nor x[1:-1] has
    size 1.
    """
    used = {
        size
        for name, tensor in zip(names, example, strict=True)
        for axis, size in enumerate(tensor.shape)
        if axis not in dynamic.get(name, {})
    }
    sizes: dict[str, int] = {}
    for name, tensor in zip(names, example, strict=True):
        for axis, label in dynamic.get(name, {}).items():
            if label not in sizes:
                size = axis_size(tensor, axis)
                multiples = range(2 * size, size * (len(used) + 3), size)
                others = multiples if size >= _LARGE or 2 <= size < least else _SIZES
                unused = [other for other in others if other not in used and other >= least]
                sizes[label] = size if size >= least and size not in used else unused[0]
                used.add(sizes[label])
    return at_sizes(names, example, dynamic, sizes)


def at_sizes(
    names: Sequence[str], example: Sequence[torch.Tensor], dynamic: Dynamic, sizes: Mapping[str, int]
) -> list[torch.Tensor]:
    """The example resized along its dynamic axes. sizes: the new sizes by label."""
    return [
        resize(tensor, {axis: sizes[label] for axis, label in dynamic.get(name, {}).items()})
        for name, tensor in zip(names, example, strict=True)
    ]


def resize(tensor: torch.Tensor, sizes: Mapping[int, int]) -> torch.Tensor:
    """A tensor of other sizes along some axes. sizes: the new sizes by axis.

    For a whole number, of shape (), its new value. Slices are repeated or left out. Along an axis on which all values
    rise, or all fall, they are interpolated, so that times stay in order; lengths in falling order stay in order, too.
    """
    for axis, size in sizes.items():
        if tensor.ndim == 0:
            tensor = torch.full_like(tensor, size)
        elif tensor.shape[axis] == 0:
            tensor = tensor.new_zeros([size if i == axis else n for i, n in enumerate(tensor.shape)])
        elif size != tensor.shape[axis] and _is_monotone(tensor, axis):
            position = torch.linspace(0, tensor.shape[axis] - 1, size, dtype=torch.float64)
            before = position.floor().long().clamp(max=tensor.shape[axis] - 2)
            share = (position - before).to(tensor.dtype).reshape(-1, *[1] * (tensor.ndim - axis % tensor.ndim - 1))
            low, high = tensor.index_select(axis, before), tensor.index_select(axis, before + 1)
            tensor = low + (high - low) * share
        else:
            number = tensor.shape[axis]
            slices = torch.arange(size) * number // size if in_order(tensor, axis) < 0 else torch.arange(size) % number
            tensor = tensor.index_select(axis, slices)
    return tensor


def in_order(tensor: torch.Tensor, axis: int) -> int:
    """1 for whole numbers that rise along an axis, -1 for those that fall, and 0 for any other; some may be equal."""
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype is torch.bool or not tensor.numel():
        return 0
    gaps = tensor.diff(dim=axis)
    rise, fall = bool((gaps >= 0).all()), bool((gaps <= 0).all())
    return int(rise) - int(fall)


def axis_size(tensor: torch.Tensor, axis: int) -> int:
    """The size of an axis; of a whole number, its value."""
    return tensor.shape[axis] if tensor.ndim > 0 else int(tensor)


def _is_monotone(tensor: torch.Tensor, axis: int) -> bool:
    """Whether floating-point values all rise, or all fall, along an axis."""
    if not tensor.is_floating_point() or tensor.shape[axis] < 2:
        return False
    gaps = tensor.diff(dim=axis)
    return bool((gaps > 0).all() or (gaps < 0).all())
