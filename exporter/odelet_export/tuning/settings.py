"""The settings of a tuning. No torch: the command line makes its options from these fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import inf
from typing import Annotated, Unpack

from odelet.artifact.weights import STORED
from odelet.errors import InputError
from odelet_export.pipeline.keywords import changed, check_names, keywords_of
from odelet_export.pipeline.settings import ExportSettings, Freeze, MaxSteps, Opset, ProofSettings, SharedChanges


class TuneChanges(SharedChanges, total=False):
    """The settings of a tuning as keywords."""

    target: float
    budget_ms: float | None
    methods: Sequence[str]
    forms: Sequence[str]
    steps: Sequence[int]
    tolerances: Sequence[float]
    weights: Sequence[str]
    batch: int
    samples: int | None
    threads: int
    no_native: bool


@dataclass(frozen=True, kw_only=True)
class Tried:
    """The methods, forms, steps and tolerances to try instead of the rosters; an empty tuple leaves the roster.
    weights: ways of storing weights in fewer bits, which each candidate is tried with, too. Lists become tuples."""

    methods: Annotated[tuple[str, ...], "Method to try instead of the usual ones; may be repeated."] = ()
    forms: Annotated[tuple[str, ...], "Form to try instead of all; may be repeated."] = ()
    steps: Annotated[tuple[int, ...], "Number of steps to try with fixed-step methods; may be repeated."] = ()
    tolerances: Annotated[tuple[float, ...], "Tolerance to try with adaptive methods; may be repeated."] = ()
    weights: Annotated[
        tuple[str, ...], f"Try each candidate with weights stored so, too: {', '.join(STORED)}; may be repeated."
    ] = ()

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, tuple(getattr(self, field.name)))


@dataclass(frozen=True, kw_only=True)
class TuneSettings:
    """The settings of a tuning.

    target: the largest error of any output of any sample that is good enough, relative to the largest element of that
    output in all data. budget_ms: the longest time of a call of `batch` samples on this machine, in milliseconds.
    tried: the methods, forms, steps and tolerances to try. samples: the largest number of samples of the data that is
    used. threads: the number of threads inside one operator. no_native: whether the best candidates are tried in ONNX
    Runtime alone, and not as libraries too. max_steps, opset, freeze: as in `ExportSettings`. seed:
    the seed of the order of the samples and of random draws.

    Raises InputError for a value that no tuning can have.

    >>> TuneSettings.of(target=1e-3, methods=["rk4"]).tried.methods
    ('rk4',)
    """

    target: Annotated[float, "Largest error that is good enough, relative to the largest element of an output."]
    budget_ms: Annotated[float | None, "Longest time of a call on this machine, in milliseconds."] = None
    tried: Tried = Tried()
    batch: Annotated[int, "Number of samples in a call."] = 1
    samples: Annotated[int | None, "Largest number of samples of the data that is used; all without it."] = None
    threads: Annotated[int, "Number of threads inside one operator."] = 1
    no_native: Annotated[bool, "Do not build and try the best candidates as native code, too."] = False
    max_steps: MaxSteps = ExportSettings.max_steps
    opset: Opset = ExportSettings.opset
    freeze: Freeze = ExportSettings.freeze
    seed: Annotated[int, "Seed of the order of the samples, and of random draws."] = ProofSettings.seed

    def __post_init__(self) -> None:
        for option, value in (("--target", self.target), ("--budget-ms", self.budget_ms)):
            if value is not None and not 0 < value < inf:
                raise InputError(f"{option} {value!r} must be a positive number")
        if self.threads < 1:
            raise InputError(f"--threads {self.threads!r} must be at least 1")
        object.__setattr__(self, "freeze", tuple(self.freeze))

    @classmethod
    def of(cls, **changes: Unpack[TuneChanges]) -> TuneSettings:
        """The settings given by keywords. Raises TypeError for an unknown keyword, and where `target` is missing."""
        check_names(changes, keywords_of(cls))
        if "target" not in changes:
            raise TypeError("target is missing: give the largest error that is good enough, such as target=1e-3")
        return changed(cls(target=changes["target"]), changes)

    def having(self, **changes: Unpack[TuneChanges]) -> TuneSettings:
        """These settings, with some changed by keywords. Raises TypeError for an unknown keyword."""
        return changed(self, changes)

    @property
    def shared(self) -> SharedChanges:
        """The settings that every export of the tuning has."""
        return SharedChanges(max_steps=self.max_steps, opset=self.opset, freeze=self.freeze, seed=self.seed)
