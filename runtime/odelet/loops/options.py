"""Reads options as torchdiffeq spells them into the settings of a method, a controller and a grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from time import perf_counter
from typing import Any, TypeVar

import numpy as np

from odelet.errors import InputError
from odelet.loops.limits import Limits
from odelet.methods.method import Method
from odelet.numerics.backend import NumpyArray
from odelet.numerics.control import Control
from odelet.numerics.grid import Grid
from odelet.numerics.state import Tolerance

AnyMethod = TypeVar("AnyMethod", bound=Method)

# A norm of the parts of a state, a scalar; None is the root mean square, which needs no function.
Norm = Callable[[list[NumpyArray]], NumpyArray]

NORMS: dict[str, Norm | None] = {
    "rms": None,
    "max": lambda parts: max(abs(part).max(initial=0) for part in parts),
}


def control_from(options: Mapping[str, Any] | None, method: str, *, taken_out: Sequence[str] = ()) -> Control:
    """The settings of error control that the options name.

    taken_out: options that the caller has read itself, so that the message lists them as known. Raises InputError for
    an option that is not known or cannot have its value.
    """
    values = dict(options or {})
    names = {field.name for field in fields(Control)}
    _check_known(values, names, {*names, *taken_out}, method)
    try:
        return Control(**values)
    except ValueError as error:
        raise InputError(f"options: {error}") from None


def method_and_grid(method: AnyMethod, options: Mapping[str, Any] | None) -> tuple[AnyMethod, Grid]:
    """A method that is not adaptive, with its own options set, and the grid that the other options make.

    A grid_constructor only says that the grid is constructed. Raises InputError for an option that is not known or
    cannot have its value.
    """
    grid_options = dict(options or {})
    names = method.option_names()
    method_options = {name: grid_options.pop(name) for name in names if name in grid_options}
    grid_names = {field.name for field in fields(Grid)} if method.fixed else set()
    if method.fixed and grid_options.pop("grid_constructor", None) is not None:
        grid_options["constructed"] = True
    spelled = {"grid_constructor" if name == "constructed" else name for name in grid_names}
    _check_known(grid_options, grid_names, spelled | {*names}, method.name)
    try:
        return method.with_options(**method_options), Grid(**grid_options)
    except (ValueError, TypeError) as error:
        raise InputError(f"options: {error}") from None


def _check_known(options: Mapping[str, Any], names: set[str], spelled: set[str], method: str) -> None:
    """Raise InputError for an option that is not among `names`. spelled: the known options as a user spells them."""
    unknown = sorted(options.keys() - names)
    if unknown:
        listed = ", ".join(sorted(spelled))
        raise InputError(f"options {', '.join(unknown)} are not known for method {method!r}; known are {listed}")


def limits_of(max_steps: int, max_evals: int | None, deadline: float | None) -> Limits:
    """The limits of a call that begins now. deadline: seconds from now. Raises InputError for a limit that is not
    positive and finite."""
    for name, value in (("max_steps", max_steps), ("max_evals", max_evals), ("deadline", deadline)):
        if value is not None and not 0 < value < float("inf"):
            raise InputError(f"{name}={value!r} must be positive and finite")
    ends = None if deadline is None else perf_counter() + deadline
    return Limits(max_steps=max_steps, max_evals=max_evals, deadline=ends)


def tolerances(rtol: Any, atol: Any, parts: int, number: Callable[[Any], Any]) -> tuple[Tolerance, Tolerance]:
    """rtol and atol, each a scalar or a list of one scalar for each part of the state. number: the scalars' type.

    Raises InputError for a value of another shape, or one that is negative or not finite.
    """
    return _tolerance("rtol", rtol, parts, number), _tolerance("atol", atol, parts, number)


def _tolerance(name: str, value: Any, parts: int, number: Callable[[Any], Any]) -> Tolerance:
    values = np.asarray(value, np.float64)
    if values.ndim > 1 or (values.ndim == 1 and len(values) != parts):
        raise InputError(f"{name} has the shape {values.shape}; give one number, or one for each of {parts} parts")
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise InputError(f"{name}={value!r} must be finite and not negative")
    return [number(x) for x in values] if values.ndim else number(values)


def points_of(name: str, times: Any) -> list[float]:
    """The times of step_t or jump_t. Raises InputError unless they are finite and in a 1-D array."""
    array = np.asarray(times, np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise InputError(f"options: {name} must be a 1-D array of finite times; got {times!r}")
    points: list[float] = array.tolist()
    return points


def norm_of(norm: Any, *, single: bool) -> Norm | None:
    """The norm of the parts of a state, from its name or a function of what the field takes.

    single: whether the field takes one array, or a tuple. Raises InputError for a name that is not known.
    """
    if callable(norm):
        return lambda parts: np.asarray(norm(parts[0] if single else tuple(parts)))[()]
    if norm not in NORMS:
        raise InputError(f"options: norm={norm!r} is neither a function nor one of {', '.join(NORMS)}")
    return NORMS[norm]
