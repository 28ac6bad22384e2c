"""The card of an artifact: what docs/artifact.md says, as frozen data.

The law here: the dataclasses are the format. Their fields are the keys, in the order that is written;
reading refuses a key that is not a field, and a value that is not of the field's type.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from odelet.card_text import encode, summary_of
from odelet.checks import check, check_file_name, check_names
from odelet.decode import decode, parse_json
from odelet.errors import ArtifactError
from odelet.field_card import FieldCard
from odelet.input_cards import AssumptionCard, NoiseCard

FORMAT_VERSION = 1
FORMS = ("unrolled", "rolled", "bounded", "adaptive", "driven")
SETTINGS = ("rtol", "atol", "max_steps", "max_evals", "deadline")
REPORTS = ("steps", "accepted", "status", "time", "evaluations", "unconverged", "error_ratio")
# What no input may be named: calls of a model have arguments of these names.
RESERVED = (*SETTINGS, "seed")
DTYPES = (
    *("float16", "float32", "float64", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """An input or output of the model. shape: sizes, or names of dynamic axes; () is a scalar."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __post_init__(self) -> None:
        check(self.name != "", "a tensor has an empty name")
        check_names(f"{self.name!r}: dtype", [self.dtype], DTYPES)
        for size in self.shape:
            good = size != "" if isinstance(size, str) else size >= 0
            check(good, f"{self.name!r}: {size!r} in the shape is neither a size nor the name of an axis")

    def __str__(self) -> str:
        return f"{self.dtype} [{', '.join(map(str, self.shape))}]"


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
        driven = self.form == "driven"
        check(driven == (self.drive is not None), f"{me} a drive entry goes with the form driven, and only it")
        told = "error_ratio" in self.report
        check(told == (self.form == "bounded"), f"{me} a report error_ratio goes with the form bounded, and only it")
        for key, name in self.settings.items():
            expected = "null, as the driver takes it" if driven else "the name of a graph input"
            check(driven == (name is None), f"{me} settings.{key} is {name!r}; expected {expected}")


@dataclass(frozen=True, kw_only=True)
class FallbackCard:
    """How samples are solved again whose error_ratio is above 1: the same model with all its solves driven.

    axis: name of the dynamic axis that counts samples, each of which is then solved alone; None where a call is solved
    again as a whole. program, solves: as those of a card, all of the form driven.
    """

    axis: str | None = None
    program: tuple[RunStep | DriveStep, ...]
    solves: tuple[SolveCard, ...]


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """A listed file. sha256: 64 lower-case hex digits. bytes: its size."""

    sha256: str
    bytes: int

    def __post_init__(self) -> None:
        good = re.fullmatch("[0-9a-f]{64}", self.sha256) is not None
        check(good, f"sha256 {self.sha256!r} is not 64 lower-case hex digits")
        check(self.bytes >= 0, f"a file's size is {self.bytes}")


@dataclass(frozen=True, kw_only=True)
class Card:
    """What an artifact says about itself. odelet: the version that wrote it. work: see `session.threads_for`."""

    format: int = FORMAT_VERSION
    odelet: str
    name: str
    form: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    program: tuple[RunStep | DriveStep, ...]
    solves: tuple[SolveCard, ...] = ()
    assumptions: tuple[AssumptionCard, ...] = ()
    noise: tuple[NoiseCard, ...] = ()
    files: dict[str, FileEntry] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    parity: dict[str, Any] | None = None
    fallback: FallbackCard | None = None
    work: int | None = None

    def __post_init__(self) -> None:
        check(self.format == FORMAT_VERSION, f"format is {self.format!r}; this odelet has {FORMAT_VERSION}")
        check_names("form", [self.form], (*FORMS, "mixed"))
        for kind, tensors in (("input", self.inputs), ("output", self.outputs)):
            twice = [name for name, count in Counter(t.name for t in tensors).items() if count > 1]
            check(not twice, f"{kind} names are there twice: {', '.join(twice)}")
        check(len(self.outputs) > 0, "the model has no outputs")
        for tensor in self.inputs:
            check(tensor.name not in RESERVED, f"an input is named {tensor.name!r}, which is a setting's name")
        last = self.inputs[len(self.inputs) - len(self.noise) :]
        check([x.name for x in self.noise] == [x.name for x in last], "the noise is not the last of the inputs")
        for tensor in last:
            check_names(f"noise {tensor.name!r}: dtype", [tensor.dtype], ("float32", "float64"))
        for index, solve in enumerate(self.solves):
            check(solve.index == index, f"solves[{index}] has index {solve.index}")
            good = self.form in (solve.form, "mixed")
            check(good, f"form is {self.form!r}, but solve {index} has {solve.form!r}")
        names = {tensor.name for tensor in self.inputs}
        for index, assumption in enumerate(self.assumptions):
            for name in assumption.inputs:
                check(name in names, f"assumptions[{index}] depends on {name!r}, which is no input")
            taken = assumption.output in {tensor.name for tensor in self.outputs}
            check(not taken, f"assumptions[{index}] has the output {assumption.output!r}, which is one of the model's")
        for name in self.files:
            check_file_name(name)
        driven = Counter(step.drive for step in self.program if isinstance(step, DriveStep))
        wanted = Counter(solve.index for solve in self.solves if solve.drive is not None)
        check(
            driven == wanted,
            f"the program drives the solves {sorted(driven.elements())}; expected {sorted(wanted)} once each",
        )
        check(len(self.program) > 0, "the program is empty")
        if self.fallback is not None:
            again = [solve.form for solve in self.solved_again.solves]
            check(again == ["driven"] * len(self.solves), "the fallback does not drive each of the solves")
            check("bounded" in (solve.form for solve in self.solves), "the fallback is for no solve")

    @classmethod
    def from_json(cls, text: str | bytes) -> Card:
        """Read a card. Raises ArtifactError naming the key and what came, or when the format is newer."""
        data = parse_json(text, what="card")
        version = data.get("format") if isinstance(data, dict) else None
        check(not isinstance(data, dict) or "format" in data, "it has no 'format', so it is not a card")
        if type(version) is int and version > FORMAT_VERSION:
            raise ArtifactError(
                f"card: format {version} was written by odelet {data.get('odelet', '')!r} and is newer than "
                f"this odelet reads ({FORMAT_VERSION}); upgrade with: pip install --upgrade odelet"
            )
        return decode(cls, data, what="card")

    def to_json(self) -> str:
        """Return the whole card as JSON text."""
        return encode(self, drop=())

    def short_json(self) -> str:
        """Return the card without files and parity, as it goes into each file's metadata."""
        return encode(self, drop=("files", "parity"))

    @property
    def run_files(self) -> tuple[str, ...]:
        """The graphs that the program runs, in order, each once."""
        return tuple(dict.fromkeys(step.run for step in self.program if isinstance(step, RunStep)))

    @property
    def solved_again(self) -> Card:
        """The card of the model that the fallback runs."""
        assert self.fallback is not None
        again = self.fallback
        return dataclasses.replace(
            self, form="driven", program=again.program, solves=again.solves, fallback=None, parity=None
        )

    def summary(self) -> str:
        """Return what a person wants to know, as a screen of text."""
        return summary_of(self)
