"""A model that is called again and again, each call going on from what the last one left.

The law here: a stream keeps values of the model, by name; it knows nothing of solvers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from odelet.artifact.card import Tensor
from odelet.errors import ArtifactError, InputError
from odelet.loops.solution import Solution
from odelet.model.arguments import Argument
from odelet.model.observed import Events, Observed
from odelet.model.results import Result
from odelet.model.settings import CallSettings
from odelet.numerics.backend import NumpyArray
from odelet.status import Status


class Streamable(Protocol):
    """What a stream needs of a model."""

    @property
    def inputs(self) -> Sequence[Tensor]: ...

    @property
    def outputs(self) -> Sequence[Tensor]: ...

    def spread(self, named: Mapping[str, Argument]) -> dict[str, Argument]: ...

    def result(self, outputs: Mapping[str, NumpyArray]) -> Result: ...

    def solve_with(
        self, settings: CallSettings, args: tuple[Argument, ...], named: dict[str, Argument], *, observed: Observed
    ) -> Solution: ...


class Stream:
    """A model fed one observation at a time, in any form; `model.stream(carry=..., ...)` makes one.

    steps: how many calls went well.

    >>> import numpy as np, odelet
    >>> model = odelet.load("series")
    >>> stream = model.stream(carry={"x": "output"}, x=np.ones((1, 4), np.float32))
    >>> first, second = stream(), stream()
    >>> stream.steps, np.array_equal(second, model(first))
    (2, True)
    """

    def __init__(self, model: Streamable, carry: Mapping[str, str], start: Mapping[str, Argument]) -> None:
        """carry: for each input that goes on, the name of the output or input whose value it takes from the call
        before. start: values for the first call, and of the inputs that stay the same. Raises InputError for names that
        the model does not have, and for a carried input without a first value."""
        inputs = [tensor.name for tensor in model.inputs]
        outputs = [tensor.name for tensor in model.outputs]
        if not isinstance(carry, Mapping):
            raise InputError(f"carry={carry!r:.60} must be a dict of an input's name and where its value comes from")
        for target, source in carry.items():
            if target not in inputs:
                raise InputError(f"carry: there is no input {target!r}; the inputs are {', '.join(inputs)}")
            if source not in (*inputs, *outputs):
                raise InputError(
                    f"carry: {source!r}, for the input {target!r}, is neither an output ({', '.join(outputs)}) nor an "
                    f"input ({', '.join(inputs)})"
                )
            if source == target:
                raise InputError(
                    f"carry: the input {target!r} would keep its first value in all calls; name what it goes on from "
                    f"(the outputs are {', '.join(outputs)}), or leave it out of carry and give it to stream()"
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

    def __call__(self, **named: Argument) -> Result:
        """Return the model's result, as `model(...)` does, and keep what is carried.

        named: the inputs that are neither carried nor given to `stream()`, and settings as in `model.solve(...)`.
        Raises InputError for other names, and SolveError when a solve fails. After a failure the stream stays where it
        was, and each call raises InputError until `resume()`.
        """
        return self._model.result(self.solve(**named).raise_if_failed().outputs)

    def solve(self, *, events: Events = (), dense: bool = False, **named: Argument) -> Solution:
        """Return a Solution, as `model.solve(...)` does, and keep what is carried unless the solve failed."""
        if self._failed is not None:
            raise InputError(
                f"the last call of this stream failed ({self._failed.name}: {self._failed.sentence}), so what it would "
                "go on from is not there; call resume() to go on from the state before it"
            )
        settings, inputs = CallSettings.split(named)
        named = self._model.spread(inputs)
        carried = [name for name in named if name in self._carry]
        if carried:
            raise InputError(f"input {carried[0]!r} is carried from the call before; leave it out")
        inputs = {**self._values, **named}
        observed = Observed(events=events, dense=dense)
        solution = self._model.solve_with(settings, (), inputs, observed=observed)
        if solution.status not in (Status.OK, Status.EVENT):
            self._failed = solution.status
            return solution
        for tensor in self._model.outputs:
            array = solution.outputs[tensor.name]
            if not tensor.takes(array.dtype, array.shape):
                raise ArtifactError(
                    f"the output {tensor.name!r} is {array.dtype} {list(array.shape)}, and the card says {tensor}: "
                    "export the model again"
                )
        values = {**inputs, **solution.outputs}
        self._values |= {target: values[source] for target, source in self._carry.items()}
        self.steps += 1
        return solution

    def resume(self) -> None:
        """After a failed call, let the next call go on from the state before the failed one."""
        self._failed = None
