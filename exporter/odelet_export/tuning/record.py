"""The file tune.json: every row as it was measured, and everything that it was measured with.

The law here: the file is whole at any time, holds each row as soon as it is measured, and never mixes rows of different
models, data or machines.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from odelet.artifact.array_files import replace_file
from odelet.artifact.decode import decode, parse_json
from odelet.errors import ArtifactError, InputError
from odelet_export.tuning.candidates import Candidate

FILE = "tune.json"
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Row:
    """The measurements of a candidate on the first `calls` calls. A value of None was not measured, for the reason in
    `note`.

    error: the largest error of any sample, relative to the largest element of its output; mean_error: the mean of the
    samples' largest errors. metric: the result of the user's metric. evaluations: the evaluations of the fields of all
    solves, the mean over calls. ratio: the time of a call over that of the baseline; both are measured in turns, and a
    time is the mean over inputs of the shortest time of each input. milliseconds: the ratio times the milliseconds of
    the baseline. slowest: the milliseconds of the slowest input. bytes: the size of the graphs and weights.
    """

    candidate: Candidate
    calls: int
    samples: int
    error: float | None = None
    mean_error: float | None = None
    metric: float | None = None
    evaluations: float | None = None
    ratio: float | None = None
    milliseconds: float | None = None
    slowest: float | None = None
    bytes: int | None = None
    note: str = ""

    @property
    def worst(self) -> float:
        """The largest error; infinite where none was measured."""
        return math.inf if self.error is None else self.error

    @property
    def time(self) -> float:
        """The milliseconds of a call; infinite where none were measured."""
        return math.inf if self.milliseconds is None else self.milliseconds


@dataclass(frozen=True, kw_only=True)
class Record:
    """The contents of tune.json.

    identity: the model, data, metric, settings, machine and versions that all rows were measured with; where any of
    these differs, the rows are of no use. baseline, milliseconds: the candidate beside which others are timed, and its
    time of a call. inputs: names and axes, in the notation of `odelet export --input`. reference: a description of the
    reference, against which errors are measured. target, budget, chosen: those of the run that wrote the file; chosen
    is None while the run is not finished, and where no candidate is good enough. command: the `odelet export` that
    makes the choice. build: the `odelet build` that makes its library, where the choice is one. native: why libraries
    were not tried, or not all; "" where they were, and where nobody wanted them.
    """

    format: int = FORMAT
    identity: dict[str, Any]
    baseline: Candidate
    milliseconds: float
    inputs: tuple[str, ...]
    reference: dict[str, Any]
    seed: int
    target: float
    budget: float | None = None
    finished: bool = False
    chosen: Candidate | None = None
    command: str = ""
    build: str = ""
    native: str = ""
    rows: tuple[Row, ...] = field(default=())

    @property
    def most(self) -> float:
        """The budget in milliseconds; infinite where there is none."""
        return math.inf if self.budget is None else self.budget

    def latest(self) -> dict[Candidate, Row]:
        """The row of each candidate on the largest number of calls, by candidate."""
        latest: dict[Candidate, Row] = {}
        for row in self.rows:
            earlier = latest.get(row.candidate)
            if earlier is None or row.calls > earlier.calls:
                latest[row.candidate] = row
        return latest

    def to_json(self) -> str:
        """The text of tune.json."""
        return json.dumps(dataclasses.asdict(self), indent=1, allow_nan=False)


def read_record(folder: Path) -> Record | None:
    """The record of a folder, or None where there is no file. Raises InputError for a file that is no record."""
    path = folder / FILE
    if not path.exists():
        return None
    advice = "; remove it, or begin anew with --anew"
    try:
        record = decode(Record, parse_json(path.read_bytes(), what=FILE), what=FILE)
    except ArtifactError as error:
        raise InputError(f"{path} is damaged: {error}{advice}") from None
    except OSError as error:
        raise InputError(f"{path}: it cannot be read ({error.strerror or error}){advice}") from None
    if record.format != FORMAT:
        raise InputError(f"{path} has the format {record.format}; this odelet has {FORMAT}{advice}")
    return record


def write_record(folder: Path, record: Record) -> None:
    """Write tune.json at once, in place of an earlier one."""
    text = record.to_json().encode()
    replace_file(folder / FILE, lambda file: file.write(text))


def check_same(record: Record, identity: Mapping[str, Any], folder: Path) -> None:
    """Raise InputError, naming the differences, where the rows of a record were measured with something else."""
    changed = [name for name in {**record.identity, **identity} if record.identity.get(name) != identity.get(name)]
    if changed:
        differences = ", ".join(
            f"{name} ({_short(record.identity.get(name))} then, {_short(identity.get(name))} now)" for name in changed
        )
        raise InputError(
            f"{folder / FILE} was measured with another {differences}, so its rows cannot be used; "
            "give another --out, or begin anew with --anew"
        )


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:12]}..."
