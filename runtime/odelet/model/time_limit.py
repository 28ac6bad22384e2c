"""One deadline for work that makes several calls of a model, such as running its samples."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Real
from time import perf_counter

from odelet.engine.ending import EndedError, ended_at
from odelet.errors import InputError, SolveError
from odelet.status import Status


def check_deadline(deadline: float | None) -> None:
    """Raise InputError for what is no number of seconds; None is no deadline."""
    if deadline is None:
        return
    if isinstance(deadline, bool) or not isinstance(deadline, Real) or not 0 < float(deadline) < math.inf:
        raise InputError(f"deadline={deadline!r} must be a positive and finite number of seconds")


@contextmanager
def within(deadline: float | None, *, what: str) -> Iterator[None]:
    """End the calls of models that are made inside, in this thread, when so many seconds have passed.

    deadline: None is no deadline. what: the work, for the message. Raises SolveError, with the status DEADLINE, in
    place of the work that was ended.
    """
    check_deadline(deadline)
    if deadline is None:
        yield
        return
    try:
        with ended_at(perf_counter() + deadline):
            yield
    except EndedError:
        message = f"{what} was ended: {Status.DEADLINE.sentence}; {Status.DEADLINE.advice}"
        raise SolveError(message, Status.DEADLINE, None, None) from None
