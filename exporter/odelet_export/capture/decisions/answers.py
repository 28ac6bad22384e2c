"""Watching a model while it is traced: its decisions in Python, its numbers, and what a tracer cannot follow.

A tracer sees tensors; Python sees `if mask.any():`, `int(n)`, `t in times`. These answers are given here. Of a
constant they are simply true. Outside the fields they are what they are on the example: an assumption, which the
artifact checks at run time. In a field every path is traced (`paths`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from odelet_export.capture.decisions.assumptions import CONDITIONS, Assumption
from odelet_export.capture.decisions.example_run import Observed
from odelet_export.capture.decisions.example_values import ExampleValues, is_plain, real
from odelet_export.capture.decisions.paths import Decision, Explorer
from odelet_export.capture.decisions.rewrites import legacy_constructor, rewritten, sized
from odelet_export.model.trees import tensors_in
from odelet_intercept.errors import CaptureError
from odelet_intercept.user_code import user_frame, with_source

# The most options that a whole number read off the time or the state may have.
MOST_OPTIONS = 40


class NeedsExample(Exception):
    """What the model does with its solutions must be known: run it on the example, and trace again."""


class TracingWatch(TorchFunctionMode):
    """The mode that is on while a model is traced.

    example: the inputs by name. weights: the model's own, and buffers, which a tracer may replace by its own. frozen:
    inputs that may be held at their example values. observed: what a run on the example showed; without, NeedsExample
    is raised where that is needed.
    """

    def __init__(
        self,
        example: Mapping[str, torch.Tensor],
        weights: Mapping[str, torch.Tensor],
        *,
        frozen: Sequence[str] = (),
        observed: Observed | None = None,
    ) -> None:
        super().__init__()
        self._example, self._weights = example, weights
        self.shadows = ExampleValues()
        self.observed = observed
        self.warnings: list[str] = []
        self._frozen = frozenset(frozen)
        self._explorers: list[Explorer] = []
        self._quiet = False
        self._assumptions: dict[tuple[str, int], Assumption] = {}

    @contextmanager
    def running(self, inputs: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor]) -> Iterator[None]:
        """Watch one run of the model; inputs, weights: what the tracer has in their place, by name.

        What an earlier run showed is forgotten.
        """
        self.shadows, self.warnings, self._assumptions = ExampleValues(), [], {}
        with real():
            for name, traced in inputs.items():
                self.shadows.hold(traced, self._example[name].clone(), name)
            for name, traced in weights.items():
                if not is_plain(traced) and name in self._weights:
                    self.shadows.borrow(traced, self._weights[name].detach())
        with self, legacy_constructor():
            yield

    @property
    def assumptions(self) -> list[Assumption]:
        """In the order of the lines that made them."""
        return list(self._assumptions.values())

    def guards(self) -> list[torch.Tensor]:
        """For each assumption a bool scalar of the trace: whether it holds."""
        with self:
            return [torch.stack([g.reshape(()) for g in one.guards]).all() for one in self.assumptions]

    def warm_up(self, function: Callable[[], Any], where: str) -> Any:
        """Call a function of a solve on values that do not count."""
        self._quiet, before = True, self._quiet
        try:
            with self._exploring(where) as explorer:
                return explorer.first(function)
        finally:
            self._quiet = before

    def every_path(self, function: Callable[[], Any], where: str) -> Any:
        """Call a function of a solve, however its decisions fall."""
        with self._exploring(where) as explorer:
            result = explorer.every(function)
        for error in explorer.raised:
            self._warn(f"{where}: the field raises {type(error).__name__}: {error} on a path; there the solve fails")
        return result

    def solved(self, traced: Any, call: int, source: str) -> None:
        """Say what a solve gives on the example, where that is known."""
        if self.observed is None or self._explorers:
            return
        with real():
            found = [value.clone() for value in tensors_in(self.observed.solutions[call])]
        for leaf, value in zip(tensors_in(traced), found, strict=True):
            self.shadows.hold(leaf, value, f"the solution at {source}")

    @contextmanager
    def _exploring(self, where: str) -> Iterator[Explorer]:
        explorer = Explorer(where)
        self._explorers.append(explorer)
        try:
            yield explorer
        finally:
            self._explorers.pop()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        answer = _ANSWERS.get(name)
        if answer is not None:
            return answer(self, func, args, kwargs)
        args, kwargs = sized(name, args, kwargs, self)
        other = rewritten(name, args, kwargs, self)
        if other is not None:
            with self:  # so that the values follow
                return other()
        result = func(*args, **kwargs)
        self.shadows.follow(func, args, kwargs, result)
        return result

    def constant(self, x: torch.Tensor) -> torch.Tensor | None:
        """The value of a constant of the model; None for anything else."""
        known = self.shadows.of(x)
        return known.value if known is not None and not known.sources else None

    def as_int(self, x: torch.Tensor) -> int:
        """The whole number that a tensor must be, or an error that names the user's line."""
        return self.whole(torch.Tensor.__index__, (x,), {})

    # The answers.

    def truth(self, func: Any, args: Any, kwargs: Any) -> bool:
        """The answer to a question whose answer is yes or no."""
        known = self._known(func, args, kwargs)
        if known is not None and (not known[1] or self._quiet):
            return bool(known[0])
        with self:
            condition = CONDITIONS[func.__name__](*args, **kwargs)
        if self._explorers:
            return bool(self._explorers[-1].choose(Decision((True, False), (condition, ~condition))))
        if known is None:
            raise self._unknown()
        value = bool(known[0])
        with self:
            self._assume(condition if value else ~condition, str(value), known[1])
        return value

    def scalar(self, func: Any, args: Any, kwargs: Any) -> Any:
        """The number of `item`; of what is no constant it stays a tensor, so that it is traced on."""
        known = self._known(func, args, kwargs)
        if known is not None and known[1] <= self._frozen:
            return self._held(func, args, known) if known[1] else known[0]
        with self:
            return args[0].reshape(())

    def numbers(self, func: Any, args: Any, kwargs: Any) -> Any:
        """The numbers of `tolist`, likewise."""
        known = self._known(func, args, kwargs)
        if known is not None and not known[1]:
            return known[0]
        with self:
            return _listed(args[0])

    def whole(self, func: Any, args: Any, kwargs: Any) -> int:
        """The answer of `int(x)`, and of an index."""
        known = self._known(func, args, kwargs)
        if known is not None and (not known[1] or self._quiet):
            return int(known[0])
        if self._explorers:
            return self._enumerated(args[0])
        return int(self._held(func, args, known))

    def number(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Any other answer that is no tensor: `float(x)`, an array."""
        known = self._known(func, args, kwargs)
        if known is not None and (not known[1] or self._quiet):
            return known[0]
        return self._held(func, args, known)

    def array(self, func: Any, args: Any, kwargs: Any) -> Any:
        """The answer of `numpy()`: of one number a tensor, as that of `item`, for checks that are made in numpy."""
        return self.scalar(func, args, kwargs) if args[0].ndim == 0 else self.number(func, args, kwargs)

    def shown(self, func: Any, args: Any, kwargs: Any) -> str:
        """Text, which leads nowhere that matters."""
        known = self._known(func, args, kwargs)
        return known[0] if known is not None else "<a traced tensor>"

    def _known(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, frozenset[str]] | None:
        try:
            return self.shadows.evaluate(func, args, kwargs)
        except KeyError:
            return None

    def _unknown(self) -> Exception:
        if self.observed is None:
            return NeedsExample()
        return CaptureError(
            f"{_here()}\n  found: a Python decision or number that depends on values known only when the model runs"
            "\n  do: make the choice with torch.where, or keep the number a tensor"
        )

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)

    def _assume(self, guard: torch.Tensor, value: str, sources: frozenset[str]) -> None:
        file, line = user_frame()
        one = self._assumptions.setdefault((file, line), Assumption(file, line))
        one.sources |= sources
        one.values.append(value)
        one.guards.append(guard)

    def _held(self, func: Any, args: Any, known: tuple[Any, frozenset[str]] | None) -> Any:
        """A number of the example, where the export was asked to hold what it comes from."""
        call = {"__float__": "float()", "__int__": "int()", "__index__": "an index or a size"}.get(func.__name__)
        call = call or f"{func.__name__.strip('_')}()"
        if self._explorers and known is None:
            raise CaptureError(
                f"{_here()}\n  found: {call} of a value of the field, which is a tensor while the model is traced\n"
                "  do: keep it a tensor, in operators of torch: torch.sin(t), not math.sin(t); t.floor(), not int(t)"
            )
        if known is None:
            raise self._unknown()
        value, sources = known
        missing = sorted(sources - self._frozen)
        if missing:
            names = " and ".join(missing)
            freeze = " ".join(f"--freeze {name}" for name in missing if name in self._example)
            hold = f", or hold it at its example value with {freeze} (freeze=[...])" if freeze else ""
            raise CaptureError(
                f"{_here()}\n  found: {call} of a value that depends on {names}; a graph cannot hold a Python number "
                f"that changes\n  do: keep it a tensor (lengths as torch.linspace(0, 1, STEPS) * end, masks instead of "
                f"slices){hold}"
            )
        with self:
            now = args[0]
            self._assume((now == torch.as_tensor(value, dtype=now.dtype)).all(), str(value), sources)
        return value

    def _enumerated(self, x: torch.Tensor) -> int:
        """A whole number read off the time or the state of a field: each that the example had is a path."""
        file, line = user_frame()
        if self.observed is None:
            raise NeedsExample()
        seen = self.observed.numbers.get((file, line))
        if not seen:
            return int(self._held(torch.Tensor.__int__, (x,), None))
        options = list(range(min(seen), max(seen) + 1))
        if len(options) > MOST_OPTIONS:
            raise CaptureError(
                f"{_here()}\n  found: a whole number read off the time or the state, {options[0]} to {options[-1]} on "
                "the example\n  do: index with a tensor, as in table[t.long()], which needs no number"
            )
        with self:
            number = (x.trunc() if x.is_floating_point() else x).reshape(())
            conditions = [number == option for option in options]
        self._warn(
            f"{os.path.basename(file)}:{line}: a whole number read off the time or the state is {options[0]} to "
            f"{options[-1]} on the example; outside that range the solve fails"
        )
        return int(self._explorers[-1].choose(Decision(options, conditions)))


def _here() -> str:
    return with_source(user_frame())


def _listed(x: torch.Tensor) -> Any:
    return x.reshape(()) if x.ndim == 0 else [_listed(part) for part in x.unbind(0)]


Answer = Callable[[TracingWatch, Any, Any, Any], Any]

_ANSWERS: dict[str, Answer] = {
    **dict.fromkeys(("__bool__", "is_nonzero", "equal", "allclose", "__contains__"), TracingWatch.truth),
    **dict.fromkeys(("__int__", "__index__"), TracingWatch.whole),
    **dict.fromkeys(("__float__", "__complex__", "__array__"), TracingWatch.number),
    **dict.fromkeys(("__repr__", "__format__"), TracingWatch.shown),
    "item": TracingWatch.scalar,
    "numpy": TracingWatch.array,
    "tolist": TracingWatch.numbers,
}
