"""The card of an artifact: what docs/artifact.md says, as frozen data.

The law here: the dataclasses are the format. Their fields are the keys, in the order that is written;
reading refuses a key that is not a field, and a value that is not of the field's type.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from odelet.decode import decode, parse_json
from odelet.errors import ArtifactError

FORMAT_VERSION = 1
FORMS = ("unrolled", "rolled", "bounded", "adaptive", "driven")
SETTINGS = ("rtol", "atol", "max_steps", "max_evals", "deadline")
REPORTS = ("steps", "accepted", "status", "time", "evaluations", "unconverged")
DTYPES = (
    *("float16", "float32", "float64", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ArtifactError(f"card: {message}")


def _check_file_name(name: str) -> None:
    # A name that means the same on every system, and can only mean a file of this very folder.
    _check(
        _FILE_NAME.fullmatch(name) is not None and not name.endswith("."),
        f"file name {name!r} is not portable; use letters, digits, '_', '-' and '.', and no folders",
    )


def _check_names(what: str, names: list[str], allowed: tuple[str, ...]) -> None:
    for name in names:
        _check(name in allowed, f"{what} {name!r} is unknown; known are {', '.join(allowed)}")


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """An input or output of the model. shape: sizes, or names of dynamic axes; () is a scalar."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __post_init__(self) -> None:
        _check(self.name != "", "a tensor has an empty name")
        _check_names(f"{self.name!r}: dtype", [self.dtype], DTYPES)
        for size in self.shape:
            good = size != "" if isinstance(size, str) else size >= 0
            _check(good, f"{self.name!r}: {size!r} in the shape is neither a size nor the name of an axis")

    def __str__(self) -> str:
        return f"{self.dtype} [{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True, kw_only=True)
