"""The answers to Python's questions about traced tensors: `if mask.any():`, `int(n)`, `t in times`.

A tracer knows tensors but no values. `TracingWatch` sees every torch function that the model calls, and answers the
functions whose result is no tensor. The answer to a question about a value is:

    for a constant of the model     the true answer
    outside the fields              the answer on the example, which becomes an assumption that each call checks
    in a field                      each answer in turn: every path is traced (`paths`)

The watch also puts calls that no tracer follows into other operators (`rewrites`), and refuses numbers that it cannot
give, with the user's file and line (`refusals`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from odelet_export.capture.decisions import refusals
from odelet_export.capture.decisions.assumptions import CONDITIONS, Assumption
from odelet_export.capture.decisions.example_run import ExampleRun, NeedsExample
from odelet_export.capture.decisions.example_values import ExampleValue, ExampleValues, NoValue, is_plain, real
from odelet_export.capture.decisions.field_paths import FieldPaths
from odelet_export.capture.decisions.paths import Decision, on_whole_numbers
from odelet_export.capture.decisions.python_functions import python_functions
from odelet_export.capture.decisions.python_numbers import PythonNumbers, listed
from odelet_export.capture.decisions.rewrites import legacy_constructor, rewritten, sized
from odelet_export.capture.sizes.watch import SizeWatch
from odelet_export.model.trees import tensors_in
from odelet_intercept.libraries.torchdiffeq_calls import namespaces
from odelet_intercept.user_code import user_frame

Function = Callable[..., Any]


class TracingWatch(TorchFunctionMode):
    """The mode that is on while a model is traced.

    model: the user's model. example: the inputs by name. weights: the model's weights and buffers by name, in whose
    place a tracer may put tensors of its own. sizes: the watch over sizes. frozen: names of inputs whose numbers may be
    held at those of the example. example_run: the record of a run on the example; where it is None and needed,
    NeedsExample is raised. shadows: the values of the traced tensors on the example. python_numbers: the tensors that
    stand for Python numbers. fields: the functions of solves that run now. warnings: sentences for the user about the
    latest run.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        example: Mapping[str, torch.Tensor],
        weights: Mapping[str, torch.Tensor],
        sizes: SizeWatch,
        *,
        frozen: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self._model, self._example, self._weights, self.sizes = model, example, weights, sizes
        self.shadows, self.python_numbers = ExampleValues(), PythonNumbers()
        self.example_run: ExampleRun | None = None
        self.warnings: list[str] = []
        self.frozen = frozenset(frozen)
        self.fields = FieldPaths(self._warn)
        self._assumptions: dict[tuple[str, int], Assumption] = {}

    @contextmanager
    def running(self, inputs: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor]) -> Iterator[None]:
        """Watch one run of the model, and forget earlier runs. inputs, weights: the tracer's tensors, by name."""
        self.shadows, self.warnings, self._assumptions = ExampleValues(), [], {}
        self.python_numbers = PythonNumbers()
        with real():
            for name, traced in inputs.items():
                self.shadows.hold(traced, self._example[name].clone(), name)
            for name, traced in weights.items():
                if not is_plain(traced) and name in self._weights:
                    self.shadows.borrow(traced, self._weights[name].detach())
        self.sizes.begin(inputs)
        functions = python_functions(namespaces(self._model), self.is_number, sizes=self.sizes, whole=self.whole_number)
        with self, legacy_constructor(), functions:
            yield

    @property
    def assumptions(self) -> list[Assumption]:
        """The assumptions of the latest run, one for each line of the model, in the order of their first decisions."""
        return list(self._assumptions.values())

    def guards(self) -> list[torch.Tensor]:
        """A bool scalar of the trace for each assumption: whether all decisions of its line fall as on the example."""
        self.sizes.settle()
        with self:
            return [torch.stack([g.reshape(()) for g in assumed.guards]).all() for assumed in self.assumptions]

    def times_on_path(self, t: torch.Tensor) -> torch.Tensor:
        """The times of a solve that the current path of a field makes; constants as they are."""
        return t if self.constant(t) is not None else self.fields.times(t)

    def solved(self, traced: Any, call: int, source: str) -> None:
        """Record the solution of a solve on the example, if the model has run on it.

        traced: the solution in the trace. call: the number of the solve among those outside others. source: file name
        and line of the solve.
        """
        if self.example_run is None or self.fields.innermost:
            return
        with real():
            values = [value.clone() for value in tensors_in(self.example_run.solutions[call])]
        for leaf, value in zip(tensors_in(traced), values, strict=True):
            self.shadows.hold(leaf, value, f"the solution at {source}")

    def __torch_function__(
        self, func: Function, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _ANSWERS:
            number = self.sizes.answer(name, args)
            return _ANSWERS[name](self, func, args, kwargs) if number is None else number
        args, kwargs = sized(name, args, kwargs, self)
        rewrite = rewritten(name, args, kwargs, self)
        if rewrite is not None:
            with self:  # a mode is off in its own handler, and the operators of the rewrite need shadows, too
                return rewrite()
        with self:
            args, kwargs, alone = self.python_numbers.in_dtypes(name, args, kwargs)
        result = func(*args, **kwargs)
        self.shadows.follow(func, args, kwargs, result)
        self.sizes.filled.follow(name, args, kwargs, result)
        if alone:
            self.python_numbers.note(result)
        return result

    def is_number(self, x: object) -> bool:
        """Whether a tensor stands for a Python number."""
        return x in self.python_numbers

    def constant(self, x: torch.Tensor) -> torch.Tensor | None:
        """The value of a tensor that is a constant of the model; None for any other tensor."""
        on_example = self.shadows.of(x)
        return on_example.value if on_example is not None and on_example.is_constant else None

    def as_int(self, x: torch.Tensor) -> int:
        """A tensor's value as a whole number, as `whole` answers it."""
        number: int = self.sizes.filled.as_int(x, lambda scalar: self.whole(torch.Tensor.__index__, (scalar,), {}))
        return number

    # Answers to torch functions, by _ANSWERS below. Each raises CaptureError where there is none.

    def truth(self, func: Function, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """The answer of a function that gives True or False: `bool(x)`, `torch.equal(x, y)`, `x in y`."""
        on_example = self._on_example(func, args, kwargs)
        if on_example is not None and (on_example.is_constant or self.fields.warming_up):
            return bool(on_example.value)
        with self:
            condition = CONDITIONS[func.__name__](*args, **kwargs)
        if self.fields.innermost:
            return bool(self.fields.innermost.choose(Decision((True, False), (condition, ~condition))))
        if on_example is None:
            raise self._lack_of_example()
        value = bool(on_example.value)
        with self:
            self.assume(condition if value else ~condition, str(value), on_example.sources)
        return value

    def scalar(self, func: Function, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The answer of `x.item()`: the number of a constant or a frozen input, else a tensor that stands for one."""
        on_example = self._on_example(func, args, kwargs)
        if on_example is not None and on_example.sources <= self.frozen:
            return self._held_number(func, args, on_example) if on_example.sources else on_example.value
        with self:
            return self.python_numbers.of(args[0])

    def numbers(self, func: Function, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The answer of `x.tolist()`: numbers for a constant, else tensors in lists."""
        on_example = self._on_example(func, args, kwargs)
        if on_example is not None and on_example.is_constant:
            return on_example.value
        with self:
            return listed(args[0], self.python_numbers)

    def whole(self, func: Function, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
        """The answer of `int(x)` and of an index: the number on the example, which becomes an assumption. Where it
        depends on a field's time or state, each number that the example had, on a path of its own."""
        on_example = self._on_example(func, args, kwargs)
        if on_example is not None and (on_example.is_constant or self.fields.warming_up):
            return int(on_example.value)
        if on_example is None and self.fields.innermost:
            return self._enumerated(args[0])
        return int(self._held_number(func, args, on_example, whole=True))

    def whole_number(self, x: torch.Tensor) -> torch.Tensor | None:
        """The number of `int(x)` in a field whose whole numbers are tensors; None where `whole` is to answer."""
        if not self.fields.as_tensors or self._on_example(torch.Tensor.__int__, (x,), {}) is not None:
            return None
        with self:
            return self.python_numbers.whole(x)

    def number(self, func: Function, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Any other answer that is no tensor: the number of `float(x)`, an array."""
        on_example = self._on_example(func, args, kwargs)
        if on_example is not None and (on_example.is_constant or self.fields.warming_up):
            return on_example.value
        return self._held_number(func, args, on_example)

    def array(self, func: Function, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The answer of `x.numpy()`; for a scalar that of `item`, since users check single numbers with numpy."""
        return self.scalar(func, args, kwargs) if args[0].ndim == 0 else self.number(func, args, kwargs)

    def shown(self, func: Function, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """The text of a tensor: its text on the example, if that is known, as nothing is computed from a text."""
        on_example = self._on_example(func, args, kwargs)
        return on_example.value if on_example is not None else "<a traced tensor>"

    def _on_example(self, func: Function, args: Sequence[Any], kwargs: Mapping[str, Any]) -> ExampleValue | None:
        """The answer of a function on the example, and the inputs that it depends on; None where it is not known."""
        try:
            return self.shadows.evaluate(func, args, kwargs)
        except NoValue:
            return None

    def _lack_of_example(self) -> Exception:
        """The error to raise where an answer on the example is not known."""
        return NeedsExample() if self.example_run is None else refusals.unknown_value()

    def _warn(self, text: str) -> None:
        self.warnings += [] if text in self.warnings else [text]

    def assume(self, guard: torch.Tensor, value: str, sources: frozenset[str]) -> None:
        """Record a decision of the line that runs now, as `Assumption.add` takes it."""
        place = user_frame()
        self._assumptions.setdefault(place, Assumption(*place)).add(guard, value, sources)

    def _held_number(
        self, func: Function, args: Sequence[Any], on_example: ExampleValue | None, *, whole: bool = False
    ) -> Any:
        """A number of the example, which becomes an assumption: one of frozen inputs alone, or a whole one, which the
        check of the capture refuses where it is another at the traced sizes than on the example. Raises CaptureError
        for any other number."""
        if on_example is None:
            raise refusals.number_of_a_field(func.__name__) if self.fields.innermost else self._lack_of_example()
        changing = sorted(on_example.sources - self.frozen)
        if changing and not whole:
            raise refusals.changing_number(func.__name__, changing, self._example)
        with self:
            now = args[0].trunc() if whole and args[0].is_floating_point() else args[0]
            still = (now == torch.as_tensor(on_example.value, dtype=now.dtype)).all()
            self.assume(still, str(on_example.value), on_example.sources)
        return on_example.value

    def _enumerated(self, x: torch.Tensor) -> int:
        """A whole number that a field reads off its time or state, on the current path: there is a path for each number
        from the least to the largest that the same line read on the example."""
        file, line = user_frame()
        explorer = self.fields.innermost
        assert explorer is not None, "a number of a field outside any"
        if self.example_run is None:
            raise NeedsExample()
        if not (seen := self.example_run.whole_numbers_at((file, line))):
            raise refusals.number_of_a_field("__int__")
        self.fields.enumerated = True
        with self:
            decision = on_whole_numbers(x, min(seen), max(seen))
        self._warn(
            f"{os.path.basename(file)}:{line}: a whole number read off the time or the state is {min(seen)} to "
            f"{max(seen)} on the example; outside that range the solve fails"
        )
        return int(explorer.choose(decision))


Answer = Callable[[TracingWatch, Function, Sequence[Any], Mapping[str, Any]], Any]

# The answers to torch functions that return no tensor, by the function's name.
_ANSWERS: dict[str, Answer] = {
    "__len__": lambda watch, *call: watch.sizes.length(*call),
    **dict.fromkeys(("__bool__", "is_nonzero", "equal", "allclose", "__contains__"), TracingWatch.truth),
    **dict.fromkeys(("__int__", "__index__"), TracingWatch.whole),
    **dict.fromkeys(("__float__", "__complex__", "__array__"), TracingWatch.number),
    **dict.fromkeys(("__repr__", "__format__"), TracingWatch.shown),
    "item": TracingWatch.scalar,
    "numpy": TracingWatch.array,
    "tolist": TracingWatch.numbers,
}
