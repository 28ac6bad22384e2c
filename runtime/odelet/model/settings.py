"""What a caller may set in one call: its names and defaults stand here, and are checked here before anything runs."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from time import perf_counter
from typing import TypeAlias

import numpy as np

from odelet.artifact.card import Card
from odelet.artifact.solve_card import CALL_SETTINGS, FORMS, SETTINGS, SolveCard
from odelet.errors import InputError
from odelet.loops.limits import Limits
from odelet.loops.progress import Progress
from odelet.methods.roster import method_of
from odelet.model.arguments import Argument
from odelet.numerics.backend import NumpyArray

# One number, or a row of one number for each part of a tuple state.
Tolerance: TypeAlias = float | Sequence[float] | NumpyArray

_DRIVER_ONLY = ("max_evals",)


@dataclass(frozen=True, kw_only=True, slots=True)
class CallSettings:
    """The settings of one call; None leaves a setting as the artifact has it.

    rtol, atol: tolerances, in place of those that the model was exported with. max_steps: limit of attempted steps in
    each solve. max_evals: limit of evaluations of the field in each solve; None is no limit. The fallback of bounded
    solves takes both, for each sample that it solves again. deadline: seconds for the whole call, in every form; None
    is no limit. seed: of the random numbers that the model takes and that the call does not give, from
    0 to 2**64 - 1; None draws other numbers in each call. progress: a function that is called between the steps of
    each solve that the runtime takes step by step (the forms driven and loop_free, and the fallback of bounded solves),
    with a `SolveProgress`; it ends the call by returning False, as a deadline does, with the status CANCELLED.

    >>> import numpy as np, odelet
    >>> settings = odelet.CallSettings(rtol=1e-3, seed=0)
    >>> batch = {"x": np.ones((5, 3), np.float32), "scale": 2.0}
    >>> odelet.load("out").solve_with(settings, (batch,), {}).status.name
    'OK'
    """

    rtol: Tolerance | None = None
    atol: Tolerance | None = None
    max_steps: int | None = None
    max_evals: int | None = None
    deadline: float | None = None
    seed: int | None = None
    progress: Progress | None = None

    @classmethod
    def split(cls, named: Mapping[str, Argument]) -> tuple[CallSettings, dict[str, Argument]]:
        """Return the settings among the keywords of a call, and the other keywords."""
        names = {field.name for field in fields(cls)}
        settings = {name: value for name, value in named.items() if name in names}
        return cls(**settings), {name: value for name, value in named.items() if name not in names}

    def checked(self, card: Card) -> dict[str, NumpyArray]:
        """Return an array for each setting that is not None, but for the seed, which goes to the model's inputs,
        and for progress.

        A tolerance is () or (parts,), of float64 like the deadline; the limits are () of int64. Raises InputError for a
        setting that no solve of the model takes, and for a value that a setting cannot have.
        """
        if self.progress is not None and not callable(self.progress):
            raise InputError(f"progress={self.progress!r} must be a function of one argument, a SolveProgress")
        arrays: dict[str, NumpyArray] = {}
        for name in SETTINGS:
            value = getattr(self, name)
            if value is None:
                continue
            takers = _takers(name, card)
            if not takers and name not in CALL_SETTINGS:
                raise _refusal(name, value, card)
            exported = [getattr(solve, name, None) for solve in takers]
            lengths = {len(x) if isinstance(x, tuple) else 0 for x in exported} or {0}
            # One number does for any solve; a row only where all of them take rows of that length.
            takes_row = lengths != {0} and not isinstance(value, Real)
            arrays[name] = _row(name, value, lengths) if takes_row else _scalar(name, value)
            if name in ("rtol", "atol"):
                _check_resolution(name, arrays[name], card)
        if "rtol" in arrays or "atol" in arrays:
            _check_both(arrays, card)
        return arrays


# The settings of a call that sets nothing.
AS_EXPORTED = CallSettings()


def limits_for(settings: Mapping[str, NumpyArray]) -> Limits:
    """Return the limits of a solve from checked settings; the deadline counts from now."""
    limits = {name: settings[name].item() for name in ("max_steps", "max_evals", "deadline") if name in settings}
    if "deadline" in limits:
        limits["deadline"] += perf_counter()
    return Limits(**limits)


def _takers(name: str, card: Card) -> list[SolveCard]:
    """Return the solves that take a setting; those of the fallback are among them where a form leaves it to them."""
    takers = [solve for solve in card.solves if name in solve.settings]
    if card.fallback is not None and any(name in solve.facts.of_again for solve in card.solves):
        takers += [solve for solve in card.fallback.solves if name in solve.settings]
    return takers


def _refusal(name: str, value: object, card: Card) -> InputError:
    """Return the error for a setting that no solve takes: why not, and in which forms a solve would take it."""
    why = FORMS[card.form].why_not_set if card.form in FORMS else "none of its solves takes it"
    if not card.solves:
        return InputError(f"{name}={value!r} cannot be set: this artifact has the form {card.form!r}, and {why}")
    if all(solve.brownian is not None for solve in card.solves):
        return InputError(
            f"{name}={value!r} cannot be set: the solves of this artifact are of SDEs, with steps of fixed lengths; "
            "call sdeint with adaptive=True in the model, and export it again"
        )
    if all(method_of(solve.method).fixed for solve in card.solves):
        methods = ", ".join(sorted({solve.method for solve in card.solves}))
        return InputError(
            f"{name}={value!r} cannot be set: the steps of this artifact's solves have fixed lengths ({methods}), "
            "so they take neither tolerances nor limits; choose an adaptive method in the model, such as dopri5, and "
            "export it again"
        )
    forms = [
        facts
        for facts in FORMS.values()
        if facts.chooses_steps and (facts.outside or name not in _DRIVER_ONLY or name in facts.between_turns)
    ]
    names = " or ".join(repr(facts.name) for facts in forms)
    again = ", or with a fallback" if any(name in solve.facts.of_again for solve in card.solves) else ""
    return InputError(
        f"{name}={value!r} cannot be set: this artifact has the form {card.form!r}, and {why}; export the model with "
        f"the form {names}{again}"
    )


def _widest(card: Card) -> str:
    """The most exact dtype of the model's inputs and outputs."""
    floats = [tensor.dtype for tensor in (*card.inputs, *card.outputs) if tensor.dtype.startswith("float")]
    return max(floats, key=lambda dtype: np.finfo(dtype).bits, default="float32")


