"""Paths through observations of which some are missing, in operators on whole tensors that a trace can follow.

Values x have the shape (..., length, channels), and NaN stands for a value that was not observed; which values are
missing may differ from channel to channel. Times t have the shape (length,). The length may be a symbol of a trace, so
no Python number is made of it, and nothing branches on which values are missing.
"""

from __future__ import annotations

import torch


def unit_times(x: torch.Tensor) -> torch.Tensor:
    """The times 0, 1, ... of values, (length,), one unit apart."""
    return torch.arange(x.shape[-2], dtype=x.dtype, device=x.device)


def carried_forward(x: torch.Tensor) -> torch.Tensor:
    """The values with the last observed one in the place of each missing one; those before the first stay missing."""
    rows = x.transpose(-1, -2)
    last, _ = _neighbours(~rows.isnan())
    return rows.gather(-1, last).transpose(-1, -2)


def rectilinear_knots(x: torch.Tensor, time: int) -> torch.Tensor:
    """The knots (..., 2 * length - 1, channels) of a path that moves in time first, and then in the other channels.

    time: the index of the channel that holds the times.
    """
    known = carried_forward(x)
    doubled = torch.stack([known, known], dim=-2).flatten(-3, -2)
    values, later = doubled[..., :-1, :], doubled[..., 1:, :]
    return torch.cat([values[..., :time], later[..., time : time + 1], values[..., time + 1 :]], dim=-1)


def filled(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """The values with those of lines between the observed ones in the place of the missing ones.

    Before the first observed value the path is constant, and so it is after the last; a channel without any is zero.
    """
    rows = x.transpose(-1, -2)
    seen = ~rows.isnan()
    last, following = _neighbours(seen)
    before, after = rows.gather(-1, last), rows.gather(-1, following)
    share = (t - t[last]) / (t[following] - t[last])
    between = (before + share * (after - before)).to(x.dtype)
    # A row has no value before its first one, where `after` is that one, and the other way round behind its last.
    between = torch.where(before.isnan(), after, torch.where(after.isnan(), before, between))
    between = torch.where(seen.any(-1, keepdim=True), between, 0.0)
    return torch.where(seen, rows, between).transpose(-1, -2)


def _neighbours(seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The places of the last observed value up to each place of a row, and of the first one from there on.

    seen: (..., length). Where there is no such value, the place is that of a missing one.
    """
    place = torch.arange(seen.shape[-1], device=seen.device).expand(seen.shape)
    # A value's rank is the number of observed values up to it. `places` has the place of each rank.
    rank = seen.to(torch.int64).cumsum(-1)
    places = place.new_zeros((*seen.shape[:-1], seen.shape[-1] + 1))
    places = places.scatter(-1, torch.where(seen, rank, 0), place)
    last = torch.where(rank > 0, places.gather(-1, rank), 0)
    ahead = torch.where(seen, rank, rank + 1)
    following = torch.where(ahead <= rank[..., -1:], places.gather(-1, ahead), place)
    return last, following
