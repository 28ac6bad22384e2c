"""The layout of an End marker's inputs, for code that reads a captured graph; `markers` writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from odelet_export.model.spec import SolveSpec

T = TypeVar("T")

# The functions of a solve besides its field, each of which has a marker of its own.
FUNCTIONS = ("event", "norm", "diffusion", "product", "correction")


def marker_of(function: str) -> str:
    """The operator of the marker that stands for the arguments of a function of a solve."""
    return "Begin" if function == "field" else function.capitalize()


# The operators of the markers that stand for the arguments of functions.
ARGUMENTS = tuple(marker_of(name) for name in ("field", *FUNCTIONS))


@dataclass(frozen=True)
class EndInputs(Generic[T]):
    """The inputs of an End marker, as values of an ONNX graph or nodes of an FX graph.

    results: the results of each function of the solve in its marked call, by the function's name: "field" (a slope for
    each part of the state), then the names in `spec.functions`. y0: the parts of the initial state. extras: the options
    of the call that are values of the graph, by name. t: the times (times,).
    """

    results: Mapping[str, list[T]]
    y0: list[T]
    extras: Mapping[str, T]
    t: T


def end_inputs_of(spec: SolveSpec, inputs: Sequence[T]) -> EndInputs[T]:
    """The inputs of an End marker, read in the order in which `Marker` passes them."""
    parts, functions = spec.parts, 2 * spec.parts + len(spec.functions)
    results = {"field": list(inputs[:parts])} | {
        name: [value] for name, value in zip(spec.functions, inputs[2 * parts : functions], strict=True)
    }
    extras = dict(zip(spec.extras, inputs[functions:-1], strict=True))
    return EndInputs(results, list(inputs[parts : 2 * parts]), extras, inputs[-1])
