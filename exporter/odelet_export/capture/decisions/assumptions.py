"""Assumptions: decisions of the model's Python code that a trace took on the example, with tensors that check them."""

from __future__ import annotations

import linecache
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from odelet.artifact.input_cards import AssumptionCard


@dataclass
class Assumption:
    """The decisions of one line of the model's code.

    sources: names of the inputs that they depend on, or descriptions such as "the solution at model.py:7". values: the
    outcome of each decision on the example, as text. guards: for each decision a bool tensor of the trace, of one
    element: whether the decision falls as on the example.
    """

    file: str
    line: int
    sources: set[str] = field(default_factory=set)
    values: list[str] = field(default_factory=list)
    guards: list[torch.Tensor] = field(default_factory=list)

    def add(self, guard: torch.Tensor, value: str, sources: frozenset[str]) -> None:
        """Add a decision of the line. guard: a bool of one element, whether it falls as on the example."""
        self.guards.append(guard)
        self.values.append(value)
        self.sources |= sources

    @property
    def source(self) -> str:
        """The file name and the line."""
        return f"{os.path.basename(self.file)}:{self.line}"

    @property
    def text(self) -> str:
        """The line of source code."""
        return linecache.getline(self.file, self.line).strip()

    @property
    def value(self) -> str:
        """The distinct decisions of the line, in the order in which they were first taken, with commas between."""
        return ", ".join(dict.fromkeys(self.values))

    def card(self, output: str, names: Sequence[str]) -> AssumptionCard:
        """The assumption's entry in the card.

        output: the name of the graph's output that says whether the assumption holds. names: the model's inputs.
        """
        inputs = tuple(name for name in names if name in self.sources)
        return AssumptionCard(output=output, source=self.source, text=self.text, value=self.value, inputs=inputs)


def _equal(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The answer of torch.equal as a bool tensor ()."""
    return (a == b).all() if a.shape == b.shape else torch.tensor(False)


# For torch functions that answer True or False, by name: a function that gives the answer as a bool tensor ().
CONDITIONS: Mapping[str, Callable[..., torch.Tensor]] = {
    "__bool__": lambda x: x.reshape(()) != 0,
    "is_nonzero": lambda x: x.reshape(()) != 0,
    "equal": _equal,
    "allclose": lambda a, b, *more, **options: torch.isclose(a, b, *more, **options).all(),
    "__contains__": lambda x, element: (x == element).any(),
}
