"""Calls of torchcde that compute the coefficients of a path from observations, in the place of its loops over times.

torchcde looks at each time and at each value that is missing, in Python. Its solver `cdeint` calls torchdiffeq, whose
calls are caught there.
"""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable
from typing import Any

import torch

from odelet_intercept.call import Entry, Library, Reading, Substitute
from odelet_intercept.libraries.observed_paths import (
    carried_forward,
    filled,
    natural_cubic,
    rectilinear_knots,
    unit_times,
)


def _checked_times(x: torch.Tensor, t: torch.Tensor | None) -> torch.Tensor:
    """The times of values, or 0, 1, ... where none are given. Raises ValueError as torchcde does."""
    if not x.is_floating_point():
        raise ValueError("X must both be floating point.")
    if x.ndim < 2:
        raise ValueError(f"X must have at least two dimensions, corresponding to time and channels. It has {x.ndim}.")
    if t is None:
        return unit_times(x)
    if not t.is_floating_point() or t.ndim != 1:
        raise ValueError(f"t must be floating point and one dimensional. It is a {t.dtype} tensor of {t.ndim} axes.")
    if x.shape[-2] != t.shape[0]:
        raise ValueError(f"The time dimension of X must equal the length of t: {tuple(x.shape)} and {tuple(t.shape)}.")
    if (t[1:] <= t[:-1]).any():
        raise ValueError("t must be monotonically increasing.")
    return t


def _forward_filled(x: torch.Tensor, fill_index: int = -2) -> torch.Tensor:
    return carried_forward(x.movedim(fill_index, -2)).movedim(-2, fill_index)


def _linear(x: torch.Tensor, t: torch.Tensor | None = None, rectilinear: int | None = None) -> torch.Tensor:
    if rectilinear is not None:
        assert not x[..., rectilinear].isnan().any(), "There exist nan values in the time column which is not allowed."
        x = rectilinear_knots(x, rectilinear)
    return filled(x, _checked_times(x, t))


def _natural(x: torch.Tensor, t: torch.Tensor | None, _version: int) -> torch.Tensor:
    return natural_cubic(x, _checked_times(x, t), constant_ends=_version != 0)


# The substitutes by the name of the function in torchcde, each with the function's module.
_SUBSTITUTES: dict[str, tuple[str, Callable[..., Any]]] = {
    "validate_input_path": ("torchcde.misc", _checked_times),
    "forward_fill": ("torchcde.misc", _forward_filled),
    "linear_interpolation_coeffs": ("torchcde.interpolation_linear", _linear),
    "_natural_cubic_spline_coeffs": ("torchcde.interpolation_cubic", _natural),
}


def _entries() -> list[Entry]:
    """The functions of torchcde that have substitutes, where the model has imported it."""
    functions = [(name, getattr(sys.modules.get(module), name, None)) for name, (module, _) in _SUBSTITUTES.items()]
    return [Entry(name, f, "torchcde", solves=False) for name, f in functions if isinstance(f, types.FunctionType)]


def _read(entry: Entry, bound: inspect.BoundArguments, where: str) -> Reading:
    del where
    _, substitute = _SUBSTITUTES[entry.name]
    return Substitute(lambda: substitute(*bound.args, **bound.kwargs))


TORCHCDE = Library("torchcde", _entries, _read)
