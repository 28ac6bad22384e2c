"""The axes of inputs whose size may change, and examples resized along them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from odelet_intercept.errors import CaptureError

# Sizes for axes that may change, tried in turn: at least 2, and unlike each other and everything else.
_SIZES = (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41)

Dynamic = Mapping[str, Mapping[int, str]]


def check_dynamic(dynamic: Dynamic | None, names: Sequence[str], example: Sequence[torch.Tensor]) -> Dynamic:
    """The axes that may change, by input name and axis. Raises ValueError for what does not fit the inputs."""
    checked: dict[str, dict[int, str]] = {}
    for name, axes in (dynamic or {}).items():
        if name not in names:
            raise CaptureError(f"dynamic names input {name!r}, but the model's inputs are {', '.join(names)}")
        rank = example[list(names).index(name)].ndim
        if not isinstance(axes, Mapping):
            raise CaptureError(f'dynamic[{name!r}]={axes!r} must map axes to names, as in {{0: "batch"}}')
        for axis, label in axes.items():
            if not isinstance(axis, int) or not -rank <= axis < rank:
                raise CaptureError(f"dynamic[{name!r}] names axis {axis!r}, but that input has {rank} axes")
            if not isinstance(label, str) or not label.isidentifier():
                raise CaptureError(f"dynamic[{name!r}][{axis}]={label!r} must be a name, such as 'batch'")
            checked.setdefault(name, {})[axis % rank] = label
    sizes: dict[str, tuple[int, str]] = {}
    for name, axes in checked.items():
        for axis, label in axes.items():
            size = example[list(names).index(name)].shape[axis]
            known, other = sizes.setdefault(label, (size, name))
            if known != size:
                raise CaptureError(
                    f"axis {label!r} is {known} in input {other!r} and {size} in input {name!r} of the example"
                )
    return checked


def traced_example(names: Sequence[str], example: Sequence[torch.Tensor], dynamic: Dynamic) -> list[torch.Tensor]:
    """The example with sizes for its dynamic axes that no tracer confuses: 2 or more, all different."""
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
                own = tensor.shape[axis]
                free = [size for size in _SIZES if size not in used]
                sizes[label] = own if own >= 2 and own not in used else free[0]
                used.add(sizes[label])
    resized = [
        resize(tensor, {axis: sizes[label] for axis, label in dynamic.get(name, {}).items()})
        for name, tensor in zip(names, example, strict=True)
    ]
    return resized


def resize(tensor: torch.Tensor, sizes: Mapping[int, int]) -> torch.Tensor:
    """A tensor of other sizes, its slices repeated or left out; what rises or falls along an axis still does."""
    for axis, size in sizes.items():
        if tensor.shape[axis] == 0:
            tensor = tensor.new_zeros([size if i == axis else n for i, n in enumerate(tensor.shape)])
        elif size != tensor.shape[axis] and _monotone(tensor, axis):
            place = torch.linspace(0, tensor.shape[axis] - 1, size, dtype=torch.float64)
            before = place.floor().long().clamp(max=tensor.shape[axis] - 2)
            share = (place - before).to(tensor.dtype).reshape(-1, *[1] * (tensor.ndim - axis % tensor.ndim - 1))
            low, high = tensor.index_select(axis, before), tensor.index_select(axis, before + 1)
            tensor = low + (high - low) * share
        else:
            tensor = tensor.index_select(axis, torch.arange(size) % tensor.shape[axis])
    return tensor


def _monotone(tensor: torch.Tensor, axis: int) -> bool:
    if not tensor.is_floating_point() or tensor.shape[axis] < 2:
        return False
    gaps = tensor.diff(dim=axis)
    return bool((gaps > 0).all() or (gaps < 0).all())
