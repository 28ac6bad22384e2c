"""What was captured of a model, as data: each solve, what its field reads, and what is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Read:
    """A tensor that a field reads from outside. source: where the host graph computes the tensor, or ""."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    source: str = ""

    def __str__(self) -> str:
        dims = ", ".join(map(str, self.shape))
        return f"{self.name} {self.dtype} [{dims}]".strip() + (f" ({self.source})" if self.source else "")


@dataclass(frozen=True)
class FieldExplained:
    """What was captured of a function of a solve: its field, its norm or its event.

    nodes: how many ONNX nodes there are; operators: how many of each, the most frequent first. hoisted: how many nodes
    of its code depend on neither t nor y, so that they run once. uses_time: whether the function reads t.

    weights: the parameters, buffers and constants that the function reads. inputs: the model's inputs that it reads.
    contexts: what the host graph computes for it from those, or from other solves. numbers: how many scalar constants
    it reads. nested: a line about each solve inside the function.
    """

    name: str
    nodes: int
    operators: dict[str, int]
    hoisted: int
    uses_time: bool
    weights: tuple[Read, ...] = ()
    inputs: tuple[Read, ...] = ()
    contexts: tuple[Read, ...] = ()
    numbers: int = 0
    nested: tuple[str, ...] = ()


@dataclass(frozen=True)
class SolveExplained:
    """What was captured of a solve.

    entry: the name of the function that the model calls. form: the chosen form, by name. times: the output times in
    words. file, line, text: where the call is, and its source line. state: a tensor for each part.
    """

    index: int
    entry: str
    method: str
    form: str
    rtol: Any
    atol: Any
    options: dict[str, Any]
    file: str
    line: int
    text: str
    times: str
    state: tuple[Read, ...]
    functions: tuple[FieldExplained, ...]
    per_sample: bool = False


@dataclass(frozen=True)
class Explanation:
    """What was captured of a model.

    tracer: "torch.export" or "make_fx". nodes: how many the whole graph has; host: how many lie outside the functions
    of solves. unused: how many solves no output depends on. assumptions: decisions of the model's Python code, taken on
    the example and checked in each call. noise: base draws that the graph takes as inputs.

    >>> print(Read("weight", "float32", ("batch", 2)))
    weight float32 [batch, 2]
    >>> explanation = Explanation(tracer="make_fx", nodes=9, host=3, unused=0, solves=())
    >>> explanation.traced
    'below autograd (make_fx), as torch.export could not trace it'
    >>> explanation.to_dict()["host"]
    3
    """

    tracer: str
    nodes: int
    host: int
    unused: int
    solves: tuple[SolveExplained, ...]
    assumptions: tuple[Any, ...] = ()
    noise: tuple[Read, ...] = ()
    warnings: tuple[str, ...] = field(default=())

    def in_forms(self, forms: Sequence[str]) -> Explanation:
        """The explanation with the form of each solve."""
        solves = tuple(replace(solve, form=form) for solve, form in zip(self.solves, forms, strict=True))
        return replace(self, solves=solves)

    @property
    def traced(self) -> str:
        """How the model was traced, in words."""
        if self.tracer == "torch.export":
            return "by torch.export"
        return "below autograd (make_fx), as torch.export could not trace it"

    def to_dict(self) -> dict[str, Any]:
        """The explanation as JSON."""
        return asdict(self)
