"""The ways in which a solve can end, in one enumeration: each has a code, a sentence, and what to try next."""

from __future__ import annotations

from enum import Enum


class Status(Enum):
    """How a solve ended.

    value: the code that graphs report, a whole number. sentence: the same in words. advice: what to try next, or "" if
    nothing went wrong.

    >>> Status(1)
    <Status.STEP_LIMIT: 1>
    >>> Status.STEP_LIMIT.sentence, Status.STEP_LIMIT.usable
    ('the step limit was reached before the end time', False)
    """

    sentence: str
    advice: str

    OK = (0, "the solve reached its end time", "")
    STEP_LIMIT = (
        1,
        "the step limit was reached before the end time",
        "raise max_steps, or loosen rtol and atol",
    )
    STEP_UNDERFLOW = (
        2,
        "the step became too small to move time forward",
        "check the inputs for NaN and for their scale, loosen rtol and atol, or export the model in float64",
    )
    NOT_FINITE = (
        3,
        "the state became infinite or NaN",
        "check the inputs for NaN and for their scale, or tighten rtol and atol",
    )
    BAD_TIMES = (
        4,
        "the output times are not strictly increasing or strictly decreasing, step_t and jump_t hold a time twice, or "
        "a grid does not fit them",
        "give each time once, in order",
    )
    DEADLINE = (
        5,
        "the deadline passed before the end time",
        "allow more time, or loosen rtol and atol",
    )
    EVALUATION_LIMIT = (
        6,
        "the limit of field evaluations was reached before the end time",
        "raise max_evals, or loosen rtol and atol",
    )
    EVENT = (7, "a terminal event ended the solve before its end time", "")
    NOT_CONVERGED = (
        8,
        "the iteration did not converge",
        "raise max_steps, loosen rtol and atol, or try the method anderson or a smaller tau",
    )
    OUT_OF_TOLERANCE = (
        9,
        "the error estimate is above the tolerance",
        "loosen rtol and atol, add such inputs to the calibration data of the export, or export with a fallback",
    )
    CANCELLED = (
        10,
        "the function given as progress ended the call before the end time",
        "return True, or nothing, from that function to go on",
    )

    def __new__(cls, code: int, sentence: str, advice: str) -> Status:
        member = object.__new__(cls)
        member._value_ = code
        member.sentence = sentence
        member.advice = advice
        return member

    @property
    def usable(self) -> bool:
        """Whether the solve gave a state to go on from: the final one, or the last one before the solve had to stop."""
        return self in (Status.OK, Status.EVENT, Status.NOT_CONVERGED) or self.from_outside

    @property
    def from_outside(self) -> bool:
        """Whether a limit of the caller ended the solve between two steps, so that the state reached is good."""
        return self in (Status.DEADLINE, Status.EVALUATION_LIMIT, Status.CANCELLED)
