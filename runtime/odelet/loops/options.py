"""Options as torchdiffeq spells them, to the settings of a method, a controller and a grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from time import perf_counter
from typing import Any

import numpy as np

from odelet.errors import InputError
from odelet.loops.adaptive import Limits
from odelet.methods.method import Method
from odelet.numerics.backend import NumpyArray
from odelet.numerics.grid import Grid
from odelet.numerics.state import Tolerance

NORMS: dict[str, Callable[[list[NumpyArray]], NumpyArray] | None] = {
    "rms": None,
    "max": lambda parts: max(abs(part).max(initial=0) for part in parts),
}


def settings_from(kind: Any, options: Mapping[str, Any] | None, method: str, *, more: Sequence[str] = ()) -> Any:
    """A Control or a Grid from an options dict. Raises InputError naming what it does not know.

    more: options that the caller has taken out, known as well.
    """
    given = dict(options or {})
    known = {field.name for field in fields(kind)}
    unknown = sorted(given.keys() - known)
    if unknown:
        listed = ", ".join(sorted({*known, *more}))
        raise InputError(f"options {', '.join(unknown)} are not known for method {method!r}; known are {listed}")
    try:
        return kind(**given)
    except ValueError as error:
        raise InputError(f"options: {error}") from None


def method_and_grid(method: Method, options: Mapping[str, Any] | None) -> tuple[Any, Grid]:
    """A method that is not adaptive with its own options set, and the grid that the others make.

    Raises InputError naming what it does not know. A grid_constructor only says that there is a grid.
    """
    given = dict(options or {})
    names = method.option_names()
    own = {name: given.pop(name) for name in names if name in given}
    if method.fixed and given.pop("grid_constructor", None) is not None:
        given["constructed"] = True
    known = {field.name for field in fields(Grid)} if method.fixed else set()
    unknown = sorted(given.keys() - known)
    if unknown:
        listed = ", ".join(sorted((known - {"constructed"}) | set(names) | ({"grid_constructor"} if known else set())))
        raise InputError(f"options {', '.join(unknown)} are not known for method {method.name!r}; known are {listed}")
    try:
        return method.with_options(**own), Grid(**given)
    except (ValueError, TypeError) as error:
        raise InputError(f"options: {error}") from None


def limits_of(max_steps: int, max_evals: int | None, deadline: float | None) -> Limits:
    """The limits of a call that begins now. Raises InputError for those that are not positive."""
    for name, value in (("max_steps", max_steps), ("max_evals", max_evals), ("deadline", deadline)):
        if value is not None and not 0 < value < float("inf"):
            raise InputError(f"{name}={value!r} must be positive and finite")
    ends = None if deadline is None else perf_counter() + deadline
    return Limits(max_steps=max_steps, max_evals=max_evals, deadline=ends)


def tolerance(name: str, value: Any, parts: int, number: Any) -> Tolerance:
    """A tolerance as a scalar, or a list of one for each part of the state. Raises InputError otherwise."""
    values = np.asarray(value, np.float64)
    if values.ndim > 1 or (values.ndim == 1 and len(values) != parts):
        raise InputError(f"{name} has the shape {values.shape}; give one number, or one for each of {parts} parts")
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise InputError(f"{name}={value!r} must be finite and not negative")
    return [number(x) for x in values] if values.ndim else number(values)


def points_of(name: str, times: Any) -> list[float]:
    array = np.asarray(times, np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise InputError(f"options: {name} must be a 1-D array of finite times; got {times!r}")
    return array.tolist()  # type: ignore[no-any-return]


def measure_of(norm: Any, *, single: bool) -> Callable[[list[NumpyArray]], NumpyArray] | None:
    """The norm of the parts of a state, from a name or a function of what the field takes."""
    if callable(norm):
        return lambda parts: np.asarray(norm(parts[0] if single else tuple(parts)))[()]
    if norm not in NORMS:
        raise InputError(f"options: norm={norm!r} is neither a function nor one of {', '.join(NORMS)}")
    return NORMS[norm]
