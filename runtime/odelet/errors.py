"""Every exception that odelet raises on purpose, as one small tree.

    OdeletError
    |-- InputError      a bad argument: an array, a setting, a path on the command line (a ValueError)
    |   `-- AssumptionError   inputs for which the model's Python code would decide otherwise than for its example
    |-- ArtifactError   an artifact that is missing, damaged, newer, or not what its card says
    |   |-- MemoryLimitError  a model that needs more memory than `load(memory=)` allows, to load or for these inputs
    |   `-- EngineError       an ONNX Runtime that is too old, or does not give torch's answers
    `-- SolveError      a solve that did not reach its end time, raised for a caller who wants an exception

The errors of packages that build on odelet are subclasses of OdeletError, so that one `except` catches all of them.
"""

from __future__ import annotations

from odelet.status import Status
from odelet.text import printable


class OdeletError(Exception):
    """An error that odelet raises on purpose.

    exit_code: the exit code of a command that ends with this error. has_lines: whether its message has several lines.

    >>> import odelet
    >>> try:
    ...     odelet.load("nowhere")
    ... except odelet.OdeletError as error:
    ...     print(error)
    nowhere: there is no such folder or file; give the folder that `odelet export` wrote
    """

    exit_code = 2
    has_lines = False

    def __str__(self) -> str:
        return self.shown(super().__str__())

    def shown(self, message: str) -> str:
        """Return a message fit for a terminal: it may repeat names and lines of code from an artifact of others."""
        return printable(message, keep="\n\t") if self.has_lines else printable(" ".join(message.split("\n")))


class InputError(OdeletError, ValueError):
    """A bad argument; the message names the argument, what came, and what was expected.

    >>> import odelet
    >>> odelet.load("out", threads=-1)
    Traceback (most recent call last):
    ...
    odelet.errors.InputError: threads=-1 must be a whole number from 1 to 1024, or 'measured'
    """


class AssumptionError(InputError):
    """Inputs for which the model's Python code would decide otherwise than for its example; export the model for them.

    assumption: what the card says of the decision, an `AssumptionCard`.
    """

    def __init__(self, message: str, assumption: object) -> None:
        # Both go to args, so that the error survives pickling between processes.
        super().__init__(message, assumption)
        self.message = message
        self.assumption = assumption

    def __str__(self) -> str:
        return self.shown(self.message)


class ArtifactError(OdeletError):
    """An artifact that cannot be used as it is; the message says what is wrong and what to do.

    >>> import odelet
    >>> odelet.load("out/odelet.json")
    Traceback (most recent call last):
    ...
    odelet.errors.ArtifactError: out/odelet.json: expected an artifact's folder or an .onnx file
    """


class MemoryLimitError(ArtifactError):
    """A model that needs more memory than `odelet.load(memory=)` allows. It can be called again.

    memory: the number of bytes that was allowed.
    """

    def __init__(self, message: str, memory: int) -> None:
        # Both go to args, so that the error survives pickling between processes.
        super().__init__(message, memory)
        self.message = message
        self.memory = memory

    def __str__(self) -> str:
        return self.message


class EngineError(ArtifactError):
    """An ONNX Runtime that artifacts cannot be run on: it is too old, or does not give torch's answers.

    >>> import odelet
    >>> issubclass(odelet.EngineError, odelet.ArtifactError)
    True
    """


class SolveError(OdeletError):
    """A solve that failed.

    status: the odelet.Status with which the solve ended. time: the time that it reached, in the model's unit, or None
    if the artifact does not report it. solve: the solve's index in the card, or None where the deadline passed outside
    the solves of a call.

    >>> import numpy as np, odelet
    >>> batch = {"x": np.ones((5, 3), np.float32), "scale": 2.0}
    >>> try:
    ...     odelet.load("out")(batch, max_steps=1)
    ... except odelet.SolveError as error:
    ...     print(error.status.name, error.solve)
    STEP_LIMIT 0
    """

    exit_code = 4

    def __init__(self, message: str, status: Status, time: float | None, solve: int | None) -> None:
        # All four go to args, so that the error survives pickling between processes.
        super().__init__(message, status, time, solve)
        self.message = message
        self.status = status
        self.time = time
        self.solve = solve

    def __str__(self) -> str:
        return self.shown(self.message)
