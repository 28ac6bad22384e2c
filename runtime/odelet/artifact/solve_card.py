"""What a card says of one solve: its method and settings, and how its form is run.

The law here: as in `card`, the dataclasses are the format.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

from odelet.artifact.checks import check, check_file_name, check_names
from odelet.artifact.field_card import FieldCard


@dataclass(frozen=True, kw_only=True)
class FormFacts:
    """What is true of every solve in one form, so that no other module has to know the form by its name.

    name: as a card spells it. why_not_set: why a call cannot change a setting that no solve of this form takes.
    chooses_steps: whether the step sizes are chosen in each call, so that steps may be rejected and tolerances may be
    set. calibrated: whether the steps were chosen on data at export, so that the solve reports an error ratio.
    outside: whether the runtime takes the steps, outside the graph, so that the solve has a drive entry.
    """

    name: str
    why_not_set: str
    chooses_steps: bool = False
    calibrated: bool = False
    outside: bool = False


UNROLLED = FormFacts(name="unrolled", why_not_set="its steps were fixed at export")
ROLLED = FormFacts(name="rolled", why_not_set="its steps were fixed at export")
BOUNDED = FormFacts(name="bounded", why_not_set="its steps were chosen at export", calibrated=True)
ADAPTIVE = FormFacts(name="adaptive", why_not_set="its graph was exported without that input", chooses_steps=True)
DRIVEN = FormFacts(name="driven", why_not_set="its solver does not take it", chooses_steps=True, outside=True)

# The forms that the card of a solve may name.
FORMS = {facts.name: facts for facts in (UNROLLED, ROLLED, BOUNDED, ADAPTIVE, DRIVEN)}
# What the card of a model says whose solves have different forms.
MIXED = "mixed"

SETTINGS = ("rtol", "atol", "max_steps", "max_evals", "deadline")
REPORTS = ("steps", "accepted", "status", "time", "evaluations", "unconverged", "error_ratio")


@dataclass(frozen=True, kw_only=True)
class RunStep:
    """A step of the program: run a graph. run: its file."""

    run: str

    def __post_init__(self) -> None:
        check_file_name(self.run)


@dataclass(frozen=True, kw_only=True)
class DriveStep:
    """A step of the program: drive a solve. drive: the solve's index."""

    drive: int


@dataclass(frozen=True, kw_only=True)
class EventCard:
    """The event that ends a driven solve: file of its graph, and name of the time that it adds, which is
    searched for within the solve's atol."""

    graph: str
    time: str

    def __post_init__(self) -> None:
        check_file_name(self.graph)


@dataclass(frozen=True, kw_only=True)
class DriveCard:
    """How the runtime drives a solve: files of its graphs, names of the values it takes and adds.

    field, t: None for an iteration, whose step is a turn. step: None for a solver that needs the field alone. start:
    estimates the length of the first step, where the options do not name it. step_t, jump_t: times at which steps
    end. grid: that of a fixed-step solve, where the model constructs it. batched: captured values with one row for
    each sample, where samples are solved each on its own and the batch can be cut down to those that are left.
    options: of the solver, as torchdiffeq spells them. event: what ends it, if not its last time.
    """

    field: str | None = None
    step: str | None = None
    t: str | None = None
    y0: tuple[str, ...]
    solution: tuple[str, ...]
    captured: tuple[str, ...] = ()
    start: str | None = None
    step_t: str | None = None
    jump_t: str | None = None
    grid: str | None = None
    batched: tuple[str, ...] | None = None
    # A field of this class is called `field`.
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    event: EventCard | None = None

    @property
    def results(self) -> tuple[str, ...]:
        """The names that it adds: the parts of the solution, and the time of the event."""
        return (*self.solution, *((self.event.time,) if self.event is not None else ()))

    def __post_init__(self) -> None:
        for name in self.graphs:
            check_file_name(name)
        check((self.field is None) == (self.t is None), "a drive entry has both a field and times t, or neither")
        check(self.field is not None or self.step is not None, "a drive entry has neither a field nor a step")
        check(len(self.y0) > 0, "a drive entry has no y0")
        check(len(self.y0) == len(self.solution), "a drive entry needs one solution name for each y0 name")

    @property
    def graphs(self) -> tuple[str, ...]:
        """The files of its graphs."""
        event = self.event.graph if self.event is not None else None
        return tuple(file for file in (self.field, self.step, self.start, event) if file is not None)


@dataclass(frozen=True, kw_only=True)
class Evaluations:
    """A solve of N attempted steps calls the field `start + step * N` times."""

    start: int
    step: int


@dataclass(frozen=True, kw_only=True)
class SolveCard:
    """One solve. per_sample: each sample of a batch has its own steps. rtol, atol, max_steps: as exported, None
    where the method has none; a tolerance may be one number for each part of the state. nested: a line about each
    solve inside its field. piece: a copy of the field."""

    index: int
    form: str
    method: str
    source: str = ""
    rtol: float | tuple[float, ...] | None = None
    atol: float | tuple[float, ...] | None = None
    max_steps: int | None = None
    steps: int | None = None
    evaluations: Evaluations | None = None
    settings: dict[str, str | None] = field(default_factory=dict)
    report: dict[str, str] = field(default_factory=dict)
    drive: DriveCard | None = None
    per_sample: bool = False
    nested: tuple[str, ...] = ()
    piece: FieldCard | None = None

    def __post_init__(self) -> None:
        me = f"solve {self.index}:"
        check_names(f"{me} form", [self.form], FORMS)
        check_names(f"{me} setting", list(self.settings), SETTINGS)
        check_names(f"{me} report", list(self.report), REPORTS)
        for key in ("rtol", "atol", "max_steps", "steps"):
            value = getattr(self, key)
            numbers = value if isinstance(value, tuple) else () if value is None else (value,)
            check(all(0 <= x < math.inf for x in numbers), f"{me} {key} is {value!r}; expected 0 or more")
        outside, calibrated = self.facts.outside, self.facts.calibrated
        only = f"{me} a drive entry goes with the form {DRIVEN.name}, and only it"
        check(outside == (self.drive is not None), only)
        only = f"{me} a report error_ratio goes with the form {BOUNDED.name}, and only it"
        check(calibrated == ("error_ratio" in self.report), only)
        for key, name in self.settings.items():
            expected = "null, as the driver takes it" if outside else "the name of a graph input"
            check(outside == (name is None), f"{me} settings.{key} is {name!r}; expected {expected}")

    @property
    def facts(self) -> FormFacts:
        """What is true of every solve in this form."""
        return FORMS[self.form]
