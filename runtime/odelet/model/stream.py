"""A model that is called again and again, each call going on from what the last one left.

The law here: what a stream keeps are values of the model, by name; it knows nothing of solvers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from odelet.artifact.card import RESERVED, Tensor
from odelet.errors import InputError
from odelet.loops.solution import Solution
from odelet.status import Status

_SETTINGS = (*RESERVED, "events", "dense")


class Streamable(Protocol):
    """What a stream needs of a model."""

    @property
    def inputs(self) -> Sequence[Tensor]: ...

    @property
    def outputs(self) -> Sequence[Tensor]: ...

    def spread(self, named: Mapping[str, Any]) -> dict[str, Any]: ...

    def solve(self, /, **named: Any) -> Solution: ...


class Stream:
    """A model fed one piece at a time; make one with `model.stream(...)`.

    carry: for inputs, by name, the name of the output or input whose value they take from the call before.
    steps: how many calls were made.
    """

    def __init__(self, model: Streamable, carry: Mapping[str, str], start: Mapping[str, Any]) -> None:
        inputs = [tensor.name for tensor in model.inputs]
        outputs = [tensor.name for tensor in model.outputs]
        for target, source in carry.items():
            if target not in inputs:
                raise InputError(f"carry: there is no input {target!r}; the inputs are {', '.join(inputs)}")
            if source not in (*inputs, *outputs):
                raise InputError(
                    f"carry: {source!r}, for the input {target!r}, is neither an output ({', '.join(outputs)}) nor an "
                    f"input ({', '.join(inputs)})"
                )
        if not carry:
            raise InputError("carry is empty, so nothing goes from one call to the next; name an input and its source")
        start = model.spread(start)
        missing = [name for name in carry if name not in start]
        if missing:
            raise InputError(f"the first call needs a value of {', '.join(missing)}; give it to stream()")
        self._model, self._carry, self._values = model, dict(carry), dict(start)
        self._failed: Status | None = None
        self.steps = 0

    def __call__(self, **named: Any) -> Any:
        """Return the model's output, or a tuple of them, as `model(...)` does, and keep what is carried.

        named: the inputs that are not carried or given once, and settings as in `model.solve(...)`. Raises InputError
        for others, SolveError when a solve fails; the stream then stays where it was, and says so at the next call
        until `resume()`.
        """
        solution = self.solve(**named).raise_if_failed()
        outputs = tuple(solution.outputs[tensor.name] for tensor in self._model.outputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def solve(self, **named: Any) -> Solution:
        """As a call, but return a Solution, as `model.solve(...)` does."""
        if self._failed is not None:
            raise InputError(
                f"the last call of this stream failed ({self._failed.name}: {self._failed.sentence}), so what it would "
                "go on from is not there; call resume() to go on from the state before it"
            )
        settings = {name: named.pop(name) for name in _SETTINGS if name in named}
        named = self._model.spread(named)
        carried = [name for name in named if name in self._carry]
        if carried:
            raise InputError(f"input {carried[0]!r} is carried from the call before; leave it out")
        given = {**self._values, **named}
        solution = self._model.solve(**given, **settings)
        if solution.status not in (Status.OK, Status.EVENT):
            self._failed = solution.status
            return solution
        known = {**given, **solution.outputs}
        self._values |= {target: known[source] for target, source in self._carry.items()}
        self.steps += 1
        return solution

    def resume(self) -> None:
        """Go on after a failed call from the state before it."""
        self._failed = None
