"""The translation to ONNX, made exact for float64.

Digits of float64 are lost in four ways. torch makes a Python number float32 unless it stands beside a tensor whose type
is known, and casts afterwards; inside the translation of one operator types are not known, so numbers there are
float32 too; attributes of ONNX operators and functions are float32 by definition; and ONNX Runtime has no float64
kernel of many operators.

All four pass through one object: the recorder, to which torch hands each node as it is made. For the time of a
translation, one takes its place that follows float64 through the nodes. It makes numbers float64 where they are cast
to it, follows torch's functions node by node rather than give them attributes, and writes operators of the last two
kinds by `float64.FORMULAS`. Nodes that do not meet float64 are recorded as torch does it, so the graphs of float32
models are torch's own. Decomposing in torch first, or an own translation for each operator, would need a list of
all operators that take a number; what is left of such a list, `translations`, is where torch's own goes by float32
or rounds a quotient.
"""

from __future__ import annotations

import dis
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import onnx_ir as ir
import torch
from onnxscript import opset18
from onnxscript.function_libs.torch_lib.ops.core import aten_arange_start_step, aten_remainder, aten_remainder_scalar
from torch.onnx._internal.exporter import _building

from odelet_export.capture.operators.float64 import FORMULAS

aten = torch.ops.aten
op: Any = opset18
DOUBLE = ir.DataType.DOUBLE


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
        for output, dtype in zip(outputs, _types(op_signature, named_inputs, attributes), strict=False):
            if dtype is not None and output.dtype is None:
                output.dtype = dtype
        return outputs

    def _write(self, name: str, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
        """Other nodes for this one, or None where it is exact as it is."""
        if name in ("Cast", "CastLike"):
            number = _number(inputs[0])
            double = attributes["to"] == DOUBLE if name == "Cast" else _is_double(inputs[1])
            return op.Constant(value=ir.tensor(number, DOUBLE)) if double and number is not None else None
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
        if function.traceable or not _straight(function.function):
            return super().eval_function(function, args, kwargs)
        return function.function(*args, **kwargs)


def _straight(function: Callable[..., Any]) -> bool:
    """Whether a function means the same as Python as it does as ONNX script: it has no branches and no `==`."""
    return not any(
        step.opcode in (*dis.hasjrel, *dis.hasjabs) or (step.opname == "COMPARE_OP" and "==" in str(step.argval))
        for step in dis.get_instructions(function)
    )


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


def _types(signature: Any, inputs: Mapping[str, Any], attributes: Mapping[str, Any]) -> list[ir.DataType | None]:
    """The types of a node's outputs: those of a cast, and float64 where it follows from an input."""
    if signature.name == "Cast":
        return [ir.DataType(attributes["to"])]
    if signature.name == "Constant" and isinstance(attributes.get("value"), ir.TensorProtocol):
        return [attributes["value"].dtype]
    bound = {
        signature.params_map[name].type_constraint
        for name, value in inputs.items()
        if any(_is_double(v) for v in (value if isinstance(value, (list, tuple)) else [value]))
    }
    return [DOUBLE if output.type_constraint in bound else None for output in signature.outputs]


def celu(x: Any, alpha: float = 1.0) -> Any:
    """As torch's, but without a way through float32."""
    return op.Celu(x, alpha=alpha)


def arange(start: Any, end: Any, step: Any = 1, dtype: int = -1, **where: Any) -> Any:
    """As torch's, whose float64 steps are made in float32; ONNX Runtime's Range adds up, torch multiplies."""
    if dtype != DOUBLE:
        return aten_arange_start_step(start, end, step, dtype=dtype, **where)
    start, end, step = (op.Cast(value, to=DOUBLE) for value in (start, end, step))
    count = op.Cast(op.Ceil(op.Div(op.Sub(end, start), step)), to=ir.DataType.INT64)
    return op.Add(op.Mul(op.Cast(op.Range(0, count, 1), to=DOUBLE), step), start)


def remainder(x: Any, y: Any) -> Any:
    """Of float64 what is left of the true quotient; torch's subtracts a rounded one, and is a whole y off at jumps."""
    number = isinstance(y, (int, float))
    if not _is_double(x):
        return aten_remainder_scalar(x, y) if number else aten_remainder(x, y)
    y = op.Constant(value=ir.tensor(float(y), DOUBLE)) if number else y
    rest = op.Mod(x, y, fmod=1)
    return op.Where(op.Less(op.Mul(op.Sign(rest), op.Sign(y)), 0.0), op.Add(rest, y), rest)


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Whole operators that torch translates with a loss of its own."""
    return {
        aten.celu.default: celu,
        aten.arange.start_step: arange,
        aten.remainder.Scalar: remainder,
        aten.remainder.Tensor: remainder,
    }


@contextmanager
def exact_float64() -> Iterator[dict[Callable[..., Any], Callable[..., Any]]]:
    """Make torch's translation exact for float64; gives the table to hand to it. Undone afterwards, also on error."""
    torchs = _building.OpRecorder
    _building.OpRecorder = Recorder  # type: ignore[misc]
    try:
        yield translations()
    finally:
        _building.OpRecorder = torchs  # type: ignore[misc]
