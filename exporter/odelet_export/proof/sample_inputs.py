"""Sample inputs, drawn like the example: other values, other batch sizes, other times."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import torch

from odelet_export.model.axes import Dynamic, resize

# The sizes that dynamic axes take in turn, besides the example's own. A size of 1 shows mistakes of broadcasting.
_SIZES = (1, 4, 2, 9)


def samples(
    names: Sequence[str],
    example: Sequence[torch.Tensor],
    dynamic: Dynamic,
    times: Collection[str],
    *,
    frozen: Collection[str] = (),
    count: int,
    seed: int,
) -> Iterator[list[torch.Tensor]]:
    """Yield the example itself, then fresh inputs without end, whose sizes repeat after `count` of them.

    times: the names of the inputs from which output times are computed; fresh ones stay monotone in the same direction.
    frozen: the names of the inputs that keep the values of the example.
    """
    generator = torch.Generator().manual_seed(seed)
    yield [tensor.clone() for tensor in example]
    labels = list(dict.fromkeys(label for axes in dynamic.values() for label in axes.values()))
    number = 0
    while True:
        # Different axes get different sizes, so that a model that confuses two axes does not pass by chance.
        sizes = {label: _SIZES[(number + 2 * i) % len(_SIZES)] for i, label in enumerate(labels)}
        yield [
            tensor.clone()
            if name in frozen
            else draw(tensor, dynamic.get(name, {}), sizes, is_time=name in times, generator=generator)
            for name, tensor in zip(names, example, strict=True)
        ]
        number = (number + 1) % max(count, 1)


def draw(
    example: torch.Tensor,
    axes: Mapping[int, str],
    sizes: Mapping[str, int],
    *,
    is_time: bool,
    generator: torch.Generator,
) -> torch.Tensor:
    """A fresh input like the example. axes: the names of the dynamic axes, by axis. sizes: the sizes by name."""
    sizes_by_axis = {axis: sizes[label] for axis, label in axes.items()}
    if is_time and example.is_floating_point() and example.ndim <= 1 and example.numel():
        count = sizes_by_axis.get(0, example.shape[0] if example.ndim else 1)
        drawn = _times(example, max(count, min(2, example.numel())) if example.ndim else 1, generator)
        if drawn is not None:
            return drawn
    like = resize(example, sizes_by_axis)
    if like.numel() == 0 or (example.ndim == 0 and sizes_by_axis):
        return like
    if like.dtype == torch.bool:
        return torch.rand(like.shape, generator=generator) < 0.5
    if not like.is_floating_point():
        low, high = int(example.min()), int(example.max())
        return torch.randint(low, high + 1, like.shape, generator=generator, dtype=like.dtype)
    values = example.double()
    spread = float(values.std()) if values.numel() > 1 else 0.0
    if spread == 0.0:
        return like * (0.5 + torch.rand(like.shape, generator=generator, dtype=like.dtype))
    noise = torch.randn(like.shape, generator=generator, dtype=torch.float64)
    fresh = float(values.mean()) + spread * noise
    # Values stay in the range of the example, so that a positive number or a probability stays one.
    return fresh.clamp(float(values.min()), float(values.max())).to(like.dtype)


def _times(example: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor | None:
    """Strictly monotone times over a range like the example's, or None where the example's are not monotone."""
    values = example.double().reshape(-1)
    gaps = values.diff()
    stretch = 0.6 + 0.7 * torch.rand(1, generator=generator, dtype=torch.float64)
    if example.ndim == 0:
        return (example * stretch[0]).to(example.dtype)
    if not (bool((gaps > 0).all()) or bool((gaps < 0).all())):
        return None
    span = (values[-1] - values[0]) * stretch[0] if len(values) > 1 else torch.ones((), dtype=torch.float64)
    start = values[0] + 0.1 * span * torch.rand(1, generator=generator, dtype=torch.float64)
    steps = 0.2 + torch.rand(max(count - 1, 0), generator=generator, dtype=torch.float64)
    places = torch.cat([torch.zeros(1, dtype=torch.float64), steps.cumsum(0) / steps.sum()])
    return (start + span * places).to(example.dtype)
