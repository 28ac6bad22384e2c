"""Messages for models that cannot be captured: the user's file and line, the cause, and the remedy.

torch describes a failed trace by its own internals. `failure_text` makes the text of one CaptureError of the errors of
all tracers; `refuse_random` and `refuse_foreign` raise one for a graph that was traced and must not be used.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Sequence

import onnx_ir as ir
import torch

from odelet.artifact.operators import OPERATORS
from odelet.errors import OdeletError
from odelet_export.capture.operators.decomposing import Untranslated
from odelet_export.capture.sizes.watch import SizeError
from odelet_intercept.errors import CaptureError
from odelet_intercept.user_code import (
    Place,
    chain_of,
    place_in_trace,
    place_of_error,
    raised_by_odelet,
    short,
    with_source,
)

# Fragments of a failure's message or of the name of its class, the meaning of such a failure, and the remedy.
_KNOWN_FAILURES: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("failed to unpack the object", "must be tuple of ints"),
        "a size that is computed from the values of tensors",
        "take sizes from tensor.shape, or pass the size as a number and declare it in `dynamic`",
    ),
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
        ("unhashable type: non-nested SymInt", "unhashable type: 'SymInt'"),
        "the size of a dynamic axis as a key of a dict or in a set, which must be a number",
        "compute what is kept by the size from the size itself, as torch.arange(n) does, or leave the axis out of "
        "`dynamic`",
    ),
    (
        ("type numpy.object_",),
        "a numpy array made of the size of a dynamic axis",
        "make it with torch, as torch.arange(n) for np.arange(n), or leave the axis out of `dynamic`",
    ),
    (
        (".numpy()", "numpy() on", "FakeTensor to numpy", "__array__"),
        "a tensor turned into a numpy array",
        "do the same with torch operators",
    ),
    (
        ("quantized.", "quantized::"),
        "a layer that torch has quantised, whose operators have no translation to ONNX",
        "export the model before it is quantised, and quantise the graph with onnxruntime.quantization",
    ),
    (
        ("No ONNX function found", "DispatchError", "ConversionError", "not supported by the ONNX"),
        "an operator that has no translation to ONNX",
        "write it with other torch operators",
    ),
    (
        ("no autograd formula was registered",),
        "a gradient taken through a solve",
        "solve for it beside the state: ds/dt = (df/dy) s, from the direction s of the change at the start; leave it "
        "out where it is for training, as gradients by the weights are",
    ),
    (
        ("deepcopy", "fake tensor", "FakeTensor"),
        "a tensor kept from an earlier call and used in a later one",
        "compute it inside forward, or register it as a buffer when the model is built",
    ),
)


def failure_text(failures: Sequence[Exception]) -> str:
    """The message for the failures of all tracers, in the order in which they were tried.

    The last failure gives the cause, as the last tracer comes furthest; the last failure that has a place in the user's
    code gives the place.
    """
    links = [link for failure in reversed(failures) for link in reversed([*chain_of(failure)])]
    own = next((link for link in links if isinstance(link, OdeletError)), None)
    error = failures[-1]
    if isinstance(error, SizeError):
        return str(error)
    place = next(filter(None, (_place(failure) for failure in reversed(failures))), None)
    if own is not None:  # raised on purpose, with a message of its own, and wrapped by a tracer
        return str(own) if own.has_lines else f"{with_source(place)}\n  found: {own}"
    text = " ".join(f"{type(link).__name__}: {link}" for link in chain_of(error))
    finding, advice = next(
        (
            (finding, advice)
            for fragments, finding, advice in _KNOWN_FAILURES
            if any(fragment in text for fragment in fragments)
        ),
        (
            "something torch cannot trace",
            "see the cause below; simplify the line, or report it with the model",
        ),
    )
    if (fault := raised_by_odelet(error)) is not None:
        finding, advice = f"a fault of odelet itself ({short(fault)})", "please report it with the model"
    missing = re.search(r"No ONNX function found for (?:<OpOverload\(op=')?([\w.:]+)", text)
    if missing:
        of_complex = " for complex numbers" if "complex-valued" in text else ""
        finding = f"the operator {missing[1]}, which has no translation to ONNX{of_complex}"
    causes = dict.fromkeys(_cause(failure) for failure in reversed(failures))
    return f"{with_source(place)}\n  found: {finding}\n  do: {advice}\n  cause: " + "\n  tried before: ".join(causes)


def _cause(failure: Exception) -> str:
    """The cause of a failure on one line; another way of tracing may fail for another cause, which may be the real
    one."""
    lines = [line.strip() for line in str(failure).splitlines() if line.strip()] or [type(failure).__name__]
    if isinstance(failure, SizeError):
        return next((line.removeprefix("found: ") for line in lines if line.startswith("found: ")), lines[0])
    if type(failure).__name__ == "ConversionError":  # it says in which of its steps torch failed, and not why
        inner = [*chain_of(failure)][-1]
        return f"{type(inner).__name__}: {_plain(next(iter(str(inner).splitlines()), ''))}"
    return f"{type(failure).__name__}: {_plain(lines[0])}"


def _plain(line: str) -> str:
    """A line of an error's message without colours, which torch gives its messages."""
    return re.sub(r"\x1b\[\d+m", "", line)[:300]


