"""The card of an artifact: what docs/artifact.md says, as frozen data.

The law here: the dataclasses are the format. Their fields are the keys of odelet.json, in the order in which they are
written; reading refuses a key that is not a field, and a value that is not of the field's type. The one key that is no
field is `checksum`: it is of the others.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from odelet.artifact.call_card import CallCard
from odelet.artifact.checks import check, check_file_name, check_names
from odelet.artifact.decode import Json, decode, parse_json
from odelet.artifact.file_card import FileEntry
from odelet.artifact.input_cards import DISTRIBUTIONS, AssumptionCard, NoiseCard
from odelet.artifact.needs_card import NeedsCard
from odelet.artifact.program_steps import DriveStep, ProgramStep, check_loops, files_of
from odelet.artifact.solve_card import DRIVEN, FORMS, MIXED, SETTINGS, SolveCard
from odelet.artifact.weights import STORED
from odelet.artifact.work_card import ProductCard
from odelet.errors import ArtifactError
from odelet.text import screen

FORMAT_VERSION = 2
# From this format on, a card has a checksum, and a lone graph a digest.
_SEALED_FORMAT = 2

# No input may have one of these names: calls of a model have arguments of these names.
RESERVED = (*SETTINGS, "seed")
DTYPES = (
    *("float16", "float32", "float64", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """An input or output of the model.

    shape: for each axis its size, or its name if it is dynamic; () is a scalar. size: for a whole number that is a
    size, such as a number of steps, the name of that size, which dynamic axes may have too; else "".
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    size: str = ""

    def __post_init__(self) -> None:
        check(self.name != "", "a tensor has an empty name")
        check_names(f"{self.name!r}: dtype", [self.dtype], DTYPES)
        for size in self.shape:
            good = size != "" if isinstance(size, str) else size >= 0
            check(good, f"{self.name!r}: {size!r} in the shape is neither a size nor the name of an axis")
        is_scalar = self.dtype == "int64" and self.shape == ()
        check(not self.size or is_scalar, f"{self.name!r} is a size, and no int64 scalar")

    def takes(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bool:
        """Whether an array has this dtype, as many axes, and the sizes that are fixed."""
        fits = len(shape) == len(self.shape) and all(
            isinstance(declared, str) or size == declared for size, declared in zip(shape, self.shape, strict=True)
        )
        return fits and dtype == self.dtype

    def __str__(self) -> str:
        return f"{self.dtype} [{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True, kw_only=True)
class FallbackCard:
    """How samples whose error ratio is above 1 are solved again: by the same model with all its solves driven.

    axis: name of the dynamic axis that counts samples, each of which is then solved alone; None where a call is solved
    again as a whole. program, solves: as in a card, with all solves in the form driven.
    """

    axis: str | None = None
    program: tuple[ProgramStep, ...]
    solves: tuple[SolveCard, ...]


@dataclass(frozen=True, kw_only=True)
class Card:
    """What an artifact says about itself.

    format: version of the format. odelet: version of odelet that wrote the card. form: of all solves, or "mixed";
    "plain" for a model without a solve. program: what a call runs, in order. assumptions: decisions of the model's
    Python code, checked in each call. noise: the random inputs, which are the last of `inputs`. files: every other file
    of the folder except `parity.*`, by name. versions: of the packages that took part in the export. parity: what the
    export found when it compared the artifact with torch. fallback: how samples of a bounded solve are solved again, or
    None. work: number of multiplications in the largest matrix product or convolution of the graphs, a dynamic size
    counted as 1; None if it is not known. products: the largest ones whose work grows with dynamic axes. needs: what an
    engine must know; None in cards of 0.1. call: the arguments and the structure of the result in the model's own call;
    None where it is not known. weights: how weights are stored in fewer bits, one of `weights.STORED`; None where they
    are as in the model.

    Raises ArtifactError when the entries contradict each other.
    """

    format: int = FORMAT_VERSION
    odelet: str
    name: str
    form: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    program: tuple[ProgramStep, ...]
    solves: tuple[SolveCard, ...] = ()
    assumptions: tuple[AssumptionCard, ...] = ()
    noise: tuple[NoiseCard, ...] = ()
    files: dict[str, FileEntry] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    parity: dict[str, Json] | None = None
    fallback: FallbackCard | None = None
    work: int | None = None
    products: tuple[ProductCard, ...] = ()
    needs: NeedsCard | None = None
    call: CallCard | None = None
    weights: str | None = None

    def __post_init__(self) -> None:
        known = 1 <= self.format <= FORMAT_VERSION
        check(known, f"format is {self.format!r}; this odelet reads 1 to {FORMAT_VERSION}")
        check_names("form", [self.form], (*FORMS, MIXED))
        self._check_tensors()
        self._check_assumptions()
        for name in self.files:
            check_file_name(name)
        self._check_solves()
        check(self.work is None or self.work >= 0, f"work is {self.work}")
        axes = {size for tensor in self.inputs for size in tensor.shape}
        known = all(axis in axes for product in self.products for axis in product.axes)
        check(known, "products: an axis is none of the inputs'")
        check_names("weights", [] if self.weights is None else [self.weights], STORED)

    def _check_tensors(self) -> None:
        for kind, tensors in (("input", self.inputs), ("output", self.outputs)):
            repeated = [name for name, count in Counter(t.name for t in tensors).items() if count > 1]
            check(not repeated, f"{kind} names are there twice: {', '.join(repeated)}")
        check(len(self.outputs) > 0, "the model has no outputs")
        if self.call is not None:
            self.call.check_tensors({t.name for t in self.inputs}, {t.name for t in self.outputs})
        for tensor in self.inputs:
            check(tensor.name not in RESERVED, f"an input is named {tensor.name!r}, which is a setting's name")
        random_inputs = self.inputs[len(self.inputs) - len(self.noise) :]
        names = [tensor.name for tensor in random_inputs]
        check([noise.name for noise in self.noise] == names, "the noise is not the last of the inputs")
        for noise, tensor in zip(self.noise, random_inputs, strict=True):
            check_names(f"noise {tensor.name!r}: dtype", [tensor.dtype], DISTRIBUTIONS[noise.distribution])
            axes = [axis for axis in (noise.sample_axis, noise.step_axis) if axis is not None]
            for name, axis in (("sample_axis", noise.sample_axis), ("step_axis", noise.step_axis)):
                there = axis is None or (0 <= axis < len(tensor.shape) and axes.count(axis) == 1)
                check(there, f"noise {tensor.name!r}: its {name} is {axis}, and it has {len(tensor.shape)} axes")
            keys = noise.distribution != "key" or (len(tensor.shape) == 1 and axes == [0])
            check(keys, f"noise {tensor.name!r}: keys have one axis, which counts samples")

    def _check_assumptions(self) -> None:
        names = {tensor.name for tensor in self.inputs}
        for index, assumption in enumerate(self.assumptions):
            for name in assumption.inputs:
                check(name in names, f"assumptions[{index}] depends on {name!r}, which is no input")
            unknown = assumption.axes - {axis for tensor in self.inputs for axis in (*tensor.shape, tensor.size)}
            check(not unknown, f"assumptions[{index}] is about sizes that no input has: {', '.join(sorted(unknown))}")
            taken = assumption.output in {tensor.name for tensor in self.outputs}
            check(not taken, f"assumptions[{index}] has the output {assumption.output!r}, which is one of the model's")

    def _check_solves(self) -> None:
        for index, solve in enumerate(self.solves):
            check(solve.index == index, f"solves[{index}] has index {solve.index}")
            same_form = self.form in (solve.form, MIXED)
            check(same_form, f"form is {self.form!r}, but solve {index} has {solve.form!r}")
        driven_solves = Counter(step.drive for step in self.program if isinstance(step, DriveStep))
        with_drive_entry = Counter(solve.index for solve in self.solves if solve.drive is not None)
        check(
            driven_solves == with_drive_entry,
            f"the program drives the solves {sorted(driven_solves.elements())}; expected {sorted(with_drive_entry)} "
            "once each",
        )
        check(len(self.program) > 0, "the program is empty")
        check_loops(self.program, solves=len(self.solves))
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
        found = data.pop("checksum", None) if isinstance(data, dict) else None
        card = decode(cls, data, what="card")
        check(card.sealed or found is None, f"it has a checksum, which format {card.format} does not have")
        if card.sealed and found != checksum_of(data):
            raise ArtifactError(
                "card: its checksum is not that of its text, so it was changed after its export: copy it again"
            )
        return card

    def to_json(self) -> str:
        """Return the whole card as JSON text. Raises ArtifactError for a value that JSON cannot hold."""
        return self._encoded(without=())

    def short_json(self) -> str:
        """Return the card without files and parity, as it goes into the metadata of each graph."""
        return self._encoded(without=("files", "parity"))

    def _encoded(self, *, without: tuple[str, ...]) -> str:
        data = {key: value for key, value in dataclasses.asdict(self).items() if key not in without}
        # Entries that most cards lack are left out, and not written as null.
        for key in [key for key in ("fallback", "products", "needs", "call", "weights") if not data[key]]:
            del data[key]
        for tensor in [tensor for tensor in [*data["inputs"], *data["outputs"]] if not tensor["size"]]:
            del tensor["size"]
        for solve in [*data["solves"], *data.get("fallback", {}).get("solves", ())]:
            for key in [key for key in ("drive", "piece") if solve[key] is None]:
                del solve[key]
        try:
            if self.sealed:
                # Lists in place of tuples, and floats as they are read again.
                data["checksum"] = checksum_of(json.loads(json.dumps(data, allow_nan=False)))
            return json.dumps(data, indent=2, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ArtifactError(f"card: it holds something that JSON cannot ({error})") from None

    @property
    def sealed(self) -> bool:
        """Whether the card has a checksum, and its graph a digest where it can be loaded alone."""
        return self.format >= _SEALED_FORMAT

    @property
    def graph_files(self) -> tuple[str, ...]:
        """The files of all graphs, those of the fallback last, each as often as the card names it."""
        driven = [file for solve in self.solves if solve.drive is not None for file in solve.drive.graphs]
        again = self.solved_again.graph_files if self.fallback is not None else ()
        return (*files_of(self.program), *driven, *again)

    @property
    def driven(self) -> bool:
        """Whether the runtime takes the steps of every solve, outside the graphs."""
        return bool(self.solves) and all(solve.drive is not None for solve in self.solves)

    @property
    def solved_again(self) -> Card:
        """The card of the model that the fallback runs."""
        assert self.fallback is not None
        again = self.fallback
        return dataclasses.replace(
            self, form=DRIVEN.name, program=again.program, solves=again.solves, fallback=None, parity=None
        )

    def summary(self) -> str:
        """Return what a person wants to know of the artifact, as a screen of text."""
        lines = [f"{self.name}: form {self.form}, written by odelet {self.odelet}, format {self.format}"]
        for kind, tensors in (("inputs", self.inputs), ("outputs", self.outputs)):
            lines += [kind, *(f"  {tensor.name}: {tensor}" for tensor in tensors)]
        if self.solves:
            lines += ["solves", *(f"  {line}" for solve in self.solves for line in str(solve).split("\n"))]
        if self.fallback is not None:
            what = f"each sample ({self.fallback.axis}) by itself" if self.fallback.axis else "the whole call"
            lines.append(f"fallback: where error_ratio is above 1, {what} is solved again, driven")
        lines += [] if self.weights is None else [f"weights: {self.weights}: {STORED[self.weights]}"]
        if self.noise:
            drawn = (f"  {noise.name}: {noise.distribution}, {noise.source}" for noise in self.noise)
            lines += ["noise, drawn where it is not given", *drawn]
        if self.assumptions:
            lines += ["assumptions, checked in each call", *(f"  {assumption}" for assumption in self.assumptions)]
        if self.files:
            lines += ["files", *(f"  {name}: {entry.bytes:,} bytes" for name, entry in self.files.items())]
        lines += ["parity", *(f"  {key}: {value}" for key, value in (self.parity or {}).items())] if self.parity else []
        if self.versions:
            lines.append("versions " + ", ".join(f"{key} {value}" for key, value in self.versions.items()))
        return screen(lines)


def checksum_of(data: dict[str, Json]) -> str:
    """The checksum of a card's keys and values: the SHA-256, in hex digits, of their shortest JSON with sorted keys."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
