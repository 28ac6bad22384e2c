"""The candidates of a tuning: the rosters of methods and forms, and the steps or tolerances to try with each.

The law here: a candidate is nothing but settings that `odelet export` takes too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import cast

from odelet.artifact.weights import STORED
from odelet.methods.roster import METHODS
from odelet_export.errors import FormError
from odelet_export.lowering.forms import FORMS
from odelet_export.lowering.forms.unrolled import UNROLLED
from odelet_export.lowering.profiles import C
from odelet_export.pipeline.settings import ExportChanges
from odelet_export.tuning.settings import Tried

# The best known methods of orders 1 to 4 with fixed steps, and 2 to 8 with error control. Other methods are tried only
# when they are named.
TRIED = ("euler", "midpoint", "heun3", "rk4", "bosh3", "tsit5", "dopri5", "dopri8")
STEPS = (1, 2, 4, 8, 16, 32, 64)
TOLERANCES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
# Unrolled graphs of more steps take long to load; the loop of `rolled` gives the same answers.
MOST_UNROLLED = 64
# The limit of steps in the other forms, for solves with many output times.
MOST_STEPS = 512

# The options of `odelet export` that are not called as their settings.
_FLAGS = {"weights": "--weights-as", "max_error": "--max-error"}


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Settings of an export that are tried together; None leaves the model's own setting. rtol and atol are equal.
    native: whether a library of the export is measured in place of its graphs. weights, max_error: how weights are
    stored in fewer bits, and the largest error that this may make."""

    form: str
    method: str | None = None
    steps: int | None = None
    rtol: float | None = None
    atol: float | None = None
    native: bool = False
    weights: str | None = None
    max_error: float | None = None

    @property
    def calibrated(self) -> bool:
        """Whether an export needs calibration data for these settings."""
        return self.form in FORMS and FORMS[self.form].needs_data

    @property
    def options(self) -> ExportChanges:
        """The settings as keywords of `odelet_export.export`."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "native"}
        values |= {"profile": C.name} if self.native else {}
        return cast(ExportChanges, {name: value for name, value in values.items() if value is not None})

    @property
    def flags(self) -> list[str]:
        """The settings as words of the `odelet export` command."""
        return [text for name, value in self.options.items() for text in (_FLAGS.get(name, f"--{name}"), f"{value}")]

    @property
    def way(self) -> str:
        """The form, whether it is native code, and how weights are stored in fewer bits."""
        native, weights = ", native" if self.native else "", f", {self.weights}" if self.weights else ""
        return f"{self.form}{native}{weights}"

    @property
    def setting(self) -> str:
        """The steps or the tolerances in a word or two."""
        if self.steps is not None:
            return f"{self.steps} step{'s' * (self.steps > 1)}"
        if self.rtol is not None:
            return f"tolerance {self.rtol:g}"
        return "as it is" if self.method is None else "steps at outputs"

    def __str__(self) -> str:
        return f"{self.method or 'the model itself'}, {self.setting}, {self.way}"


@dataclass(frozen=True)
class Solves:
    """The facts of a model's solves that are known before any candidate is tried.

    methods: the names of the solves' methods. intervals: the number of intervals between the output times of the solve
    that has most of them; 1 where only the end of each solve is an output. until_event: whether any solve ends at an
    event.
    """

    methods: tuple[str, ...]
    intervals: int
    until_event: bool = False


def candidates(solves: Solves, tried: Tried, *, target: float) -> list[Candidate]:
    """All candidates, those with the model's own method first, and those with weights in fewer bits last.

    tried: methods, forms, steps and tolerances instead of the rosters, and ways of storing weights beside those as they
    are. target: the largest error that is good enough, which no stored weights may exceed by themselves. Raises
    FormError for an unknown name or an impossible number in `tried`.
    """
    check_rosters(tried)
    # The forms that need data come last: they take longest to export. A form whose loops are taken out of another form
    # has the answers of that form, and takes no less time.
    own_graphs = [name for name, form in FORMS.items() if not form.loops_outside]
    forms = tried.forms or sorted(own_graphs, key=lambda name: FORMS[name].needs_data)
    every_candidate = [
        Candidate(form=form) for form in forms if not all(_excludes(form, method) for method in solves.methods)
    ]
    for method in tried.methods or TRIED:
        for form in forms:
            if _excludes(form, method):
                continue
            one = Candidate(form=form, method=method)
            # Fixed steps outside the graph are tried only when the form is named: the answers are those of `rolled`,
            # which takes less time.
            if METHODS[method].fixed and (FORMS[form].varies == "steps" or tried.forms):
                every_candidate += _of_steps(one, solves, tried.steps)
            elif not METHODS[method].fixed and FORMS[form].varies == "tolerances":
                every_candidate += [replace(one, rtol=x, atol=x) for x in tried.tolerances or TOLERANCES]
    smaller = [replace(one, weights=kind, max_error=target) for kind in tried.weights for one in every_candidate]
    return [*every_candidate, *smaller]


def _excludes(form: str, method: str) -> bool:
    """Whether a form can have no solve by a method."""
    return FORMS[form].excludes(METHODS[method]) is not None


def _of_steps(one: Candidate, solves: Solves, steps: Sequence[int]) -> Iterator[Candidate]:
    """Candidates whose steps end at the output times, if these are evenly spaced, as a fixed-step method interpolates
    linearly between its steps."""
    if solves.until_event:
        return  # the model itself sets the length of the steps to an event
    few = MOST_UNROLLED if one.form == UNROLLED.name else MOST_STEPS
    if 1 < solves.intervals <= few and not steps:
        yield one
    multiples = [solves.intervals * count for count in STEPS if count > 1 or solves.intervals == 1]
    for count in steps or [count for count in multiples if count <= few]:
        yield replace(one, steps=count)


def check_rosters(tried: Tried) -> None:
    """Raise FormError for an unknown method or form, and for steps and tolerances that no solve can have."""
    for name, chosen, roster in (("method", tried.methods, METHODS), ("form", tried.forms, FORMS)):
        for one in chosen:
            if one not in roster:
                raise FormError(f"--{name} {one!r} is not one of {', '.join(roster)}")
    for kind in tried.weights:
        if kind not in STORED:
            raise FormError(f"--weights-as {kind!r} is not one of {', '.join(STORED)}")
    for form in tried.forms:
        if not FORMS[form].solves:
            raise FormError(f"--form {form!r} is for models that make no solve, and tuning chooses among solves")
    for count in tried.steps:
        if count < 1:
            raise FormError(f"--steps {count} must be at least 1")
    for tolerance in tried.tolerances:
        if not 0 < tolerance < 1:
            raise FormError(f"--tolerance {tolerance!r} must lie between 0 and 1")
