"""The markers of a solve in a captured graph: their operators, and how an End marker's inputs are laid out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from odelet_export.model.spec import SolveSpec

T = TypeVar("T")


@dataclass(frozen=True)
class EndInputs(Generic[T]):
    """What an End marker is given, as values of whichever graph. results: of each function of the solve, the
    "field" first. y0: the parts of the initial state. extras: options that are values, by name. t: the times."""

    results: Mapping[str, list[T]]
    y0: list[T]
    extras: Mapping[str, T]
    t: T


def end_inputs_of(spec: SolveSpec, inputs: Sequence[T]) -> EndInputs[T]:
    """The inputs of an End marker, in the order in which `Marker` gives them."""
    parts, functions = spec.parts, 2 * spec.parts + len(spec.functions)
    results = {"field": list(inputs[:parts])} | {
        name: [value] for name, value in zip(spec.functions, inputs[2 * parts : functions], strict=True)
    }
    extras = dict(zip(spec.extras, inputs[functions:-1], strict=True))
    return EndInputs(results, list(inputs[parts : 2 * parts]), extras, inputs[-1])
