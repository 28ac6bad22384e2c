"""What it means that a graph failed in a call: that the values of the inputs do not suit the model, or that the
artifact is not what it says.

The law here: what came is blamed where ONNX Runtime complains of a number that only values can make, such as an index
out of range; sizes and types have been compared with the card before, so that any other failure is the artifact's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from odelet.engine.ending import EndedError, check_ended
from odelet.errors import ArtifactError, InputError, OdeletError
from odelet.numerics.backend import NumpyArray

# ONNX Runtime's exceptions share no base class but Exception.
ORT_ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,
    ValueError,
    *(kind for kind in vars(ort_state).values() if isinstance(kind, type) and issubclass(kind, Exception)),
)

# What an exported graph looks up where it would divide a whole number by zero: no table has so many rows.
DIVIDED_BY_ZERO = 2**62 + 57
# And where an operator would be given an empty axis that ends the process.
EMPTY = 2**62 + 59
# And in place of a negative index, where torch takes none.
NEGATIVE = 2**62 + 61

_RANGE = re.compile(r"idx=(-?\d+) must be within the inclusive range \[(-?\d+),(-?\d+)\]")
_FOUND = re.compile(r"found, ind(?:ex|ice) = (-?\d+)")
# What ONNX Runtime's operators say of numbers that they were given as data: indices, divisors, lengths and counts.
_INDEX = ("out of data bounds", "Out of range value in index", "invalid index found", "invalid indice found")
_ZERO = (f"idx={DIVIDED_BY_ZERO} ", "division by zero", "modulo by zero")
_LENGTH = (
    *("'step' value cannot be 0", "delta in Range operator can not be zero", "Size() must be >= 0"),
    *("must be non-negative", "must not be negative", "Depth is negative", "All values must be >= 0"),
    *("A dimension cannot be less than -1", "k argument [", "Split size"),
)


class GraphFailed(ArtifactError):
    """A graph that failed in a call, before it is known whose fault that is; `judged` says so.

    where: the graph or the solve. text: all that ONNX Runtime said.
    """

    def __init__(self, where: str, text: str) -> None:
        super().__init__(where, text)
        self.where, self.text = where, text

    def __str__(self) -> str:
        return str(self.judged({}))

    def judged(self, inputs: Mapping[str, NumpyArray]) -> OdeletError:
        """Return an InputError if values of the inputs made the graph fail, or else an ArtifactError.

        inputs: the model's, by name, whose dtypes and sizes are those of the card.
        """
        text, said = self.text, shortened(self.text)
        whole = {name: array for name, array in inputs.items() if array.dtype.kind in "iu"}
        if inputs and any(sign in text for sign in _ZERO):
            zeros = [name for name, array in whole.items() if (array == 0).any()]
            return InputError(
                f"{self.where}: a whole number is divided by zero{blamed(zeros or list(whole), 'holds 0')}"
            )
        is_empty = f"idx={EMPTY} " in text
        if is_empty:
            text = said = "an operator of the graph needs at least one element"
        if inputs and any(sign in text for sign in _INDEX):
            return InputError(f"{self.where}: {_out_of_range(text, whole)}")
        if inputs and any(sign in text for sign in _LENGTH):
            return InputError(
                f"{self.where}: a length, a count or a step is negative, zero or too large ({said})"
                f"{blamed(list(whole), 'is a whole number')}"
            )
        empty = next((name for name, array in inputs.items() if not array.size), None)
        if empty is not None:
            return InputError(
                f"input {empty!r} has shape {inputs[empty].shape}, and {self.where} cannot compute on an empty axis "
                f"({said}); expected sizes of at least 1"
            )
        if inputs and is_empty:
            return InputError(
                f"{self.where}: the inputs lead to an empty axis ({said}){blamed(list(whole), 'is whole')}"
            )
        given = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in inputs.items())
        return ArtifactError(
            f"{self.where}: it failed on the inputs {given or 'none'} ({said}); if `odelet verify` passes, the graph "
            "does not support these sizes: export the model with these axes dynamic"
        )


def _out_of_range(text: str, whole: Mapping[str, NumpyArray]) -> str:
    match = _RANGE.search(text)
    if match is None:
        if (found := _FOUND.search(text)) is not None:
            index = int(found.group(1))
            for name in [name for name, array in whole.items() if (array == index).any()]:
                return f"input {name!r} holds {index}, which is looked up as an index and is out of range"
        return f"an index is out of range ({shortened(text)}){blamed(list(whole), 'is a whole number')}"
    index, low, high = map(int, match.groups())
    negative = index == NEGATIVE
    if negative:
        index, low = -1, 0
    # An index below 0 may count from the end or be refused, as the model says; ONNX Runtime's bound does not tell.
    bound = f"expected whole numbers {f'from {low}' if index < low else 'up'} to {high}"
    bound = bound if low <= high else "there is nothing to look up"
    # Tables differ in length: an input that holds the index itself comes before others that are out of this range.
    suspects = [array[array < 0] if negative else array[array == index] for array in whole.values()]
    suspects += [array[(array < low) | (array > high)] for array in whole.values()]
    for name, outside in zip([*whole, *whole], suspects, strict=True):
        if outside.size:
            return f"input {name!r} holds {outside.flat[0]}, which is looked up as an index; {bound}"
    return f"the inputs lead to the index {index}, which is out of range; {bound}{blamed(list(whole), 'is whole')}"


def blamed(names: list[str], what: str) -> str:
    """The end of a message: the inputs to look at. what: a clause about each; none without names."""
    return f"; look at the input {', '.join(map(repr, names))}, which {what}" if names else ""


@contextmanager
def failing_as(solve: int) -> Iterator[None]:
    """Name the solve whose graphs fail: raise GraphFailed in place of ONNX Runtime's own errors. solve: its index.

    Raises EndedError or KeyboardInterrupt where the call was ended.
    """
    try:
        yield
    except (OdeletError, EndedError):
        raise
    except ORT_ERRORS as error:
        check_ended()
        raise GraphFailed(f"solve {solve}", str(error)) from None


def one_line(error: Exception) -> str:
    """Return an exception's text on one line of at most 400 characters."""
    return shortened(str(error))


def shortened(text: str) -> str:
    """Return a text on one line of at most 400 characters."""
    text = " ".join(text.split())
    return text if len(text) <= 400 else f"{text[:397]}..."