def _place(failure: Exception) -> Place | None:
    """The line of the user's code that failed: the one that an operator without translation comes from, if that is the
    cause; else the innermost that the error passed through; else the one whose node torch was working on."""
    untranslated = next((link for link in chain_of(failure) if isinstance(link, Untranslated)), None)
    if untranslated is not None:
        return place_in_trace(untranslated.trace)
    return place_of_error(failure) or place_in_trace(_trace_of_node(failure))


def _trace_of_node(failure: Exception) -> str | None:
    """The stack trace kept with the node of a graph that torch was translating or running when it failed."""
    for link in reversed([*chain_of(failure)]):
        for frame, _ in reversed([*traceback.walk_tb(link.__traceback__)]):
            for local in frame.f_locals.values():
                if isinstance(local, torch.fx.Node) and place_in_trace(local.meta.get("stack_trace")) is not None:
                    return str(local.meta["stack_trace"])
    return None


# ONNX operators that draw random numbers.
_RANDOM_OPERATORS = (
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Multinomial",
    "Bernoulli",
    "Dropout",
)


def refuse_random(model: ir.Model) -> None:
    """Raise CaptureError for a graph that draws random numbers itself: no two runs of it would agree.

    Draws that `odelet_export.model.random_draws` knows are markers by now, and are not refused.
    """
    for node in model.graph.all_nodes():
        if node.op_type not in _RANDOM_OPERATORS:
            continue
        trace = node.metadata_props.get("pkg.torch.onnx.stack_trace", "")
        raise CaptureError(
            f"{with_source(place_in_trace(trace))}\n  found: a random draw (ONNX {node.op_type})\n"
            "  do: draw with a function such as torch.randn_like, or outside the model and pass the numbers as an input"
        )


def refuse_foreign(model: ir.Model) -> None:
    """Raise CaptureError for a graph with an operator that no artifact may use; see `odelet.artifact.operators`.

    Nodes that no output needs are removed by now, and not meant.
    """
    for node in model.graph.all_nodes():
        if node.domain not in ("", "ai.onnx") or node.op_type in OPERATORS:
            continue
        trace = node.metadata_props.get("pkg.torch.onnx.stack_trace", "")
        raise CaptureError(
            f"{with_source(place_in_trace(trace))}\n  found: a line that becomes ONNX's {node.op_type}, "
            "which odelet does not run\n  do: write the line with other functions, which take tensors of numbers and "
            "give tensors of numbers; an artifact has no lists of tensors, no strings and no random draws inside"
        )
