"""tune.json: every measured row as it was measured, and what it was measured with.

The law here: the file is whole at any time, a row is in it as soon as it is measured, and rows of another model, other
data or another machine are never mixed.
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
    """A candidate, measured on the first `calls` calls. What is null was not measured, as `note` says why.

    error: the largest of any sample, relative to the largest element of its output; mean_error: the mean over samples
    of each one's largest. metric: the user's. evaluations: of the field, all solves together, the mean of a call.
    ratio: of its time to that of the baseline, both measured in turns, for each input the shortest of all turns, and
    the mean over inputs; milliseconds: that ratio times those of the baseline; slowest: those of the input that takes
    longest. bytes: of its graphs.
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
        """The error; infinite where there is none."""
        return math.inf if self.error is None else self.error

    @property
    def time(self) -> float:
        """The milliseconds of a call; infinite where it was not timed."""
        return math.inf if self.milliseconds is None else self.milliseconds


@dataclass(frozen=True, kw_only=True)
class Record:
    """What tune.json holds.

    identity: what all rows were measured with; where any of it differs, they say nothing. baseline: the candidate that
    times are taken beside, and its milliseconds. inputs: names and axes, as `odelet export` takes them. reference: what
    errors are measured against. target, budget: of the run that wrote the file, and chosen, what it chose of `rows`,
    null while it is not finished or where nothing is good enough. command: that makes the choice.
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
    rows: tuple[Row, ...] = field(default=())

    @property
    def most(self) -> float:
        """The budget in milliseconds; infinite where there is none."""
        return math.inf if self.budget is None else self.budget

    def latest(self) -> dict[Candidate, Row]:
        """For each candidate, the row on most calls."""
        found: dict[Candidate, Row] = {}
        for row in self.rows:
            before = found.get(row.candidate)
            if before is None or row.calls > before.calls:
                found[row.candidate] = row
        return found

    def to_json(self) -> str:
        """All of it."""
        return json.dumps(dataclasses.asdict(self), indent=1, allow_nan=False)


def read_record(folder: Path) -> Record | None:
    """The record of a folder, or None. Raises InputError for a file that is none."""
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
    """Write it, in place of what is there, at once."""
    text = record.to_json().encode()
    replace_file(folder / FILE, lambda file: file.write(text))


def check_same(record: Record, identity: Mapping[str, Any], folder: Path) -> None:
    """Raise InputError, naming what is different, where the rows of a record were measured with something else."""
    changed = [name for name in {**record.identity, **identity} if record.identity.get(name) != identity.get(name)]
    if changed:
        told = ", ".join(
            f"{name} ({_short(record.identity.get(name))} then, {_short(identity.get(name))} now)" for name in changed
        )
        raise InputError(
            f"{folder / FILE} was measured with another {told}, so its rows cannot be gone on with; "
            "give another --out, or begin anew with --anew"
        )


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:12]}..."
