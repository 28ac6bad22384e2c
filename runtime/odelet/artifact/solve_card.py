"""What a card says of one solve: its method and settings, and how its form is run.

The law here: the dataclasses are the format, as in `card`; and a form is known by its name in this module alone.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field

from odelet.artifact.brownian_card import BrownianCard
from odelet.artifact.checks import check, check_file_name, check_names
from odelet.artifact.decode import Json
from odelet.artifact.field_card import FieldCard
from odelet.methods.fixed_point import ITERATIONS, Iteration
from odelet.methods.roster import METHODS, method_of
from odelet.methods.sde import SdeMethod
from odelet.methods.sde_steps import SDE_METHODS
from odelet.text import screen


@dataclass(frozen=True, kw_only=True)
class FormFacts:
    """What is true of every solve in one form, so that no other module has to know the form by its name.

    name: as a card spells it. why_not_set: why a call cannot change a setting that no solve of this form takes.
    chooses_steps: whether the step sizes are chosen in each call, so that steps may be rejected and tolerances may be
    set. calibrated: whether the steps were chosen on data at export, so that the solve reports an error ratio.
    of_again: the settings that go to the fallback, where the artifact has one, and not to the solve itself.
    between_turns: the settings that the runtime takes itself, as it runs the loop around the graphs. outside: whether
    the runtime takes the steps, outside the graph, so that the solve has a drive entry. solves: whether it is a form of
    solves, and not of a model that has none.
    """

    name: str
    why_not_set: str
    chooses_steps: bool = False
    calibrated: bool = False
    of_again: tuple[str, ...] = ()
    between_turns: tuple[str, ...] = ()
    outside: bool = False
    solves: bool = True


UNROLLED = FormFacts(name="unrolled", why_not_set="its steps were fixed at export")
ROLLED = FormFacts(name="rolled", why_not_set="its steps were fixed at export")
BOUNDED = FormFacts(
    name="bounded",
    why_not_set="its steps were chosen at export",
    calibrated=True,
    of_again=("max_steps", "max_evals"),
)
ADAPTIVE = FormFacts(name="adaptive", why_not_set="its graph was exported without that input", chooses_steps=True)
LOOP_FREE = FormFacts(
    name="loop_free",
    why_not_set="its graphs were exported without that input",
    chooses_steps=True,
    between_turns=("max_evals",),
)
DRIVEN = FormFacts(name="driven", why_not_set="its solver does not take it", chooses_steps=True, outside=True)
PLAIN = FormFacts(name="plain", why_not_set="its model has no solve", solves=False)

# The forms that a card may name.
FORMS = {facts.name: facts for facts in (UNROLLED, ROLLED, BOUNDED, ADAPTIVE, LOOP_FREE, DRIVEN, PLAIN)}
# What the card of a model says whose solves have different forms.
MIXED = "mixed"

SETTINGS = ("rtol", "atol", "max_steps", "max_evals", "deadline")
# The settings of a whole call: every artifact takes them, whether its card lists them or not.
CALL_SETTINGS = ("deadline",)
# Names that no input of a new export has. A card may have an input named progress: it was no setting at first.
TAKEN = (*SETTINGS, "seed", "progress")
# What a graph reports of each sample that it solves on its own.
OF_SAMPLES = ("steps", "accepted", "status")
REPORTS = ("steps", "accepted", "status", "time", "evaluations", "unconverged", "error_ratio")


@dataclass(frozen=True, kw_only=True)
class EventCard:
    """The event that ends a driven solve.

    graph: file of the graph that computes the event function. time: name of the value that receives the time of the
    event, which is searched for within the solve's atol.
    """

    graph: str
    time: str

    def __post_init__(self) -> None:
        check_file_name(self.graph)


@dataclass(frozen=True, kw_only=True)
class DriveCard:
    """How the runtime drives a solve: the files of its graphs, and the names of the values that it takes and adds.

    field: file of the field's graph; step: file of the graph of one step, None for a solver that needs the field alone;
    start: file of the graph that estimates the length of the first step, None where the options name that length.
    t: output times; field and t are None for an iteration, whose step is one turn. y0, solution: initial state and
    result, one name for each part. captured: values of the host graph that the field reads. step_t, jump_t: times at
    which steps end, and times at which the field jumps. grid: the times between fixed steps, where the model constructs
    them. batched: captured values with one row for each sample, where each sample is solved on its own and the batch
    can be cut down to the samples that are left. options: of the solver, as torchdiffeq spells them. event: what ends
    the solve before its last time, or None.
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
    options: dict[str, Json] = dataclasses.field(default_factory=dict)
    event: EventCard | None = None

    @property
    def results(self) -> tuple[str, ...]:
        """The names of the values that the solve adds: the parts of its solution, and the time of its event."""
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
        """The files of the solve's graphs."""
        event = self.event.graph if self.event is not None else None
        return tuple(file for file in (self.field, self.step, self.start, event) if file is not None)


