"""The translation to ONNX, made exact for float64.

torch's translation loses the digits of float64 in three ways, and ONNX Runtime adds a fourth: a Python number that is
not beside a tensor of known type becomes float32, and is cast afterwards; the types of values inside the translation
of one operator are not known, so that a number beside these is float32 too; attributes of ONNX operators and
functions are float32 by definition; and operators lack a float64 kernel.

All four pass through one object, the recorder that torch hands the nodes of an operator to. Here it is replaced for
the time of a translation by one that follows float64 through the nodes: it makes numbers float64 where they are cast
to it, follows functions node by node instead of writing them with their attributes, and writes operators of the last
two kinds by `float64.FORMULAS`. A node that does not meet float64 is recorded as torch does it, so that the
graphs of float32 models are torch's own. Decomposing in torch before the translation, or an own translation for each
operator, was tried in thought: both need a list of all operators that take a number, and such a list is never whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import onnx_ir as ir
import torch
from onnxscript import opset18
from torch.onnx._internal.exporter import _building

from odelet_export.float64 import FORMULAS

op: Any = opset18
DOUBLE = ir.DataType.DOUBLE
_CONTROL = {"If", "Loop", "Scan"}


class Recorder(_building.OpRecorder):
    """torch's recorder of nodes; those of float64 values it writes without loss."""

    def _call_op(self, op_signature: Any, named_inputs: Any, named_attrs: Any, num_outputs: int) -> Any:
        attributes = {name: a.value if isinstance(a, ir.Attr) else a for name, a in named_attrs.items()}
        inputs = list(named_inputs.values())
        if op_signature.domain == "":
            written = self._write(op_signature.name, inputs, attributes)
            if written is not None:
                return written if isinstance(written, tuple) else (written,)
        outputs = super()._call_op(op_signature, named_inputs, named_attrs, num_outputs)
        for output, double in zip(outputs, _doubles(op_signature, named_inputs, attributes), strict=False):
            if double and output.dtype is None:
                output.dtype = DOUBLE
        return outputs

    def _write(self, name: str, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
        """Other nodes for this one, or None where it is exact as it is."""
        if name in ("Cast", "CastLike"):
            to = attributes["to"] if name == "Cast" else inputs[1].dtype
            number = _number(inputs[0])
            return None if number is None or to != DOUBLE else op.Constant(value=ir.tensor(number, DOUBLE))
        if name == "Log" and isinstance(inputs[0], float):
            return op.Constant(value_float=math.log(inputs[0]))
        formula = FORMULAS.get(name)
        return formula(*inputs, **attributes) if formula is not None and _is_double(inputs[0]) else None

    def eval_function(self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """A function of torch's, node by node if a value is float64, so that its numbers are not attributes."""
        if not any(_is_double(value) for value in (*args, *kwargs.values())):
            return super().eval_function(function, args, kwargs)
        formula = FORMULAS.get(function.name)
        if formula is not None:
            return formula(*args, **kwargs)
        if function.traceable or any(node.op_type in _CONTROL for node in function.function_ir):
            return super().eval_function(function, args, kwargs)
        return function.function(*args, **kwargs)


def _is_double(value: Any) -> bool:
    return isinstance(value, ir.Value) and value.dtype == DOUBLE


def _number(value: Any) -> float | list[float] | None:
    """The Python number, or the list of these, that a value is made of."""
    if isinstance(value, float):
        return value
    node = value.producer() if isinstance(value, ir.Value) else None
    if node is None or node.op_type != "Constant":
        return None
    for name in ("value_float", "value_floats"):
        if name in node.attributes:
            number: Any = node.attributes[name].value
            return number if name == "value_float" else list(number)
    return None


def _doubles(signature: Any, inputs: Mapping[str, Any], attributes: Mapping[str, Any]) -> list[bool]:
    """Which outputs of a node are float64."""
    if signature.name == "Cast":
        return [attributes["to"] == DOUBLE]
    if signature.name == "Constant":
        value = attributes.get("value")
        return [isinstance(value, ir.TensorProtocol) and value.dtype == DOUBLE]
    bound = {
        signature.params_map[name].type_constraint
        for name, value in inputs.items()
        if any(_is_double(v) for v in (value if isinstance(value, (list, tuple)) else [value]))
    }
    return [output.type_constraint in bound for output in signature.outputs]


def celu(x: Any, alpha: float = 1.0) -> Any:
    """As torch's, but without a way through float32."""
    return op.Celu(x, alpha=alpha)


@contextmanager
def exact_float64() -> Iterator[dict[Callable[..., Any], Callable[..., Any]]]:
    """Make torch's translation exact for float64; gives the table to hand to it. Undone afterwards, also on error."""
    torchs = _building.OpRecorder
    _building.OpRecorder = Recorder  # type: ignore[misc]
    try:
        yield {torch.ops.aten.celu.default: celu}
    finally:
        _building.OpRecorder = torchs  # type: ignore[misc]
