"""Masks among sample inputs: drawn so that no row, which something may be averaged over, loses all that it had."""

from __future__ import annotations

import torch


def draw_mask(source: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A fresh mask: half of its elements are those of `source`, half are drawn.

    source: a bool tensor of the shape wanted, made of rows of the example. A row is a slice along the last axis. Some
    models read True as "take this", and some as "leave this out": a row that has True elements in the source keeps one
    of them, and so for False. A row of one element stays as it is.
    """
    drawn = torch.rand(source.shape, generator=generator) < 0.5
    fresh = torch.where(torch.rand(source.shape, generator=generator) < 0.5, source, drawn)
    if source.ndim == 0:
        return fresh
    keys = torch.rand(source.shape, generator=generator)
    for value in (True, False):
        had = source == value
        # One element of each row that has the value in the source, at a random place.
        place = torch.where(had, keys, -1.0).argmax(dim=-1, keepdim=True)
        chosen = torch.zeros_like(source).scatter(-1, place, True) & had
        lost = ~(fresh == value).any(dim=-1, keepdim=True)
        fresh = torch.where(chosen & lost, torch.full_like(fresh, value), fresh)
    return fresh
