"""What a model's Python code decided on the example, as a tensor that says whether it would decide so again."""

from __future__ import annotations

import linecache
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from odelet.artifact.input_cards import AssumptionCard


@dataclass
class Assumption:
    """What a line of the model decided on the example. sources: the inputs that it depends on."""

    file: str
    line: int
    sources: set[str] = field(default_factory=set)
    values: list[str] = field(default_factory=list)
    guards: list[torch.Tensor] = field(default_factory=list)

    @property
    def source(self) -> str:
        """File name and line."""
        return f"{os.path.basename(self.file)}:{self.line}"

    @property
    def text(self) -> str:
        """The line of source."""
        return linecache.getline(self.file, self.line).strip()

    @property
    def value(self) -> str:
        """What it decided, once or several times."""
        distinct = dict.fromkeys(self.values)
        return ", ".join(distinct)

    def card(self, output: str, names: Sequence[str]) -> AssumptionCard:
        """As the card lists it. output: of the graph, that says whether it holds. names: the inputs."""
        inputs = tuple(name for name in names if name in self.sources)
        return AssumptionCard(output=output, source=self.source, text=self.text, value=self.value, inputs=inputs)


def _same(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a == b).all() if a.shape == b.shape else torch.tensor(False)


# The questions again, as tensors.
CONDITIONS: Mapping[str, Callable[..., torch.Tensor]] = {
    "__bool__": lambda x: x.reshape(()) != 0,
    "is_nonzero": lambda x: x.reshape(()) != 0,
    "equal": _same,
    "allclose": lambda a, b, *more, **options: torch.isclose(a, b, *more, **options).all(),
    "__contains__": lambda x, element: (x == element).any(),
}
