"""What a caller may set in one call: checked here, by name, before anything runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral, Real
from time import perf_counter
from typing import Any

import numpy as np

from odelet.artifact.card import Card
from odelet.artifact.solve_card import FORMS
from odelet.errors import InputError
from odelet.loops.adaptive import DEFAULT_MAX_STEPS, Limits
from odelet.numerics.backend import NumpyArray

_DRIVER_ONLY = ("max_evals", "deadline")


def check_settings(given: Mapping[str, Any], card: Card) -> dict[str, NumpyArray]:
    """The settings that were given, as arrays; rtol and atol may be a row of one number for each part.

    Raises InputError for one that no solve of the model takes, or that cannot be.
    """
    takers = {key: [solve for solve in card.solves if key in solve.settings] for key in given}
    settings: dict[str, NumpyArray] = {}
    for key, value in given.items():
        if value is None:
            continue
        if not takers[key]:
            why = FORMS[card.form].why_not_set if card.form in FORMS else "none of its solves takes it"
            takers_of = [facts for facts in FORMS.values() if facts.chooses_steps]
            forms = [repr(facts.name) for facts in takers_of if facts.outside or key not in _DRIVER_ONLY]
            raise InputError(
                f"{key}={value!r} cannot be set: this artifact has the form {card.form!r}, and {why}; export the "
                f"model with the form {' or '.join(forms)}"
            )
        own = [getattr(solve, key, None) for solve in takers[key]]
        parts = {len(x) if isinstance(x, tuple) else 0 for x in own}
        # One number does for any solve; a row only where all of them take rows of that length.
        rows = parts != {0} and not isinstance(value, Real)
        settings[key] = _row(key, value, parts) if rows else _scalar(key, value)
    return settings


def _scalar(key: str, value: Any) -> NumpyArray:
    whole = key.startswith("max_")
    if isinstance(value, bool) or not isinstance(value, Integral if whole else Real):
        raise InputError(f"{key}={value!r} must be a {'whole ' if whole else ''}number")
    if not 0 < float(value) < (2**63 if whole else math.inf):
        raise InputError(f"{key}={value!r} must be positive and finite")
    return np.array(value, np.int64 if whole else np.float64)


def _row(key: str, value: Any, parts: set[int]) -> NumpyArray:
    try:
        row = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        row = np.empty((0, 0))
    if row.ndim != 1 or {len(row)} != parts or not (np.isfinite(row) & (row > 0)).all():
        wanted = f", or {max(parts)} of them, one for each part" if len(parts) == 1 else ""
        raise InputError(f"{key}={value!r} must be one positive number{wanted}")
    return row


def limits_for(settings: Mapping[str, NumpyArray]) -> Limits:
    """The limits that were set; the deadline counts from now."""
    numbers = {key: settings[key].item() for key in ("max_steps", *_DRIVER_ONLY) if key in settings}
    seconds = numbers.get("deadline")
    return Limits(
        max_steps=numbers.get("max_steps", DEFAULT_MAX_STEPS),
        max_evals=numbers.get("max_evals"),
        deadline=None if seconds is None else perf_counter() + seconds,
    )
