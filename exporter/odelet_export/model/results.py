"""The results of a model as named tensors, and their structure for the card.

A number among the results that the model computes from tensors is an output, too. The trace decides which: in it, such
a number is still a tensor, or a symbol for a size. A number of which the trace knows nothing is either the same in each
run (and fixed in the card), or counted or measured by the model's Python code (and left out).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from typing import Any

import torch

from odelet.artifact.call_card import ResultCard
from odelet.model.arguments import container_items
from odelet_export.model.trees import ROWS, Leaf, result_leaves
from odelet_intercept.errors import CaptureError

_SYMBOLS: dict[type, torch.dtype] = {
    torch.SymInt: torch.int64,
    torch.SymFloat: torch.float64,
    torch.SymBool: torch.bool,
}
_LONGEST_TEXT = 200


class StructureError(CaptureError):
    """The model returns another structure for other inputs."""


def is_number(value: Any) -> bool:
    """Whether a value is a number of Python's, or a tracer's symbol for one."""
    return isinstance(value, (bool, int, float, *_SYMBOLS))


@dataclass(frozen=True)
class Results:
    """What became of the leaves of a traced result.

    outputs: for each leaf that is an output its name, and the dtype of a number, None for a tensor. fixed: the values
    of leaves that no run changes, by name. absent: what is left out, with its class, by name.
    """

    outputs: dict[str, torch.dtype | None] = field(default_factory=dict)
    fixed: dict[str, Any] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    structure: ResultCard = field(default_factory=lambda: ResultCard(kind="absent"))

    def of_run(self, leaves: Sequence[Leaf]) -> list[torch.Tensor]:
        """The outputs of a run in plain torch. Raises StructureError for a result of another structure."""
        values = dict(leaves)
        missing = [name for name in self.outputs if not _is_output(values.get(name))]
        if missing:
            raise StructureError(
                f"the model's result has no {missing[0]!r} for these inputs, and had one when it was traced; return "
                "the same structure for all inputs"
            )
        return [
            values[name]
            if dtype is None or isinstance(values[name], torch.Tensor)
            else torch.tensor(values[name], dtype=dtype)
            for name, dtype in self.outputs.items()
        ]

    def changed(self, leaves: Sequence[Leaf]) -> list[str]:
        """Sentences about fixed numbers that a run in plain torch gave otherwise."""
        values = dict(leaves)
        return [
            f"the model's output {name} is {values.get(name)!r} here and was {value!r} on the example; it is a number "
            "that the trace does not follow, so return it as a tensor"
            for name, value in self.fixed.items()
            if is_number(value) and values.get(name) != value
        ]

    @property
    def warnings(self) -> list[str]:
        """A warning for each part of the model's result that the artifact leaves out."""
        return [
            f"the model's output {name} ({kind}) is None in the artifact, as it is neither a tensor nor computed from "
            f"tensors{'; return its tensors in a tuple, dict or dataclass' if ' that keeps ' in kind else ''}"
            for name, kind in self.absent.items()
        ]


def _is_output(value: Any) -> bool:
    return isinstance(value, torch.Tensor) or is_number(value)


def traced_results(result: Any, before: Sequence[Sequence[Leaf]]) -> tuple[Results, list[torch.Tensor]]:
    """The results of a run under a tracer, and the tensors of its outputs.

    before: the leaves of earlier runs on the example in plain torch, with which numbers are compared. Raises
    CaptureError for a result without an output.
    """
    runs = [dict(leaves) for leaves in before]
    results, tensors = Results(), []
    for name, leaf in result_leaves(result):
        earlier = [run.get(name) for run in runs]
        if isinstance(leaf, torch.Tensor):
            with torch._C.DisableTorchFunction():  # a watch would give the dtype that a number has beside others
                dtype = leaf.dtype
            results.outputs[name] = dtype if any(is_number(value) for value in earlier) else None
            tensors.append(leaf)
        elif type(leaf) in _SYMBOLS:
            results.outputs[name] = _SYMBOLS[type(leaf)]
            tensors.append(torch.scalar_tensor(leaf, dtype=_SYMBOLS[type(leaf)]))
        elif is_fixed(leaf) and all(type(value) is type(leaf) and value == leaf for value in earlier):
            results.fixed[name] = leaf
        else:
            results.absent[name] = type(leaf).__name__ + _held(leaf)
    if not tensors:
        kinds = {name: f"{type(leaf).__name__}{_held(leaf)}" for name, leaf in result_leaves(result)}
        text = ", ".join(f"{name} is a {kind}" for name, kind in kinds.items()) or "it is empty"
        raise CaptureError(
            f"the model returned a {type(result).__name__} without a tensor in it ({text}); return tensors, alone or "
            "in a tuple, list, dict, named tuple or dataclass: a small module around the model can do so"
        )
    structure = structure_of(result, results)
    return Results(results.outputs, results.fixed, results.absent, structure), tensors


def _held(value: Any) -> str:
    """A clause about the tensors that an object of another class keeps, which a result cannot have there."""
    names = [name for name, x in getattr(value, "__dict__", {}).items() if isinstance(x, torch.Tensor)]
    return f" that keeps the tensor {names[0]!r}" if names else ""


def is_fixed(value: Any) -> bool:
    """Whether a card can hold a value: None, a finite number, a text that is not too long."""
    if isinstance(value, bool) or value is None:
        return True
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    if isinstance(value, float):
        return value - value == 0
    return isinstance(value, str) and len(value) <= _LONGEST_TEXT


def structure_of(result: Any, results: Results) -> ResultCard:
    """The structure of a result, in which outputs have the names of `result_leaves`."""

    def part(name: str, value: Any) -> ResultCard:
        items = container_items(value)
        if items is None:
            return _leaf(name, results)
        parts = tuple(part(f"{name}.{key}", item) for key, item in items)
        return _container(value, [key for key, _ in items], parts)

    items = container_items(result)
    if items is None:
        return _leaf("output", results)
    row = type(result) in ROWS
    return _container(
        result,
        [key for key, _ in items],
        tuple(part(f"output_{key}" if row else str(key), item) for key, item in items),
    )


def _leaf(name: str, results: Results) -> ResultCard:
    if name in results.outputs:
        return ResultCard(kind="output" if results.outputs[name] is None else "number", output=name)
    if name in results.fixed:
        return ResultCard(kind="fixed", value=results.fixed[name])
    return ResultCard(kind="absent")


def _container(value: Any, keys: Sequence[Any], parts: tuple[ResultCard, ...]) -> ResultCard:
    name = type(value).__name__.lstrip("_") or "Result"
    private = any(str(key).startswith("_") for key in keys)  # a card names no private fields
    if isinstance(value, Mapping) or (is_dataclass(value) and private):
        texts = tuple(key if type(key) is int else str(key) for key in keys)
        return ResultCard(kind="dict", keys=texts, parts=parts)
    if hasattr(value, "_fields"):
        return ResultCard(kind="named tuple", name=name, keys=tuple(map(str, keys)), parts=parts)
    if is_dataclass(value):
        return ResultCard(kind="dataclass", name=name, keys=tuple(map(str, keys)), parts=parts)
    return ResultCard(kind="list" if isinstance(value, list) else "tuple", parts=parts)


def renamed(structure: ResultCard, name: Callable[[str], str]) -> ResultCard:
    """A structure in which the outputs have other names."""
    return ResultCard(
        kind=structure.kind,
        output=name(structure.output) if structure.output else "",
        value=structure.value,
        name=structure.name,
        keys=structure.keys,
        parts=tuple(renamed(part, name) for part in structure.parts),
    )
