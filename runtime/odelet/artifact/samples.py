"""The sample inputs that lie in an artifact, and the comparison of a model's outputs with torch's.

The law here: what torch gave, and the largest error that passes, come from the artifact; nothing is solved here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from odelet.artifact.card import Card, Tensor
from odelet.artifact.decode import Json
from odelet.artifact.folder import SAMPLES_FILE, read_checked
from odelet.artifact.npy import Header, read_npz
from odelet.errors import ArtifactError, InputError
from odelet.numerics.backend import NumpyArray


@dataclass(frozen=True)
class OutputCheck:
    """The comparison of one output for one sample input with torch's.

    sample: the sample's index. output: the output's name. max_abs: the largest absolute error; max_rel: that error over
    the largest element of torch's output; both are NaN where the arrays cannot be compared. allowed: the largest
    absolute error that passes. worst: index of the element with the largest error. note: why the comparison failed, if
    the numbers do not say.
    """

    sample: int
    output: str
    passed: bool
    max_abs: float = math.nan
    max_rel: float = math.nan
    allowed: float = math.nan
    worst: tuple[int, ...] = ()
    note: str = ""

    @property
    def failure(self) -> str:
        """Why the comparison failed, as the end of a sentence about the output."""
        return self.note or (
            f"differs by {self.max_abs:.3g} ({self.max_rel:.3g} relative) at {list(self.worst)}, "
            f"allowed {self.allowed:.3g}"
        )

    def to_dict(self) -> dict[str, Json]:
        """Return the fields as JSON types; a number that is not finite is null."""
        finite = {key: getattr(self, key) for key in ("max_abs", "max_rel", "allowed")}
        finite = {key: value if math.isfinite(value) else None for key, value in finite.items()}
        return {**self.__dict__, **finite, "worst": list(self.worst)}


def compare(sample: int, name: str, got: NumpyArray, expected: NumpyArray, *, allowed: float) -> OutputCheck:
    """Return the comparison of an output with torch's.

    got, expected: arrays of any shape; one that differs, in shape or dtype, fails. NaN agrees with NaN, and infinity
    with infinity of the same sign. allowed: the largest absolute error that passes.
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
        # NaN and infinity are infinitely far from any number.
        error = np.where(np.isfinite(error), error, np.inf)
        largest = float(error.max())
        # Rounding scales with the largest elements that went into a result, not with the result itself.
        relative = 0.0 if largest == 0 else float(np.divide(largest, largest_element(expected)))
    worst = tuple(int(i) for i in np.unravel_index(int(np.argmax(error)), error.shape))
    return OutputCheck(sample, name, largest <= allowed, largest, relative, allowed, worst)


def largest_element(x: NumpyArray) -> float:
    """Return the largest magnitude among the finite elements, or 0 if there is none."""
    magnitude = np.abs(x.astype(np.float64))
    return float(np.max(magnitude, where=np.isfinite(magnitude), initial=0.0))


# Inputs, torch's outputs, and the largest absolute error that passes for each output, each by name.
Sample: TypeAlias = tuple[dict[str, NumpyArray], dict[str, NumpyArray], dict[str, float]]


def samples_of(card: Card, folder: Path) -> list[Sample]:
    """Return the samples of an artifact in order. Raises ArtifactError when the file is missing or damaged."""
    if SAMPLES_FILE not in card.files:
        raise ArtifactError(f"{folder}: the card lists no {SAMPLES_FILE}; export the model again with samples")
    data = read_checked(folder, SAMPLES_FILE, card.files[SAMPLES_FILE])
    tensors = {f"in/{tensor.name}": tensor for tensor in card.inputs}
    tensors |= {f"out/{tensor.name}": tensor for tensor in card.outputs}

    tensors |= {f"allowed/{x.name}": Tensor(name=x.name, dtype="float64", shape=()) for x in card.outputs}

    def judge(header: Header) -> None:
        tensor = tensors.get(header.name.partition("/")[2])
        if tensor is not None and not tensor.takes(header.dtype, header.shape):
            raise InputError(f"it is {header.dtype} {list(header.shape)}; the card says {tensor}")

    try:
        arrays = read_npz(folder / SAMPLES_FILE, judge=judge, data=data)
    except InputError as error:
        raise ArtifactError(str(error)) from None
    expected = {("in", tensor.name) for tensor in card.inputs}
    expected |= {(side, tensor.name) for side in ("out", "allowed") for tensor in card.outputs}
    samples: dict[int, dict[tuple[str, str], NumpyArray]] = {}
    for key, array in arrays.items():
        number, side, name = (*key.split("/", 2), "", "")[:3]
        if not number.isdecimal() or (side, name) not in expected:
            raise ArtifactError(
                f"{SAMPLES_FILE}: the array {key!r} is not 'K/in/INPUT', 'K/out/OUTPUT' or 'K/allowed/OUTPUT'"
            )
        samples.setdefault(int(number), {})[side, name] = array
    if not samples or sorted(samples) != list(range(len(samples))):
        raise ArtifactError(f"{SAMPLES_FILE}: it holds the samples {sorted(samples)}; expected 0, 1, ...")
    for index, sample in samples.items():
        missing = ["/".join(key) for key in sorted(expected - sample.keys())]
        if missing:
            raise ArtifactError(f"{SAMPLES_FILE}: sample {index} lacks {', '.join(missing)}")
    return [
        (
            {tensor.name: samples[number]["in", tensor.name] for tensor in card.inputs},
            {tensor.name: samples[number]["out", tensor.name] for tensor in card.outputs},
            {tensor.name: _allowed(samples[number]["allowed", tensor.name], number) for tensor in card.outputs},
        )
        for number in range(len(samples))
    ]


def _allowed(array: NumpyArray, number: int) -> float:
    if array.shape != () or array.dtype != np.float64 or not 0 <= array < np.inf:
        raise ArtifactError(f"{SAMPLES_FILE}: sample {number} allows an error of {array!r}; expected a number")
    return float(array)
