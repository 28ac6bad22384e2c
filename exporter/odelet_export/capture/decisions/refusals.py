"""Errors for Python decisions and numbers that a trace cannot take, with the user's line, the cause and the remedy.

Each function returns a CaptureError, which the caller raises. Its line is the line of the user's code that runs now.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from odelet_intercept.errors import CaptureError
from odelet_intercept.user_code import user_frame, with_source

# The user's spelling of a call that reads a number, by the name of the torch function behind it.
_WRITTEN = {"__float__": "float()", "__int__": "int()", "__index__": "an index or a size"}


class TooManyPaths(CaptureError):
    """More paths through a field, by its decisions or whole numbers, than are traced."""


def unknown_value() -> CaptureError:
    """The error for a decision or number that even a run on the example does not tell."""
    return _refusal(
        "a Python decision or number that depends on values known only when the model runs",
        "make the choice with torch.where, or keep the number a tensor",
    )


def number_of_a_field(function: str) -> CaptureError:
    """The error for a Python number that a field reads off its time or state. function: the torch function's name."""
    return _refusal(
        f"{_written(function)} of a value of the field, which is a tensor while the model is traced",
        "keep it a tensor, in operators of torch: torch.sin(t), not math.sin(t); t.floor(), not int(t)",
    )


def changing_number(function: str, sources: Sequence[str], inputs: Collection[str]) -> CaptureError:
    """The error for a Python number that changes with the inputs.

    function: the name of the torch function that reads it. sources: the sources of the number, without frozen inputs.
    inputs: the names of all inputs of the model, which a user may freeze.
    """
    flags = " ".join(f"--freeze {name}" for name in sources if name in inputs)
    freeze = f", or hold this number at that of the example with {flags} (freeze=[...])" if flags else ""
    return _refusal(
        f"{_written(function)} of a value that depends on {' and '.join(sources)}; a graph cannot hold a Python number "
        "that changes",
        f"keep it a tensor (lengths as torch.linspace(0, 1, STEPS) * end, masks instead of slices){freeze}",
    )


def many_numbers(options: Sequence[int]) -> TooManyPaths:
    """The error for a whole number that a field reads off its time or state and that has too many values on the
    example."""
    refusal = _refusal(
        f"a whole number read off the time or the state, {options[0]} to {options[-1]} on the example",
        "index with a tensor, as in table[t.long()], which needs no number",
    )
    return TooManyPaths(str(refusal))


def _written(function: str) -> str:
    return _WRITTEN.get(function) or f"{function.strip('_')}()"


def _refusal(finding: str, advice: str) -> CaptureError:
    return CaptureError(f"{with_source(user_frame())}\n  found: {finding}\n  do: {advice}")
