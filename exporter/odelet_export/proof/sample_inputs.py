"""Sample inputs that look like the example: its own rows, mixed and scaled, in other sizes and at other times."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch

from odelet_export.model.axes import Dynamic, in_order, resize
from odelet_export.proof.sample_masks import draw_mask
from odelet_export.proof.sample_sizes import sizes_of


@dataclass(frozen=True)
class _Rows:
    """The rows of the example from which the rows of a sample are made; all inputs that share the axis use the same.

    first, second: the numbers of two rows of the example, for each new row (int64). share: how much of the second is
    mixed in, from 0 to 1. scale: the factor of the mixture. All are (rows,).
    """

    first: torch.Tensor
    second: torch.Tensor
    share: torch.Tensor
    scale: torch.Tensor


@dataclass(frozen=True)
class Drawing:
    """Draws inputs like those of an example.

    names, example: the inputs and their values in the example. times: the names of the inputs from which output times
    are computed; fresh ones stay monotone in the same direction. frozen: the names of the inputs whose values stay as
    they are. decisive: the names of those whose values the model's code decides by, which stay where values are to stay
    close to the example's: a count that is read off them is hardly ever met by chance.
    """

    names: Sequence[str]
    example: Sequence[torch.Tensor]
    dynamic: Dynamic
    times: Collection[str] = ()
    frozen: Collection[str] = ()
    decisive: Collection[str] = ()

    def at(self, sizes: Mapping[str, int], generator: torch.Generator, *, gently: bool = False) -> list[torch.Tensor]:
        """Fresh inputs. sizes: the sizes by label. gently: whether values stay close to the example's rows."""
        label = self._row_label()
        known = sizes_of(self.names, self.example, self.dynamic)
        rows = None if label is None else _rows(known[label], sizes[label], generator, gently=gently)
        drawn = []
        for name, tensor in zip(self.names, self.example, strict=True):
            axes = {axis: sizes[one] for axis, one in self.dynamic.get(name, {}).items()}
            labels = self.dynamic.get(name, {})
            row_axis = next((axis for axis, one in labels.items() if one == label), None) if rows is not None else None
            is_size = tensor.ndim == 0 and bool(axes)  # a whole number that is a size, such as a number of steps
            if is_size or name in self.frozen or (gently and name in self.decisive):
                drawn.append(resize(tensor.clone(), axes))
                continue
            fresh = _times(tensor, axes, generator) if name in self.times else None
            if fresh is None:
                fresh = _like(tensor, axes, row_axis, rows, generator, gently=gently)
            drawn.append(_capped(fresh, tensor, known, sizes))
        return drawn

    def _row_label(self) -> str | None:
        """The label of the axis that counts rows: the one that is first most often, and counts no output times."""
        timed = {label for name in self.times for label in self.dynamic.get(name, {}).values()}
        uses: dict[str, int] = {}
        ranks = dict(zip(self.names, (tensor.ndim for tensor in self.example), strict=True))
        for name, axes in self.dynamic.items():
            for axis, label in axes.items():
                if label not in timed and ranks[name] > 0:
                    uses[label] = uses.get(label, 0) + (1 if axis == 0 else 0)
        known = sizes_of(self.names, self.example, self.dynamic)
        return next((one for one in sorted(uses, key=lambda one: -uses[one]) if known[one] > 0), None)


def _rows(known: int, wanted: int, generator: torch.Generator, *, gently: bool) -> _Rows:
    first, second = (torch.randint(known, (wanted,), generator=generator) for _ in range(2))
    share, scale, kind = (torch.rand(wanted, generator=generator, dtype=torch.float64) for _ in range(3))
    if gently:
        return _Rows(first, second, torch.zeros_like(share), 0.875 + 0.25 * scale)
    # Of the rows, 35% are scaled, 35% are mixed, and the others are both.
    return _Rows(first, second, torch.where(kind < 0.35, 0.0, share), torch.where(kind > 0.65, 1.0, 0.6 + 0.6 * scale))


def _like(
    example: torch.Tensor,
    axes: Mapping[int, int],
    row_axis: int | None,
    rows: _Rows | None,
    generator: torch.Generator,
    *,
    gently: bool,
) -> torch.Tensor:
    """A fresh tensor like the example: of its dtype, in its range, and monotone along the axes where it is."""
    if example.is_complex():
        real = _like(torch.view_as_real(example), axes, row_axis, rows, generator, gently=gently)
        return torch.view_as_complex(real.contiguous())
    others = {axis: size for axis, size in axes.items() if axis != row_axis}
    like = resize(example, others)
    if row_axis is None or rows is None:
        source = other = like
        share = torch.zeros((), dtype=torch.float64)
        scale = torch.ones((), dtype=torch.float64)
    else:
        source, other = like.index_select(row_axis, rows.first), like.index_select(row_axis, rows.second)
        shape = [-1 if axis == row_axis else 1 for axis in range(like.ndim)]
        share, scale = rows.share.reshape(shape), rows.scale.reshape(shape)
    if source.numel() == 0:
        return source.clone()
    if example.dtype == torch.bool:
        return draw_mask(source, generator)
    if not example.is_floating_point():
        return _whole(example, source, generator)
    if _is_mask(example):
        return draw_mask(source != 0, generator).to(example.dtype)
    # Rows that are all alike cannot be mixed.
    single = row_axis is None or bool((source == other).all())
    if single and not gently:
        scale = scale * (0.6 + 0.6 * torch.rand(1, generator=generator, dtype=torch.float64))
    jitter = 0.25 if single else 0.02
    if not _is_monotone(example, example.ndim - 1):
        # A feature, an element of the last axis, changes by one factor in each row, so that a series stays smooth.
        shape = [size if axis in (row_axis, like.ndim - 1) else 1 for axis, size in enumerate(source.shape)]
        scale = scale * (1 + jitter * (2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1))
    return _mixed(example, source, other, share, scale, generator)


