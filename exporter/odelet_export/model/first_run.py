"""The first run of a model: once on its example, in plain torch, before anything is traced.

It takes as long as a call of the model. Where the model or its example does not work, torch's own error says so, with
the user's line; nothing that follows could say it as well. And it shows what no trace can: how often the fields are
called, whether any solver library is called at all, and in which grad mode the model runs.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from odelet.errors import InputError, OdeletError
from odelet_export.model.call_spec import spec_of
from odelet_export.model.callee import Callee
from odelet_export.model.copies_check import check_copy
from odelet_export.model.field_calls import FieldCalls, TooManyCalls, most_calls
from odelet_export.model.finite_check import check_finite
from odelet_export.model.intercepted_run import run_intercepted
from odelet_export.model.memory import Noticing, solves_with_memory
from odelet_export.model.overrides import Overrides
from odelet_export.model.random_draws import drawing
from odelet_export.model.random_sources import SeededSource
from odelet_export.model.reference import SolveCount, Solving
from odelet_export.model.results import is_number
from odelet_export.model.trees import Leaf
from odelet_export.model.writes import Writes, watching_writes
from odelet_intercept.call import Call
from odelet_intercept.errors import CaptureError
from odelet_intercept.libraries import all_entries
from odelet_intercept.libraries.torchsde_calls import SdeCall
from odelet_intercept.solver_library import FOLDER
from odelet_intercept.user_code import as_typed, place_of_error


@dataclass(frozen=True)
class FirstRun:
    """What the first run showed.

    leaves: the named leaves of the model's result. counts: a count for each solve outside other solves; there is none
    where the model called no solver library. noise: the base draws. field_calls: how often fields were called in all.
    writes: the lines that write into memory into which they must not.
    """

    leaves: Sequence[Leaf]
    counts: Sequence[SolveCount]
    noise: Sequence[torch.Tensor]
    field_calls: int
    writes: Writes = field(default_factory=Writes)

    @property
    def most_calls(self) -> int:
        """How often a run on other inputs may call fields."""
        return most_calls(self.field_calls)


Check = Callable[[Call], None]


def first_run(
    callee: Callee, overrides: Overrides, *, max_steps: int, seed: int = 0, check: Check = lambda call: None
) -> FirstRun:
    """Run a model on its example: in the caller's grad mode and, where it fails there, in the other.

    Later runs of the model are in the grad mode in which this one succeeded. max_steps: how many steps an exported
    adaptive solve may take; a solve that takes more on the example ends here. seed: of the base draws.
    check: raises for a call that cannot be exported.

    Raises InputError with torch's own error and the user's line where the model fails in both modes; CaptureError for
    a call that cannot be exported.
    """
    known = all_entries()
    try:
        found = _run_once(callee, overrides, max_steps=max_steps, seed=seed, check=check)
    except OdeletError:
        if all_entries() == known:
            raise
    else:
        if all_entries() == known:
            return found
    # `forward` imported a solver library, whose calls are caught in runs that begin after that.
    return _run_once(callee, overrides, max_steps=max_steps, seed=seed, check=check)


def _run_once(callee: Callee, overrides: Overrides, *, max_steps: int, seed: int, check: Check) -> FirstRun:
    failure: Exception | None = None
    given = torch.is_grad_enabled()
    # Not every part of torch runs while its operations are watched.
    for mode, watched in ((given, True), (given, False), (not given, False)):
        callee.grad_mode = mode
        solving, source = _Looking(callee, overrides, max_steps, check), SeededSource(seed)
        try:
            with callee.restoring(), drawing(source), watching_writes(operations=watched) as writes:
                run_intercepted(callee, callee.example, solving)
                leaves = callee.leaves
                callee.remember(_with_another(callee, leaves, overrides))
        except OdeletError:
            raise
        except Exception as error:  # the user's code may raise anything
            failure = failure or error
            continue
        callee.with_memory = solves_with_memory(callee, overrides, solving.noticing.places, leaves, seed)
        return FirstRun(leaves, solving.counts, source.arrays, solving.calls.count, writes)
    assert failure is not None
    callee.grad_mode = given
    raise failed_in_torch(failure, zip(callee.names, callee.example, strict=True)) from failure


def _with_another(callee: Callee, leaves: Sequence[Leaf], overrides: Overrides) -> list[Sequence[Leaf]]:
    """The results of the first run and, where it has numbers, of one more: what the model counts or times differs."""
    if not any(is_number(leaf) for _, leaf in leaves):
        return [leaves]
    run_intercepted(callee, callee.example, Solving(overrides, {}, FieldCalls()))
    return [leaves, callee.leaves]


class _Looking(Solving):
    """The handler of the first run: it also checks each call and its solution, and how many steps a solve takes.

    noticing: the lines of the model whose fields leave something behind.
    """

    def __init__(self, callee: Callee, overrides: Overrides, max_steps: int, check: Check) -> None:
        super().__init__(overrides, {}, FieldCalls())
        self._max_steps, self._check = max_steps, check
        self.noticing = Noticing(callee)

    def __call__(self, call: Call, original: Callable[..., Any]) -> Any:
        """The checked solution of a checked call."""
        spec = spec_of(call, len(self.counts), self._overrides)
        self._check(call)
        if call.entry == "mark" or isinstance(call, SdeCall):
            return super().__call__(call, original)
        call = replace(call, func=self.noticing.watching(call))
        most = None
        if spec.adaptive:
            most = (self._max_steps + 2) * spec.tableau.stages
        call = replace(call, func=FieldCalls(most=most, may_draw=False).watching(call.func))
        try:
            result = super().__call__(call, original)
        except TooManyCalls:
            raise CaptureError(
                f"{call.where}the solve takes more than {self._max_steps:,} steps on the example"
                f"{', and its event has not come' if call.event_fn is not None else ''}; an exported solve ends there "
                "with an error\n  do: give an example that is solved in fewer steps, looser tolerances, or a larger "
                "max_steps (--max-steps)"
            ) from None
        if call.copy and self._overrides.method is None:
            check_copy(call, result)
        check_finite(call, result)
        return result


# What helps, by the words of an error that torchdiffeq raises, or torch inside of it.
_HINTS = {
    "strictly increasing or decreasing": "an input of times is drawn in order by, say, float32[times]:linspace(0,1)",
    "vmap: ": "torchdiffeq does not run under torch.vmap: give odeint the whole batch at once; per_sample gives each "
    "sample steps of its own",
}


def failed_in_torch(error: Exception, named: Iterable[tuple[str, Any]]) -> InputError:
    """The error to raise for a model that fails on its inputs in plain torch. named: the inputs, with their names."""
    shapes = [f"{name} {str(leaf.dtype).removeprefix('torch.')} {list(leaf.shape)}".strip() for name, leaf in named]
    place = place_of_error(error, causes=False)
    where = "somewhere" if place is None else as_typed(place)
    in_solve = any(frame.filename.startswith(FOLDER) for frame in traceback.extract_tb(error.__traceback__))
    hint = next((f"; {hint}" for words, hint in _HINTS.items() if in_solve and words in str(error)), "")
    return InputError(
        f"the model fails on its example ({', '.join(shapes)}) in plain torch, {where}: "
        f"{type(error).__name__}: {error}{hint}"
    )
