"""A run of the model on its example in plain torch, for values that no trace has: the solutions of its solves.

A decision outside the fields may depend on a solution (`if y.abs().max() > 1e3:`), and a field may index by a whole
number that it reads off the time (`table[int(t)]`). In both cases the trace needs the values of the example.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from odelet_export.capture.decisions.python_functions import python_functions
from odelet_export.model.call_spec import spec_of
from odelet_export.model.callee import Callee
from odelet_export.model.intercepted_run import run_intercepted
from odelet_export.model.overrides import Overrides
from odelet_export.model.random_draws import drawing
from odelet_export.model.random_sources import on_the_example
from odelet_export.model.reference import overridden, solved
from odelet_export.model.sde_reference import replaced, sde_solution
from odelet_intercept.call import Call
from odelet_intercept.libraries.torchdiffeq_calls import namespaces
from odelet_intercept.libraries.torchsde_calls import SdeCall
from odelet_intercept.user_code import Place, user_frame

# Functions that read a whole number off a tensor; `item` may read any number.
_READS_WHOLE_NUMBER = ("__int__", "__index__")


class NeedsExample(Exception):
    """Raised where a trace needs the model's solutions on the example: run the model on it, and trace again."""


@dataclass
class ExampleRun:
    """The record of a run on the example.

    solutions: the value of each call outside other solves, in the order of the calls. whole_numbers: for each file and
    line of a field, the whole numbers that it made of numbers. items: the same for the numbers that it read off
    tensors, cut to whole ones.
    """

    solutions: list[Any] = field(default_factory=list)
    whole_numbers: dict[Place, set[int]] = field(default_factory=dict)
    items: dict[Place, set[int]] = field(default_factory=dict)

    def whole_numbers_at(self, place: Place) -> set[int]:
        """The whole numbers that a line of a field had on the example."""
        return self.whole_numbers.get(place) or self.items.get(place) or set()


class _WholeNumbers(TorchFunctionMode):
    """Records the whole numbers that fields read off tensors. depth: how many calls of fields are under way."""

    def __init__(self, example_run: ExampleRun) -> None:
        super().__init__()
        self.depth = 0
        self._example_run = example_run

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name in _READS_WHOLE_NUMBER:
            self.note(result)
        elif name == "item":
            self._keep(result, self._example_run.items)
        return result

    def note(self, number: int) -> None:
        """Record a whole number of the line that runs now, if it belongs to a field."""
        self._keep(number, self._example_run.whole_numbers)

    def _keep(self, number: Any, numbers: dict[Place, set[int]]) -> None:
        if self.depth and number == number and abs(number) < 2**31:  # neither NaN nor infinite
            numbers.setdefault(user_frame(), set()).add(int(number))


def run_on_example(callee: Callee, tensors: Sequence[torch.Tensor], overrides: Overrides) -> ExampleRun:
    """Run a model on some inputs, with its solves by torchdiffeq and the overrides of the export, and record the run.

    Attributes and buffers that the run leaves on the model's modules are put back. Raises what the model raises.
    """
    example_run = ExampleRun()
    mode = _WholeNumbers(example_run)

    def handler(call: Call, original: Callable[..., Any]) -> Any:
        def watched(function: Callable[..., Any]) -> Callable[..., Any]:
            def run(*args: Any) -> Any:
                mode.depth += 1
                try:
                    return function(*args)
                finally:
                    mode.depth -= 1

            return run

        if isinstance(call, SdeCall):
            spec = spec_of(call, len(example_run.solutions), overrides)
            functions = {name: watched(call.function(name)) for name in ("field", *spec.functions)}
            solution = sde_solution(replaced(call, spec, functions, call.y0, call.t), original, spec).states
            example_run.solutions.append(solution)
            return solution, call.memory
        solution = solved(replace(overridden(call, overrides), func=watched(call.func)), original, overrides)
        if call.depth == 0:
            example_run.solutions.append(solution)
        return solution

    stand_ins = python_functions(namespaces(callee.model), note=mode.note)
    with callee.restoring(), torch.no_grad(), drawing(on_the_example()), stand_ins, mode:
        run_intercepted(callee, tensors, handler)
    return example_run