def _check_both(arrays: Mapping[str, NumpyArray], card: Card) -> None:
    """Raise InputError where neither tolerance lets a step pass: rtol is below the resolution of the model's numbers,
    and atol below the resolution of all numbers but the tiniest, those below that resolution themselves."""
    widest = _widest(card)
    resolution = float(np.finfo(widest).eps)
    for solve in [*_takers("rtol", card), *_takers("atol", card)]:
        rtol, atol = (np.asarray(arrays.get(name, getattr(solve, name)), np.float64) for name in ("rtol", "atol"))
        if ((rtol < resolution) & (atol < resolution**2)).any():
            raise InputError(
                f"rtol={rtol.min():g} and atol={atol.min():g} are both below what {widest} can resolve; expected an "
                f"rtol of at least {resolution:.3g}, or an atol of at least {resolution**2:.3g} (solve {solve.index})"
            )


def _check_resolution(name: str, tolerance: NumpyArray, card: Card) -> None:
    """Raise InputError for a tolerance that the model's numbers are too coarse to hold."""
    widest = _widest(card)
    smallest = float(np.finfo(widest).tiny)
    if (tolerance < smallest).any():
        raise InputError(
            f"{name}={float(tolerance.min()):g} is below what {widest} can resolve; expected at least {smallest:.3g}"
        )


def _scalar(name: str, value: object) -> NumpyArray:
    whole = name.startswith("max_")
    if isinstance(value, bool) or not isinstance(value, Integral if whole else Real):
        raise InputError(f"{name}={value!r} must be a {'whole ' if whole else ''}number")
    try:
        number = float(value)
    except OverflowError:
        raise InputError(f"{name} is too large; it must be positive and finite") from None
    if not 0 < number < (2**63 if whole else math.inf):
        raise InputError(f"{name}={value!r} must be positive and finite")
    return np.array(value if whole else number, np.int64 if whole else np.float64)


def _row(name: str, value: Tolerance, lengths: Collection[int]) -> NumpyArray:
    try:
        row = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        row = np.empty((0, 0))
    if row.ndim != 1 or {len(row)} != lengths or not (np.isfinite(row) & (row > 0)).all():
        row_text = f", or {max(lengths)} of them, one for each part" if len(lengths) == 1 else ""
        raise InputError(f"{name}={value!r} must be one positive number{row_text}")
    return row
