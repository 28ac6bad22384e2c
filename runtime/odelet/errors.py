"""Every exception that odelet raises on purpose, as one small tree.

    OdeletError
    |-- InputError      a bad argument: an array, a setting, a path on the command line (a ValueError)
    |   `-- AssumptionError   inputs for which a decision that the exported model has taken would be another
    |-- ArtifactError   an artifact that is missing, damaged, newer, or not what its card says
    `-- SolveError      a solve that did not reach its end time, for those who asked for an exception

Packages that build on odelet hang their own errors under OdeletError, so that one `except` catches all.
"""

from __future__ import annotations

from odelet.status import Status


class OdeletError(Exception):
    """Anything that odelet raises on purpose.

    exit_code: what the command line exits with when this reaches it.
    """

    exit_code = 2


class InputError(OdeletError, ValueError):
    """A bad argument; the message names it, what came, and what was expected."""


class AssumptionError(InputError):
    """Inputs that the model must be exported for: its Python code would decide otherwise for them than for its example.

    assumption: what the card says of the decision, an `AssumptionCard`.
    """

    def __init__(self, message: str, assumption: object) -> None:
        # Both go to args, so that the error survives pickling between processes.
        super().__init__(message, assumption)
        self.message = message
        self.assumption = assumption

    def __str__(self) -> str:
        return self.message


class ArtifactError(OdeletError):
    """An artifact that cannot be used as it is; the message says what is wrong and what to do."""


class SolveError(OdeletError):
    """A solve that failed.

    status: the odelet.Status it ended with. time: the time reached, in the model's unit, or None where
    the artifact does not report it. solve: its index in the card.
    """

    exit_code = 4

    def __init__(self, message: str, status: Status, time: float | None, solve: int) -> None:
        # All four go to args, so that the error survives pickling between processes.
        super().__init__(message, status, time, solve)
        self.message = message
        self.status = status
        self.time = time
        self.solve = solve

    def __str__(self) -> str:
        return self.message
