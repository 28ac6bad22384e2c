"""The explanation of a captured model, as data: each solve, the tensors that its field reads, and the nodes that are
computed once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Read:
    """A tensor that a field reads from outside. source: the place where the host graph computes the tensor, or ""."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    source: str = ""

    def __str__(self) -> str:
        dims = ", ".join(map(str, self.shape))
        return f"{self.name} {self.dtype} [{dims}]".strip() + (f" ({self.source})" if self.source else "")


@dataclass(frozen=True)
class FieldExplained:
    """The explanation of a function of a solve: of its field, its norm or its event.

    nodes: the number of ONNX nodes. operators: the number of nodes of each operator, the most frequent first. hoisted:
    the number of nodes of the function's code that depend on neither t nor y, so that they run once. uses_time: whether
    the function reads t.

    weights: the parameters, buffers and constants that the function reads. inputs: the model's inputs that it reads.
    contexts: the tensors that the host graph computes for it from weights and inputs, or from other solves. numbers:
    the number of scalar constants that it reads. nested: a line about each solve inside the function.
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
    """The explanation of a solve.

    entry: the name of the function that the model calls. form: the name of the chosen form. times: the output times in
    words. file, line, text: the place of the call, and its source line. state: a tensor for each part.
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
    """The explanation of a captured model.

    tracer: "torch.export" or "make_fx". nodes: the number of nodes in the whole graph. host: the number of nodes
    outside the functions of solves. unused: the number of solves that no output depends on. assumptions: decisions of
    the model's Python code, taken on the example and checked in each call. noise: base draws that the graph takes as
    inputs.

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
        """The explanation with a form for each solve. forms: the names of the forms, in the order of the solves."""
        solves = tuple(replace(solve, form=form) for solve, form in zip(self.solves, forms, strict=True))
        return replace(self, solves=solves)

    def warned(self, more: Iterable[str]) -> Explanation:
        """The explanation with further warnings."""
        return replace(self, warnings=(*self.warnings, *more))

    @property
    def traced(self) -> str:
        """A description of the way in which the model was traced."""
        if self.tracer == "torch.export":
            return "by torch.export"
        return "below autograd (make_fx), as torch.export could not trace it"

    def to_dict(self) -> dict[str, Any]:
        """The explanation as a dict of JSON types."""
        return asdict(self)
