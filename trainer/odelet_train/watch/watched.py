"""The context `watched`: the solves of a loss are counted, regularised, and differentiated as its arguments say."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from odelet.errors import InputError
from odelet_intercept.call import Entry, message_start
from odelet_intercept.intercept import PlainCall, watching
from odelet_intercept.libraries.torchdiffeq_calls import find_copies
from odelet_train.watch.field import Counted
from odelet_train.watch.ode import Ode
from odelet_train.watch.record import POSITION, Solve, belongs_to_adjoint, in_backward
from odelet_train.watch.settings import Watching


class Watch:
    """What is known of the solves since the watch began.

    solves: a record of each, in the order in which they began. settings: what the watch adds to them. cost: the sum of
    the regularisers by their weights, a scalar to add to the loss; 0.0 where nothing was regularised.
    """

    def __init__(self, settings: Watching) -> None:
        self.settings = settings
        self.solves: list[Solve] = []
        self.sums: dict[str, Tensor] = {}

    @property
    def cost(self) -> Tensor | float:
        """The sum of the regularisers, each times its weight."""
        weights = self.settings.weights
        terms = [weights[kind] * value for kind, value in self.sums.items()]
        return sum(terms[1:], start=terms[0]) if terms else 0.0

    @property
    def integrals(self) -> dict[str, Tensor]:
        """Each regulariser without its weight, by name, summed over the solves; no gradient flows through them."""
        return {kind: value.detach() for kind, value in self.sums.items()}

    def add(self, integrals: dict[str, Tensor]) -> None:
        """Add the integrals of one solve."""
        for kind, value in integrals.items():
            self.sums[kind] = self.sums[kind] + value if kind in self.sums else value

    @property
    def calls(self) -> dict[str, int]:
        """Evaluations of the field by the file and line that solved, summed over its solves."""
        return _summed((solve.source, solve.calls) for solve in self.solves)

    @property
    def backward_calls(self) -> dict[str, int]:
        """Evaluations by the adjoint method so far, by the file and line that solved."""
        return _summed((solve.source, solve.backward_calls) for solve in self.solves)


_watches: list[Watch] = []


@contextmanager
def watched(
    *,
    kinetic: float = 0.0,
    jacobian: float = 0.0,
    second: float = 0.0,
    steer: float = 0.0,
    adjoint: bool = False,
) -> Iterator[Watch]:
    """Watch the solves of a loss, on an unchanged model; add `cost` of what this yields to the loss.

    kinetic: weight of the mean over samples of the integral of |f|^2 / dim (RNODE). jacobian: weight of that of
        |df/dy|^2 / dim, estimated with one normal vector for each solve (RNODE). second: weight of that of
        |d^2 y/dt^2|^2 / dim (TayNODE of order 2).
    steer: the last time of each solve is moved at random, evenly within this share of the last interval of times on
        both sides (STEER). adjoint: `odeint` computes gradients by solving backward, as `odeint_adjoint` does, in
        memory that does not grow with the number of steps.

    With the defaults, losses, gradients and steps are equal to the last bit to those without a watch. A regulariser
    does not move the steps either. Random numbers come from torch's random state. Solves inside the field of another
    solve are counted and nothing else. Of two watches, one inside the other, both count, and the inner one's arguments
    apply. Calls on other threads are not watched.

    Raises InputError, a ValueError: for an argument out of its range; for a solve that cannot be changed as the
    arguments ask, naming its line; and, at the end, where they ask for a change and the loss made no solve.

    >>> import torch
    >>> from torchdiffeq import odeint
    >>> rate = torch.tensor(-1.0, requires_grad=True)
    >>> with watched(kinetic=0.1) as solves:
    ...     y = odeint(lambda t, y: rate * y, torch.ones(1), torch.tensor([0.0, 1.0]), rtol=1e-6)[-1]
    >>> (y.sum() + solves.cost).backward()
    >>> len(solves.solves), f"{float(solves.integrals['kinetic']):.4f}"
    (1, '0.4323')
    """
    watch = Watch(Watching(kinetic=kinetic, jacobian=jacobian, second=second, steer=steer, adjoint=adjoint))
    with watching(_handle, copies=_copies(len(sys.modules))):
        _watches.append(watch)
        try:
            yield watch
        finally:
            _watches.pop()
    if watch.settings.changes and not watch.solves:
        raise InputError(
            f"{watch.settings.changes[0]} changes solves, and this loss made none; leave it out, or let the loss "
            "call the model inside the watch"
        )


@lru_cache(maxsize=1)
def _copies(_modules: int) -> tuple[Entry, ...]:
    """Copies of torchdiffeq among the imported modules, of which there are a number."""
    return find_copies(_copies)


def _handle(call: PlainCall) -> Any:
    """The result of a call that solves."""
    if not _watches or POSITION.inside:
        return call.run()
    keywords = {**call.arguments.arguments}
    keywords |= keywords.pop("kwargs", {})
    again = in_backward()
    if again and belongs_to_adjoint(keywords.get("func")):
        return call.run()
    watch, nested = _watches[-1], POSITION.depth > 0
    record = Solve(
        source=f"{os.path.basename(call.file)}:{call.line}",
        entry=call.entry.name,
        method=_method_of(call, keywords),
        depth=POSITION.depth,
    )
    if not again:
        for each in _watches:
            each.solves.append(record)
    settings = Watching() if nested else watch.settings
    if call.entry.library != "torchdiffeq":
        return _other(call, record, settings)
    if not isinstance(keywords.get("y0"), (Tensor, tuple)) or "func" not in keywords:
        return call.run()  # torchdiffeq raises an error of its own
    found, integrals = Ode(call, record, call.function, keywords).run(settings)
    if not again:
        watch.add(integrals)
    return found


def _method_of(call: PlainCall, keywords: dict[str, Any]) -> str:
    if call.entry.library == "torchsde":
        return type(call.arguments.args[0]).__name__
    return str(keywords.get("method") or "")


def _other(call: PlainCall, record: Solve, settings: Watching) -> Any:
    """The result of a call of another library, which is counted and not changed."""
    changes = settings.changes
    by_adjoint = call.entry.library == "torchsde" and not torch.is_grad_enabled()  # inside sdeint_adjoint
    if changes and not (by_adjoint and changes == ("adjoint=True",)):
        advice = {"torchsde": "; for gradients in constant memory call torchsde.sdeint_adjoint"}
        raise InputError(
            f"{message_start(call.file, call.line)}{changes[0]} changes solves of ODEs by torchdiffeq, and this is "
            f"{call.entry.name} of {call.entry.library}{advice.get(call.entry.library, '')}"
        )
    if call.entry.library == "torchsde":
        return _counted_sde(call, record)
    function = next(iter(call.arguments.arguments))
    call.arguments.arguments[function] = Counted(call.arguments.arguments[function], record)
    with POSITION.library():
        found = call.run()
    record.returned = True
    return found


# The functions of torchsde's description of an SDE that evaluate its drift.
_DRIFTS = ("f", "f_and_g", "f_and_g_prod")


def _counted_sde(call: PlainCall, record: Solve) -> Any:
    """The result of a solve of an SDE, whose functions are counted while it runs."""
    sde, depth = call.arguments.args[0].sde, 0

    def counted(function: Any) -> Any:
        def called(*args: Any) -> Any:
            nonlocal depth
            if not depth:  # one of these functions may call another
                record.count()
            depth += 1
            try:
                with POSITION.model():
                    return function(*args)
            finally:
                depth -= 1

        return called

    saved = {name: vars(sde).get(name) for name in _DRIFTS if hasattr(sde, name)}
    for name in saved:
        setattr(sde, name, counted(getattr(sde, name)))
    try:
        with POSITION.library():
            return call.run()
    finally:
        record.returned = True
        for name, function in saved.items():
            if function is None:
                with suppress(AttributeError):
                    delattr(sde, name)
            else:
                setattr(sde, name, function)


def _summed(pairs: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for key, number in pairs:
        found[key] = found.get(key, 0) + number
    return found