@dataclass(frozen=True, kw_only=True)
class Evaluations:
    """How often a solve evaluates its field: `start + step * N` times in N attempted steps."""

    start: int
    step: int

    def __post_init__(self) -> None:
        check(min(self.start, self.step) >= 0, "evaluations are 0 or more")


@dataclass(frozen=True, kw_only=True)
class SolveCard:
    """What the card says of one solve.

    index: its place in the card. form: how it was put into ONNX. source: the line of the model's code that calls the
    solver. rtol, atol, max_steps: as exported, None where the method has none; a tolerance may be one number for each
    part of the state. steps: how many steps it takes, where that was fixed at export. settings: which settings of a
    call it takes, and the graph input that takes each, null where the driver takes it. report: which counts and the
    like the graph reports, and the graph output that holds each. drive: how the runtime drives it, or None. per_sample:
    whether each sample of a batch has its own steps. nested: a line about each solve inside its field. piece: where a
    copy of the field lies. brownian: the Brownian motion of an SDE.
    """

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
    brownian: BrownianCard | None = None

    def __post_init__(self) -> None:
        me = f"solve {self.index}:"
        check_names(f"{me} form", [self.form], [name for name, facts in FORMS.items() if facts.solves])
        check_names(f"{me} setting", list(self.settings), SETTINGS)
        check_names(f"{me} report", list(self.report), REPORTS)
        check_names(f"{me} method", [self.method], (*METHODS, *SDE_METHODS, *ITERATIONS))
        self._check_samples(me)
        self._check_motion(me)
        for key in ("rtol", "atol", "max_steps", "steps"):
            numbers = self._numbers(key)
            check(all(0 <= x < math.inf for x in numbers), f"{me} {key} is {getattr(self, key)!r}; expected 0 or more")
        outside, calibrated = self.facts.outside, self.facts.calibrated
        only = f"{me} a drive entry goes with the form {DRIVEN.name}, and only it"
        check(outside == (self.drive is not None), only)
        only = f"{me} a report error_ratio goes with the form {BOUNDED.name}, and only it"
        check(calibrated == ("error_ratio" in self.report), only)
        for key, name in self.settings.items():
            by_runtime = outside or key in self.facts.between_turns
            expected = "null, as the driver takes it" if by_runtime else "the name of a graph input"
            check(by_runtime == (name is None), f"{me} settings.{key} is {name!r}; expected {expected}")

    def _check_motion(self, me: str) -> None:
        """Raise ArtifactError unless a solve of an SDE, and only that, has a Brownian motion, which goes with it."""
        method = method_of(self.method)
        both = f"{me} a method for SDEs goes with a Brownian motion, and only it; the method is {self.method}"
        check(isinstance(method, SdeMethod) == (self.brownian is not None), both)
        if isinstance(method, SdeMethod) and self.brownian is not None:
            adaptive = self.drive is not None and bool(self.drive.options.get("step_doubling"))
            self.brownian.check_fits(me, method, outside=self.drive is not None, adaptive=adaptive)

    def _check_samples(self, me: str) -> None:
        """Raise ArtifactError unless the method can solve samples alone, and a graph that does it tells of each."""
        if not self.per_sample:
            return
        method = method_of(self.method)
        check(method.adaptive or isinstance(method, Iteration), f"{me} per_sample does not go with {self.method}")
        check(not self.facts.calibrated, f"{me} per_sample does not go with the form {self.form}")
        missing = [] if self.facts.outside else [key for key in OF_SAMPLES if key not in self.report]
        check(not missing, f"{me} with per_sample, it has no report {', '.join(missing)}")

    @property
    def facts(self) -> FormFacts:
        """What is true of every solve in this form."""
        return FORMS[self.form]

    @property
    def chooses_steps(self) -> bool:
        """Whether the sizes of its steps are chosen in each call, so that steps may be rejected."""
        method = method_of(self.method)
        return self.facts.chooses_steps and (method.adaptive or isinstance(method, Iteration))

    def __str__(self) -> str:
        """Return the solve in a line, and each solve inside its field in a line of its own."""
        words = [self.form, *(["each sample on its own"] if self.per_sample else [])]
        words += [str(self.brownian)] if self.brownian is not None else []
        words += [self.source] if self.source else []
        for key in ("rtol", "atol", "max_steps", "steps"):
            numbers = self._numbers(key)
            text = "/".join(f"{x:g}" if isinstance(x, float) else str(x) for x in numbers)
            words += [f"{key} {text}"] if numbers else []
        if self.settings:
            words.append(f"can be set: {', '.join(self.settings)}")
        lines = [f"{self.index}: {self.method}, {', '.join(words)}", *(f"   inside it: {line}" for line in self.nested)]
        return screen(lines)

    def _numbers(self, key: str) -> tuple[float, ...]:
        """Return the numbers that stand under a key: none for null, and one for each part for a row."""
        value = getattr(self, key)
        return value if isinstance(value, tuple) else () if value is None else (value,)