class RunStep:
    """A step of the program: run a graph. run: its file."""

    run: str

    def __post_init__(self) -> None:
        _check_file_name(self.run)


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
        _check_file_name(self.graph)


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
            _check_file_name(name)
        _check((self.field is None) == (self.t is None), "a drive entry has both a field and times t, or neither")
        _check(self.field is not None or self.step is not None, "a drive entry has neither a field nor a step")
        _check(len(self.y0) > 0, "a drive entry has no y0")
        _check(len(self.y0) == len(self.solution), "a drive entry needs one solution name for each y0 name")

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
    where the method has none; a tolerance may be one number for each part of the state."""

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

    def __post_init__(self) -> None:
        me = f"solve {self.index}:"
        _check_names(f"{me} form", [self.form], FORMS)
        _check_names(f"{me} setting", list(self.settings), SETTINGS)
        _check_names(f"{me} report", list(self.report), REPORTS)
        for key in ("rtol", "atol", "max_steps", "steps"):
            value = getattr(self, key)
            numbers = value if isinstance(value, tuple) else () if value is None else (value,)
            _check(all(0 <= x < math.inf for x in numbers), f"{me} {key} is {value!r}; expected 0 or more")
        driven = self.form == "driven"
        _check(driven == (self.drive is not None), f"{me} a drive entry goes with the form driven, and only it")
        for key, name in self.settings.items():
            expected = "null, as the driver takes it" if driven else "the name of a graph input"
            _check(driven == (name is None), f"{me} settings.{key} is {name!r}; expected {expected}")


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """A listed file. sha256: 64 lower-case hex digits. bytes: its size."""

    sha256: str
    bytes: int

    def __post_init__(self) -> None:
        good = re.fullmatch("[0-9a-f]{64}", self.sha256) is not None
        _check(good, f"sha256 {self.sha256!r} is not 64 lower-case hex digits")
        _check(self.bytes >= 0, f"a file's size is {self.bytes}")


@dataclass(frozen=True, kw_only=True)
class Card:
    """What an artifact says about itself. odelet: the version that wrote it."""

    format: int = FORMAT_VERSION
    odelet: str
    name: str
    form: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    program: tuple[RunStep | DriveStep, ...]
    solves: tuple[SolveCard, ...] = ()
    files: dict[str, FileEntry] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    parity: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        _check(self.format == FORMAT_VERSION, f"format is {self.format!r}; this odelet has {FORMAT_VERSION}")
        _check_names("form", [self.form], (*FORMS, "mixed"))
        for kind, tensors in (("input", self.inputs), ("output", self.outputs)):
            twice = [name for name, count in Counter(t.name for t in tensors).items() if count > 1]
            _check(not twice, f"{kind} names are there twice: {', '.join(twice)}")
        _check(len(self.outputs) > 0, "the model has no outputs")
        for tensor in self.inputs:
            _check(tensor.name not in SETTINGS, f"an input is named {tensor.name!r}, which is a setting's name")
        for index, solve in enumerate(self.solves):
            _check(solve.index == index, f"solves[{index}] has index {solve.index}")
            good = self.form in (solve.form, "mixed")
            _check(good, f"form is {self.form!r}, but solve {index} has {solve.form!r}")
        for name in self.files:
            _check_file_name(name)
        driven = Counter(step.drive for step in self.program if isinstance(step, DriveStep))
        wanted = Counter(solve.index for solve in self.solves if solve.drive is not None)
        _check(
            driven == wanted,
            f"the program drives the solves {sorted(driven.elements())}; expected {sorted(wanted)} once each",
        )
        _check(len(self.program) > 0, "the program is empty")

    @classmethod
    def from_json(cls, text: str | bytes) -> Card:
        """Read a card. Raises ArtifactError naming the key and what came, or when the format is newer."""
        data = parse_json(text, what="card")
        version = data.get("format") if isinstance(data, dict) else None
        _check(not isinstance(data, dict) or "format" in data, "it has no 'format', so it is not a card")
        if type(version) is int and version > FORMAT_VERSION:
            raise ArtifactError(
                f"card: format {version} was written by odelet {data.get('odelet', '')!r} and is newer than "
                f"this odelet reads ({FORMAT_VERSION}); upgrade with: pip install --upgrade odelet"
            )
        return decode(cls, data, what="card")

    def to_json(self) -> str:
        """Return the whole card as JSON text."""
        return _encode(self, drop=())

    def short_json(self) -> str:
        """Return the card without files and parity, as it goes into each file's metadata."""
        return _encode(self, drop=("files", "parity"))

    @property
    def run_files(self) -> tuple[str, ...]:
        """The graphs that the program runs, in order, each once."""
        return tuple(dict.fromkeys(step.run for step in self.program if isinstance(step, RunStep)))

    def summary(self) -> str:
        """Return what a person wants to know, as a screen of text."""
        lines = [f"{self.name}: form {self.form}, written by odelet {self.odelet}, format {self.format}"]
        for kind, tensors in (("inputs", self.inputs), ("outputs", self.outputs)):
            lines += [kind, *(f"  {tensor.name}: {tensor}" for tensor in tensors)]
        lines += ["solves", *(f"  {_solve_line(solve)}" for solve in self.solves)] if self.solves else []
        if self.files:
            lines += ["files", *(f"  {name}: {entry.bytes:,} bytes" for name, entry in self.files.items())]
        if self.parity is not None:
            lines += ["parity", *(f"  {key}: {value}" for key, value in self.parity.items())]
        if self.versions:
            lines.append("versions " + ", ".join(f"{key} {value}" for key, value in self.versions.items()))
        return "\n".join(lines)


def _solve_line(solve: SolveCard) -> str:
    told = [solve.form, *(["each sample on its own"] if solve.per_sample else [])]
    told += [solve.source] if solve.source else []
    for key in ("rtol", "atol", "max_steps", "steps"):
        value = getattr(solve, key)
        numbers = value if isinstance(value, tuple) else () if value is None else (value,)
        told += [f"{key} {'/'.join(f'{x:g}' if isinstance(x, float) else str(x) for x in numbers)}"] if numbers else []
    if solve.settings:
        told.append(f"can be set: {', '.join(solve.settings)}")
    return f"{solve.index}: {solve.method}, " + ", ".join(told)


def _encode(card: Card, *, drop: tuple[str, ...]) -> str:
    data = {key: value for key, value in asdict(card).items() if key not in drop}
    for solve in data["solves"]:
        if solve["drive"] is None:
            del solve["drive"]
    try:
        return json.dumps(data, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ArtifactError(f"card: it holds something that JSON cannot ({error})") from None
