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


def natural_cubic(x: torch.Tensor, t: torch.Tensor, *, constant_ends: bool) -> torch.Tensor:
    """The coefficients (..., length - 1, 4 * channels) of natural cubic splines through the observed values.

    In each interval they are a, b, 2 c, 3 d of a + b s + c s^2 + d s^3, where s is the time since its start, all
    channels of a before those of b. constant_ends: whether each missing value before the first observed one and after
    the last is an observed one, equal to it; else only the first and the last of all values are.
    """
    rows, known = x.transpose(-1, -2), filled(x, t).transpose(-1, -2)
    seen = ~rows.isnan()
    rank, place, _ = _ranks(seen)
    if constant_ends:
        seen = seen | (rank == 0) | (rank == rank[..., -1:])
    else:
        seen = seen | (place == 0) | (place == seen.shape[-1] - 1)
    rank, _, places = _ranks(seen)
    # The observed values at the front of a row; those that follow are not read.
    index = places[..., 1:]
    time, value, count = t[index], known.gather(-1, index), rank[..., -1:]
    inner = place < count - 1
    rate = torch.where(inner, 1 / (_shifted(time, -1) - time), 0.0)
    rise = torch.where(inner, _shifted(value, -1) - value, 0.0)
    slope = _slopes(rate, rise * rate, place < count)
    later = _shifted(slope, -1)
    two_c = (6 * rise * rate - 4 * slope - 2 * later) * rate
    three_d = (3 * (slope + later) - 6 * rise * rate) * rate**2
    # Each interval is a part of the piece that begins at the last observed value.
    piece = rank[..., :-1] - 1
    a, b, two_c, three_d = (part.gather(-1, piece) for part in (value, slope, two_c, three_d))
    since = t[:-1] - time.gather(-1, piece)
    parts = (
        a + (b + (two_c / 2 + three_d * since / 3) * since) * since,
        b + (two_c + three_d * since) * since,
        two_c + 2 * three_d * since,
        three_d,
    )
    return torch.cat([part.transpose(-1, -2) for part in parts], dim=-1)


# The share of a row that couples it to others is squared in each step, from 1/2 to below the last digit of a float64.
_REDUCTIONS = 6


def _slopes(rate: torch.Tensor, slope: torch.Tensor, used: torch.Tensor) -> torch.Tensor:
    """The slopes of natural cubic splines at their knots, by parallel cyclic reduction.

    rate, slope: one over the length of the interval after each knot, and the slope of the line there, 0 behind the last
    knot. used: which places hold knots. The system is tridiagonal, with twice the sum of two rates on the diagonal and
    the rates beside it. In each step every row takes in those at a distance of 1, 2, 4, ..., which leaves a row that
    is coupled to others twice as far away. Source: Hockney & Jesshope, Parallel Computers 2, sec. 5.4.
    """
    before = _shifted(rate, 1)
    diagonal = torch.where(used, 2 * (before + rate), 1.0)
    right_side = 3 * (slope * rate + _shifted(slope * rate, 1))
    lower, upper, right_side = before / diagonal, rate / diagonal, right_side / diagonal
    for distance in (2**i for i in range(_REDUCTIONS)):
        diagonal = 1 - lower * _shifted(upper, distance) - upper * _shifted(lower, -distance)
        taken = lower * _shifted(right_side, distance) + upper * _shifted(right_side, -distance)
        right_side = (right_side - taken) / diagonal
        lower = -lower * _shifted(lower, distance) / diagonal
        upper = -upper * _shifted(upper, -distance) / diagonal
    return right_side


def _shifted(row: torch.Tensor, distance: int) -> torch.Tensor:
    """A row (..., length) whose values stand so many places later, with zeros where none come from."""
    zeros = row.new_zeros((*row.shape[:-1], abs(distance)))
    if distance > 0:
        return torch.cat([zeros, row], dim=-1)[..., :-distance]
    return torch.cat([row, zeros], dim=-1)[..., -distance:]


def _neighbours(seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The places of the last observed value up to each place of a row, and of the first one from there on.

    seen: (..., length). Where there is no such value, the place is that of a missing one.
    """
    rank, place, places = _ranks(seen)
    last = torch.where(rank > 0, places.gather(-1, rank), 0)
    ahead = torch.where(seen, rank, rank + 1)
    following = torch.where(ahead <= rank[..., -1:], places.gather(-1, ahead), place)
    return last, following


def _ranks(seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The ranks of places, the places themselves, and the place of each rank.

    seen: (..., length). A rank is the number of observed values up to a place, that one included. The place of rank 0,
    and of one that no value has, is the place of any value.
    """
    place = torch.arange(seen.shape[-1], device=seen.device).expand(seen.shape)
    rank = seen.to(torch.int64).cumsum(-1)
    places = place.new_zeros((*seen.shape[:-1], seen.shape[-1] + 1))
    return rank, place, places.scatter(-1, torch.where(seen, rank, 0), place)
