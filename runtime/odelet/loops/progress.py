"""What a caller who watches the solves of a call is told between two steps.

The law here: a call that nobody watches has no `Watch`, and pays nothing for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from odelet.status import Status


@dataclass(frozen=True, kw_only=True)
class SolveProgress:
    """How far a solve has got. What is not known is None.

    solve: its index in the card. steps: the steps attempted so far, the turns of an iteration. most: how many steps the
    solve takes in all, where that is known before. evaluations: of the field. time: the time reached, that of the
    slowest sample where each has its own steps. start, end: the first and the last output time. sample: the row of the
    batch that the fallback of a bounded solve solves again. status: how the solve ended; None while it goes on.

    >>> SolveProgress(solve=0, steps=3, time=0.5, start=0.0, end=2.0).share
    0.25
    """

    solve: int | None = None
    steps: int | None = None
    most: int | None = None
    evaluations: int | None = None
    time: float | None = None
    start: float | None = None
    end: float | None = None
    sample: int | None = None
    status: Status | None = None

    @property
    def share(self) -> float | None:
        """How much of the solve is done, from 0 to 1, by its time or its steps; None where that is not known."""
        if self.status is Status.OK:
            return 1.0
        if self.time is not None and self.start is not None and self.end is not None and self.end != self.start:
            # An adaptive step may go past the last output time.
            return min(max((self.time - self.start) / (self.end - self.start), 0.0), 1.0)
        return self.steps / self.most if self.steps is not None and self.most else None


# What a caller gives: it is told of each step, and returns False to end the call, anything else to go on. The False of
# a library of arrays, which a comparison of numpy returns, is False, too.
Progress: TypeAlias = Callable[[SolveProgress], object]


class ProgressRaised(BaseException):
    """What a caller's function raised. It is no Exception, so that nobody takes it for a failure of a graph."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


class Watch:
    """Tells a caller of the solves of one call. cancelled: whether the caller has ended it."""

    def __init__(self, tell: Progress) -> None:
        self._tell, self.cancelled = tell, False
        self._begun: dict[int, SolveProgress] = {}
        self._solve = 0
        self._sample: int | None = None

    @property
    def under_way(self) -> tuple[int, ...]:
        """The indices of the solves that have begun, and of which the end was not told."""
        return tuple(self._begun)

    def resolve(self, sample: int) -> None:
        """Say that the solves that begin now are of one sample, which is solved again."""
        self._sample = sample

    def begin(
        self, solve: int, *, start: float | None = None, end: float | None = None, most: int | None = None
    ) -> None:
        """Say that a solve begins, or goes on to another end."""
        self._solve = solve
        self._begun[solve] = SolveProgress(solve=solve, start=start, end=end, most=most, sample=self._sample)

    def goes_on(self, *, steps: int | None, evaluations: int | None, time: float | None) -> bool:
        """Tell what was done so far. Returns whether to take another step."""
        if not self.cancelled:
            now = replace(self._begun[self._solve], steps=steps, evaluations=evaluations, time=time)
            self.cancelled = self._told(now)
        return not self.cancelled

    def ended(
        self, solve: int, status: Status, *, steps: int | None, evaluations: int | None, time: float | None
    ) -> None:
        """Tell how a solve ended. A caller who has cancelled it is told as well."""
        begun = self._begun.pop(solve)
        done = replace(begun, steps=steps, evaluations=evaluations, time=time, status=status)
        self.cancelled = self._told(done) or self.cancelled

    def _told(self, progress: SolveProgress) -> bool:
        """Tell, and return whether the caller ends the call."""
        try:
            return _is_false(self._tell(progress))
        except BaseException as error:
            raise ProgressRaised(error) from None


def _is_false(answer: object) -> bool:
    """Whether an answer is False: that of Python, or one bool of numpy or another library of arrays. None, 0 and empty
    things are not."""
    dtype, shape = getattr(answer, "dtype", None), getattr(answer, "shape", None)
    one_bool = shape == () and str(dtype).removeprefix("torch.") == "bool"
    return answer is False or (one_bool and not answer)
