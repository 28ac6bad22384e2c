"""A run of the model on the example, in plain torch, for what a trace cannot know: the solutions of its solves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from odelet_export.model.callee import Callee
from odelet_export.model.intercepted_run import run_intercepted
from odelet_export.model.overrides import Overrides
from odelet_export.model.random_draws import drawing, on_the_example
from odelet_export.model.reference import overridden, solved
from odelet_intercept.call import Call
from odelet_intercept.user_code import user_frame

_WHOLE = ("item", "__int__", "__index__")


@dataclass
class Observed:
    """solutions: what each solve returned, in order. numbers: by file and line, whole numbers read in the fields."""

    solutions: list[Any] = field(default_factory=list)
    numbers: dict[tuple[str, int], set[int]] = field(default_factory=dict)


class _Numbers(TorchFunctionMode):
    """Notes the whole numbers that the fields read off tensors."""

    def __init__(self, observed: Observed) -> None:
        super().__init__()
        self.inside = 0
        self._observed = observed

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.inside and getattr(func, "__name__", "") in _WHOLE and result == result and abs(result) < 2**31:
            self._observed.numbers.setdefault(user_frame(), set()).add(int(result))
        return result


def observe(callee: Callee, tensors: Sequence[torch.Tensor], overrides: Overrides) -> Observed:
    """Run a model on some inputs, its solves by torchdiffeq. What the run leaves on its modules is put back."""
    observed = Observed()
    numbers = _Numbers(observed)

    def handler(call: Call, original: Callable[..., Any]) -> Any:
        def func(t: Any, y: Any) -> Any:
            numbers.inside += 1
            try:
                return call.func(t, y)
            finally:
                numbers.inside -= 1

        result = solved(replace(overridden(call, overrides), func=func), original, overrides)
        if call.depth == 0:
            observed.solutions.append(result)
        return result

    with callee.restoring(), torch.no_grad(), drawing(on_the_example()), numbers:
        run_intercepted(callee, tensors, handler)
    return observed
