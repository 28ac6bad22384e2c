"""The bundled samples of an artifact, and the comparison of outputs with them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from odelet.artifact.array_files import read_npz
from odelet.artifact.card import Card
from odelet.artifact.folder import SAMPLES_FILE, read_checked
from odelet.errors import ArtifactError, InputError
from odelet.numerics.backend import NumpyArray


@dataclass(frozen=True)
class OutputCheck:
    """One output of one sample. max_abs: the largest error; max_rel: over the output's largest element; NaN
    where the two cannot be compared. allowed: the largest error that passes. worst: where the error is
    largest. note: why it failed, where numbers do not say."""

    sample: int
    output: str
    passed: bool
    max_abs: float = math.nan
    max_rel: float = math.nan
    allowed: float = math.nan
    worst: tuple[int, ...] = ()
    note: str = ""

    @property
    def told(self) -> str:
        """Why it failed."""
        return self.note or (
            f"differs by {self.max_abs:.3g} ({self.max_rel:.3g} relative) at {list(self.worst)}, "
            f"allowed {self.allowed:.3g}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON types; a number that is not finite is null."""
        finite = {key: getattr(self, key) for key in ("max_abs", "max_rel", "allowed")}
        finite = {key: value if math.isfinite(value) else None for key, value in finite.items()}
        return {**self.__dict__, **finite, "worst": list(self.worst)}


def compare(sample: int, name: str, got: NumpyArray, expected: NumpyArray, *, allowed: float) -> OutputCheck:
    """Compare an output with torch's, of any one shape; NaN agrees with NaN, infinity with the same one.

    allowed: the largest absolute error that passes.
    """
    if got.dtype != expected.dtype or got.shape != expected.shape:
        note = f"is {got.dtype} {list(got.shape)}, torch gave {expected.dtype} {list(expected.shape)}"
        return OutputCheck(sample, name, False, allowed=allowed, note=note)
    if got.size == 0:
        return OutputCheck(sample, name, True, 0.0, 0.0, allowed)
    same = (got == expected) | ((got != got) & (expected != expected))
    a, b = got.astype(np.float64), expected.astype(np.float64)
    with np.errstate(all="ignore"):
        error = np.where(same, 0.0, np.abs(a - b))
        # A NaN against a number, and infinity against a number, are as far apart as can be.
        error = np.where(np.isfinite(error), error, np.inf)
        largest = float(error.max())
        # Rounding scales with the largest elements that went into a result, not with the result itself.
        relative = 0.0 if largest == 0 else float(np.divide(largest, largest_element(expected)))
    worst = tuple(int(i) for i in np.unravel_index(int(np.argmax(error)), error.shape))
    return OutputCheck(sample, name, largest <= allowed, largest, relative, allowed, worst)


def largest_element(x: NumpyArray) -> float:
    """The largest magnitude among the finite elements; 0 without any."""
    magnitude = np.abs(x.astype(np.float64))
    return float(np.max(magnitude, where=np.isfinite(magnitude), initial=0.0))


Sample = tuple[dict[str, NumpyArray], dict[str, NumpyArray], dict[str, float]]


def samples_of(card: Card, folder: Path) -> list[Sample]:
    """The samples in order, each as its inputs, its outputs and their allowed errors, by name."""
    if SAMPLES_FILE not in card.files:
        raise ArtifactError(f"{folder}: the card lists no {SAMPLES_FILE}; export the model again with samples")
    data = read_checked(folder, SAMPLES_FILE, card.files[SAMPLES_FILE])
    try:
        arrays = read_npz(folder / SAMPLES_FILE, data=data)
    except InputError as error:
        raise ArtifactError(str(error)) from None
    expected = {("in", tensor.name) for tensor in card.inputs}
    expected |= {(side, tensor.name) for side in ("out", "allowed") for tensor in card.outputs}
    found: dict[int, dict[tuple[str, str], NumpyArray]] = {}
    for key, array in arrays.items():
        number, side, name = (*key.split("/", 2), "", "")[:3]
        if not number.isdecimal() or (side, name) not in expected:
            raise ArtifactError(
                f"{SAMPLES_FILE}: the array {key!r} is not 'K/in/INPUT', 'K/out/OUTPUT' or 'K/allowed/OUTPUT'"
            )
        found.setdefault(int(number), {})[side, name] = array
    if not found or sorted(found) != list(range(len(found))):
        raise ArtifactError(f"{SAMPLES_FILE}: it holds the samples {sorted(found)}; expected 0, 1, ...")
    for index, sample in found.items():
        missing = ["/".join(key) for key in sorted(expected - sample.keys())]
        if missing:
            raise ArtifactError(f"{SAMPLES_FILE}: sample {index} lacks {', '.join(missing)}")
    return [
        (
            {tensor.name: found[number]["in", tensor.name] for tensor in card.inputs},
            {tensor.name: found[number]["out", tensor.name] for tensor in card.outputs},
            {tensor.name: _allowed(found[number]["allowed", tensor.name], number) for tensor in card.outputs},
        )
        for number in range(len(found))
    ]


def _allowed(array: NumpyArray, number: int) -> float:
    if array.shape != () or array.dtype != np.float64 or not 0 <= array < np.inf:
        raise ArtifactError(f"{SAMPLES_FILE}: sample {number} allows an error of {array!r}; expected a number")
    return float(array)
