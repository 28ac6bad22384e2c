"""Turning a tracer's failure into the user's file and line, what was found there, and what to do."""

from __future__ import annotations

import linecache
import os
import re
import traceback
from collections.abc import Iterator, Mapping, Sequence

import onnx_ir as ir

from odelet_export.errors import CaptureError
from odelet_export.intercept import is_library

# What the message or the type of a failure contains, what that means, and what to do about it.
_KNOWN: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("Size-like symbols: u",),
        "a Python decision on a size that depends on the values of a tensor: on how many elements a mask, nonzero or "
        "unique leaves",
        "keep all elements and weigh them with the mask, as in (x * mask).sum() / mask.sum()",
    ),
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
        ("no autograd formula was registered",),
        "a gradient taken through a solve",
        "solve for it beside the state: ds/dt = (df/dy) s, from the direction s of the change at the start",
    ),
    (
        ("deepcopy", "fake tensor", "FakeTensor"),
        "a tensor kept from an earlier call and used in a later one",
        "compute it inside forward, or register it as a buffer when the model is built",
    ),
)


# Packages that translate to ONNX, whose lines say nothing of the model.
_ONNX = ("onnxscript", "onnx_ir", "onnx")


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
    missing = re.search(r"No ONNX function found for (?:<OpOverload\(op=')?([\w.:]+)", text)
    if missing:
        found = f"the operator {missing[1]}, which has no translation to ONNX"
    cause = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    cause = re.sub(r"\x1b\[\d+m", "", cause)  # torch colours its messages
    return f"{shown(place)}\n  found: {found}\n  do: {advice}\n  cause: {type(error).__name__}: {cause.strip()[:300]}"


def shown(place: tuple[str, int] | None) -> str:
    """File, line and source of a place in the model's code."""
    if place is None:
        return "the model (no line of it is known)"
    source = linecache.getline(*place).strip()
    return f'File "{place[0]}", line {place[1]}' + (f"\n    {source}" if source else "")


def shown_short(place: tuple[str, int] | None) -> str:
    """A file, without its folder, and a line."""
    return "" if place is None else f"{os.path.basename(place[0])}:{place[1]}"


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
        frames = [frame for frame in frames if not any(f"{os.sep}{name}{os.sep}" in frame.filename for name in _ONNX)]
        own = [frame for frame in frames if "site-packages" not in frame.filename] or frames
        if own and own[-1].lineno is not None:
            return own[-1].filename, own[-1].lineno
    return None


_RANDOM = (
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Multinomial",
    "Bernoulli",
    "Dropout",
)
_TRACED_FROM = re.compile(r'File "([^"]+)", line (\d+)')


def refuse_random(model: ir.Model) -> None:
    """Raise CaptureError for a graph that draws random numbers: no two runs of it would agree."""
    for node in model.graph.all_nodes():
        if node.op_type not in _RANDOM:
            continue
        trace = node.metadata_props.get("pkg.torch.onnx.stack_trace", "")
        raise CaptureError(
            f"{shown(user_place(trace))}\n  found: a random draw (ONNX {node.op_type})\n"
            "  do: draw with a function such as torch.randn_like, or outside the model and pass the numbers as an input"
        )


def user_place(trace: str | None) -> tuple[str, int] | None:
    """The innermost line of the user's own code in a stack trace that torch keeps with a node."""
    frames = [(file, int(line)) for file, line in _TRACED_FROM.findall(trace or "") if not is_library(file)]
    own = [frame for frame in frames if "site-packages" not in frame[0]] or frames
    return own[-1] if own else None
