"""Turning a tracer's failure into the user's file and line, what was found there, and what to do."""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Iterator, Mapping, Sequence

from odelet_export.intercept import is_library

# What the message or the type of a failure contains, what that means, and what to do about it.
_KNOWN: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("data-dependent", "DataDependent", "Could not guard", "Could not extract specialized"),
        "a Python decision or number that depends on the values of a tensor",
        "make the choice with torch.where, keep the number a tensor, or compute it before the model is called",
    ),
    (
        ("Constraints violated", "ConstraintViolation", "specialized", "Not all values of"),
        "an axis declared dynamic whose size the model fixes",
        "take sizes from tensor.shape instead of numbers kept at construction, or leave this axis out of `dynamic`",
    ),
    (
        (".numpy()", "numpy() on", "FakeTensor to numpy", "__array__"),
        "a tensor turned into a numpy array",
        "do the same with torch operators",
    ),
    (
        ("No ONNX function found", "DispatchError", "ConversionError", "not supported by the ONNX"),
        "an operator that has no translation to ONNX",
        "write it with other torch operators",
    ),
    (
        ("deepcopy", "fake tensor", "FakeTensor"),
        "a tensor kept from an earlier call and used in a later one",
        "compute it inside forward, or register it as a buffer when the model is built",
    ),
)


def explain(failures: Sequence[Exception], dynamic: Mapping[str, object]) -> str:
    """One message for the failures of all tracers, the last tried being the most telling."""
    error = failures[-1]
    place = next(filter(None, (_place(failure) for failure in reversed(failures))), None)
    text = " ".join(f"{type(link).__name__}: {link}" for link in _chain(error))
    found, advice = next(
        ((found, advice) for marks, found, advice in _KNOWN if any(mark in text for mark in marks)),
        (
            "something torch cannot trace",
            "see the cause below; simplify the line, or report it with the model",
        ),
    )
    cause = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    where = "the model (no line of it is known)"
    if place is not None:
        where = f'File "{place[0]}", line {place[1]}'
        source = linecache.getline(*place).strip()
        where += f"\n    {source}" if source else ""
    return f"{where}\n  found: {found}\n  do: {advice}\n  cause: {type(error).__name__}: {cause.strip()[:300]}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _place(error: BaseException) -> tuple[str, int] | None:
    """The innermost line of the user's own code that a failure, or what caused it, passed through."""
    for link in reversed(list(_chain(error))):
        frames = [frame for frame in traceback.extract_tb(link.__traceback__) if not is_library(frame.filename)]
        own = [frame for frame in frames if "site-packages" not in frame.filename] or frames
        if own and own[-1].lineno is not None:
            return own[-1].filename, own[-1].lineno
    return None