def _mixed(
    example: torch.Tensor,
    source: torch.Tensor,
    other: torch.Tensor,
    share: torch.Tensor,
    scale: torch.Tensor,
    generator: torch.Generator,
) -> torch.Tensor:
    """Mixtures of two tensors, scaled, in the range of the example. share, scale: see `_Rows`; they broadcast."""
    values, second = source.double(), other.double()
    known = values.isfinite() & second.isfinite()  # gaps in data stay where they are
    values = torch.where(known, values + (second - values) * share, values)
    spread = example.double()[example.isfinite()]
    low, high = (spread.min(), spread.max()) if spread.numel() else (None, None)
    monotone = any(_is_monotone(example, axis) for axis in range(example.ndim))
    if low is not None and low == high:
        factor = 0.5 + torch.rand(values.shape, generator=generator, dtype=torch.float64)
        # A state that starts at zero may start elsewhere.
        return (factor - 1.0 if low == 0 else values * factor).to(example.dtype)
    values = values * scale
    if low is not None and not monotone:  # the limits could make two times equal
        values = torch.where(known, values.clamp(low, high), values)
    return values.to(example.dtype)


def _whole(example: torch.Tensor, source: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Whole numbers in the range of the example: half of them its own, half drawn; in order where the example's are."""
    low, high = int(example.min()), int(example.max())
    drawn = torch.randint(low, high + 1, source.shape, generator=generator, dtype=example.dtype)
    kept = torch.rand(source.shape, generator=generator) < 0.5
    fresh = torch.where(kept, source, drawn)
    order = in_order(example, -1) if example.ndim else 0
    return fresh.sort(dim=-1, descending=order < 0).values if order else fresh


def _capped(
    fresh: torch.Tensor, example: torch.Tensor, known: Mapping[str, int], sizes: Mapping[str, int]
) -> torch.Tensor:
    """Whole numbers that may be indices or lengths along a dynamic axis, kept below its size.

    known, sizes: the sizes by label of the example and of the sample.
    """
    if example.is_floating_point() or example.is_complex() or example.dtype == torch.bool or not example.numel():
        return fresh
    most = int(example.max())
    for label, size in known.items():
        if 0 <= most <= size:
            fresh = fresh.clamp(max=max(sizes[label] - (1 if most < size else 0), 0))
    return fresh


def _times(example: torch.Tensor, axes: Mapping[int, int], generator: torch.Generator) -> torch.Tensor | None:
    """Strictly monotone times over a range like the example's; None where the example's are not monotone, or no times.

    axes: the sizes of the dynamic axes.
    """
    if not example.is_floating_point() or example.ndim > 1 or not example.numel():
        return None
    values = example.double().reshape(-1)
    gaps = values.diff()
    stretch = 0.6 + 0.7 * torch.rand(1, generator=generator, dtype=torch.float64)
    if example.ndim == 0:
        return (example * stretch[0]).to(example.dtype)
    if not (bool((gaps > 0).all()) or bool((gaps < 0).all())):
        return None
    count = axes.get(0, len(values))
    span = (values[-1] - values[0]) * stretch[0] if len(values) > 1 else torch.ones((), dtype=torch.float64)
    start = values[0] + 0.1 * span * torch.rand(1, generator=generator, dtype=torch.float64)
    steps = 0.25 + torch.rand(max(count - 1, 0), generator=generator, dtype=torch.float64)
    places = torch.cat([torch.zeros(1, dtype=torch.float64), steps.cumsum(0) / steps.sum()])[:count]
    return (start + span * places).to(example.dtype)


def _is_mask(example: torch.Tensor) -> bool:
    """Whether a tensor of floats holds zeros and ones only, and both."""
    ones = example == 1
    return bool((ones | (example == 0)).all()) and bool(ones.any()) and not bool(ones.all())


def _is_monotone(example: torch.Tensor, axis: int) -> bool:
    """Whether the values along an axis rise everywhere, or fall everywhere."""
    if example.ndim == 0 or example.shape[axis] < 3:
        return False
    gaps = example.diff(dim=axis)
    return bool((gaps > 0).all() or (gaps < 0).all())
