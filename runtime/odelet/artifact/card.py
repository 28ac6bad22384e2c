"""The card of an artifact: what docs/artifact.md says, as frozen data.

The law here: the dataclasses are the format. Their fields are the keys, in the order that is written;
reading refuses a key that is not a field, and a value that is not of the field's type.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from odelet.artifact.checks import check, check_file_name, check_names
from odelet.artifact.decode import decode, parse_json
from odelet.artifact.input_cards import AssumptionCard, NoiseCard
from odelet.artifact.solve_card import DRIVEN, FORMS, MIXED, SETTINGS, DriveStep, RunStep, SolveCard
from odelet.errors import ArtifactError


def summary_of(card: Card) -> str:
    """Return what a person wants to know of an artifact, as a screen of text."""
    lines = [f"{card.name}: form {card.form}, written by odelet {card.odelet}, format {card.format}"]
    for kind, tensors in (("inputs", card.inputs), ("outputs", card.outputs)):
        lines += [kind, *(f"  {tensor.name}: {tensor}" for tensor in tensors)]
    lines += ["solves", *(f"  {_solve_line(solve)}" for solve in card.solves)] if card.solves else []
    if card.fallback is not None:
        each = f"each sample ({card.fallback.axis}) by itself" if card.fallback.axis else "the whole call"
        lines.append(f"fallback: where error_ratio is above 1, {each} is solved again, driven")
    if card.noise:
        lines += ["noise, drawn where it is not given"]
        lines += [f"  {noise.name}: {noise.distribution}, {noise.source}" for noise in card.noise]
    if card.assumptions:
        lines += ["assumptions, checked in each call", *(f"  {assumption}" for assumption in card.assumptions)]
    if card.files:
        lines += ["files", *(f"  {name}: {entry.bytes:,} bytes" for name, entry in card.files.items())]
    if card.parity is not None:
        lines += ["parity", *(f"  {key}: {value}" for key, value in card.parity.items())]
    if card.versions:
        lines.append("versions " + ", ".join(f"{key} {value}" for key, value in card.versions.items()))
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
    return f"{solve.index}: {solve.method}, " + "\n     inside it: ".join([", ".join(told), *solve.nested])


def encode(card: Card, *, drop: tuple[str, ...]) -> str:
    """Return a card as JSON, without some of its keys."""
    data = {key: value for key, value in asdict(card).items() if key not in drop}
    if data["fallback"] is None:
        del data["fallback"]
    for solve in [*data["solves"], *data.get("fallback", {}).get("solves", ())]:
        for key in [key for key in ("drive", "piece") if solve[key] is None]:
            del solve[key]
    try:
        return json.dumps(data, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ArtifactError(f"card: it holds something that JSON cannot ({error})") from None


FORMAT_VERSION = 1

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
        check_names("form", [self.form], (*FORMS, MIXED))
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
            good = self.form in (solve.form, MIXED)
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
            again = self.solved_again
            drives_each = again.driven and len(again.solves) == len(self.solves)
            check(drives_each, "the fallback does not drive each of the solves")
            check(any(solve.facts.calibrated for solve in self.solves), "the fallback is for no solve")

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
    def driven(self) -> bool:
        """Whether the runtime takes the steps of every solve, outside the graphs."""
        return all(solve.drive is not None for solve in self.solves)

    @property
    def solved_again(self) -> Card:
        """The card of the model that the fallback runs."""
        assert self.fallback is not None
        again = self.fallback
        return dataclasses.replace(
            self, form=DRIVEN.name, program=again.program, solves=again.solves, fallback=None, parity=None
        )

    def summary(self) -> str:
        """Return what a person wants to know, as a screen of text."""
        return summary_of(self)
