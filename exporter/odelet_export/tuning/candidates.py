"""What is tried: the rosters of methods and forms, and the steps or tolerances of each.

The law here: a candidate is what `odelet export` can be told, and its name is what it is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from odelet.methods.roster import METHODS
from odelet_export.errors import FormError
from odelet_export.lowering import forms as forms_of_solves


@dataclass(frozen=True)
class Form:
    """A form that is tried. varies: what of it, the steps of a fixed-step method or the tolerances of an adaptive one.
    calibrated: whether it is found on data, which the export then is given."""

    varies: Literal["steps", "tolerances"]
    calibrated: bool = False


# Fixed steps are tried as `driven` only when that is named: the answers are those of `rolled`, which takes less time.
FORMS: dict[str, Form] = {
    "unrolled": Form("steps"),
    "rolled": Form("steps"),
    "adaptive": Form("tolerances"),
    "driven": Form("tolerances"),
    "bounded": Form("tolerances", calibrated=True),
}
# Orders 1 to 4, and 2 to 8: the best known of each. Any other is tried when it is named.
TRIED = ("euler", "midpoint", "heun3", "rk4", "bosh3", "tsit5", "dopri5", "dopri8")
STEPS = (1, 2, 4, 8, 16, 32, 64)
TOLERANCES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
# Straight lines of more steps take long to load; `rolled` has them.
MOST_UNROLLED = 64
# Of a solve with many output times.
MOST_STEPS = 512


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What `odelet export` is told; what is None is the model's own. rtol, atol: equal, where they are told."""

    form: str
    method: str | None = None
    steps: int | None = None
    rtol: float | None = None
    atol: float | None = None

    @property
    def options(self) -> dict[str, Any]:
        """As `odelet_export.export` takes them."""
        told = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in told.items() if value is not None}

    @property
    def flags(self) -> list[str]:
        """As `odelet export` takes them."""
        return [text for name, value in self.options.items() for text in (f"--{name}", f"{value}")]

    @property
    def setting(self) -> str:
        """Its steps or tolerances, in a word."""
        if self.steps is not None:
            return f"{self.steps} step{'s' * (self.steps > 1)}"
        if self.rtol is not None:
            return f"tolerance {self.rtol:g}"
        return "as it is" if self.method is None else "steps at outputs"

    def __str__(self) -> str:
        return f"{self.method or 'the model itself'}, {self.setting}, {self.form}"


@dataclass(frozen=True)
class Solves:
    """What is known of a model's solves before anything is tried. methods: their own. intervals: between the output
    times of the solve that has most of them; 1 where only its end is asked for. until_event: whether any ends at an
    event."""

    methods: tuple[str, ...]
    intervals: int
    until_event: bool = False


def candidates(
    solves: Solves,
    *,
    methods: Sequence[str] = (),
    forms: Sequence[str] = (),
    steps: Sequence[int] = (),
    tolerances: Sequence[float] = (),
) -> list[Candidate]:
    """All that is to be tried, the model as it is in each form first.

    methods, forms, steps, tolerances: instead of the rosters. Raises FormError for what there is not.
    """
    check_rosters(methods, forms, steps, tolerances)
    tried = forms or tuple(FORMS)
    found = [Candidate(form=form) for form in tried if not all(_excludes(form, method) for method in solves.methods)]
    for method in methods or TRIED:
        for form in tried:
            if _excludes(form, method):
                continue
            one = Candidate(form=form, method=method)
            if METHODS[method].fixed and (FORMS[form].varies == "steps" or forms):
                found += _of_steps(one, solves, steps)
            elif not METHODS[method].fixed and FORMS[form].varies == "tolerances":
                found += [replace(one, rtol=x, atol=x) for x in tolerances or TOLERANCES]
    return found


def _excludes(form: str, method: str) -> bool:
    """Whether a form can have no solve by a method."""
    return forms_of_solves.FORMS[form].excludes(METHODS[method]) is not None


def _of_steps(one: Candidate, solves: Solves, steps: Sequence[int]) -> Iterator[Candidate]:
    """Steps between which no output time lies, where they are spaced evenly: between steps it is read by a line."""
    if solves.until_event:
        return  # the steps to an event are as long as the model says
    few = MOST_UNROLLED if one.form == "unrolled" else MOST_STEPS
    if 1 < solves.intervals <= few and not steps:
        yield one
    multiples = [solves.intervals * count for count in STEPS if count > 1 or solves.intervals == 1]
    for count in steps or [count for count in multiples if count <= few]:
        yield replace(one, steps=count)


def check_rosters(
    methods: Sequence[str], forms: Sequence[str], steps: Sequence[int], tolerances: Sequence[float]
) -> None:
    """Raise FormError for what there is not."""
    for name, given, known in (("method", methods, METHODS), ("form", forms, FORMS)):
        for one in given:
            if one not in known:
                raise FormError(f"--{name} {one!r} is not one of {', '.join(known)}")
    for count in steps:
        if count < 1:
            raise FormError(f"--steps {count} must be at least 1")
    for tolerance in tolerances:
        if not 0 < tolerance < 1:
            raise FormError(f"--tolerance {tolerance!r} must lie between 0 and 1")
