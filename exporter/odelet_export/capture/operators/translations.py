"""torch's translation to ONNX, made exact for float64: within `exact_float64`, no number passes through float32.

torch's own translation loses digits in four ways. It makes a Python number float32, unless a tensor of known type
stands beside it, and casts afterwards. Within the translation of one operator types are unknown, so that numbers are
float32. Attributes of ONNX operators and functions are float32 by definition. And ONNX Runtime has no float64 kernel
for many operators.

In all four cases torch passes the node to one object, the recorder. During a translation, `Recorder` takes its place
and follows float64 through the nodes: it makes numbers float64 where they are cast to it, follows torch's functions
node by node in place of calling them with attributes, and writes operators of the last two kinds by `float64.FORMULAS`.
Nodes without float64 are recorded as by torch, so that the graphs of float32 models are torch's own.

Two other ways were rejected, decompositions before the translation and translations of our own for each operator: both
need a list of all operators that take a number. `translations` is what remains of such a list: operators where
torch's translation computes in float32 or rounds a quotient.
"""

from __future__ import annotations

import dis
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import onnx_ir as ir
import torch
from onnxscript.function_libs.torch_lib.ops.core import aten_arange_start_step
from torch.onnx._internal.exporter import _building, _core

from odelet_export.capture.operators import digits, remainders
from odelet_export.capture.operators.float64 import FORMULAS
from odelet_export.capture.operators.look_ups import look_ups
from odelet_export.capture.operators.opset import op

aten = torch.ops.aten
DOUBLE = ir.DataType.DOUBLE


class Recorder(_building.OpRecorder):
    """torch's recorder of nodes, which records nodes of float64 values without loss of digits."""

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
        """The output of other nodes in place of an operator's, or None where the operator is exact.

        inputs: values and Python numbers. attributes: the operator's attributes by name.
        """
        if name in ("Cast", "CastLike"):
            number = _number(inputs[0])
            double = attributes["to"] == DOUBLE if name == "Cast" else _is_double(inputs[1])
            return op.Constant(value=ir.tensor(number, DOUBLE)) if double and number is not None else None
        if name == "Log" and isinstance(inputs[0], float):
            return op.Constant(value_float=math.log(inputs[0]))
        formula = FORMULAS.get(name)
        return formula(*inputs, **attributes) if formula is not None and _is_double(inputs[0]) else None

    def eval_function(self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The outputs of a function of torch's translation, called as Python where a value is float64.

        Then its numbers are inputs of nodes, not attributes, which would be float32.
        """
        if not any(_is_double(value) for value in (*args, *kwargs.values())):
            return super().eval_function(function, args, kwargs)
        formula = FORMULAS.get(function.name)
        if formula is not None:
            return formula(*args, **kwargs)
        if function.traceable or not _straight(function.function):
            return super().eval_function(function, args, kwargs)
        return function.function(*args, **kwargs)


def _straight(function: Callable[..., Any]) -> bool:
    """Whether a function computes the same as Python and as ONNX script: it has no jumps and no `==`."""
    return not any(
        step.opcode in (*dis.hasjrel, *dis.hasjabs) or (step.opname == "COMPARE_OP" and "==" in str(step.argval))
        for step in dis.get_instructions(function)
    )


def _is_double(value: object) -> bool:
    """Whether a value of the graph is float64."""
    return isinstance(value, ir.Value) and value.dtype == DOUBLE


def _number(value: object) -> float | list[float] | None:
    """The Python number, or the list of numbers, of a constant; None for any other value."""
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
    """The types of a node's outputs, as far as they follow from a cast, a constant or a float64 input."""
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
    """aten.celu as one operator; torch's translation goes through float32."""
    return op.Celu(x, alpha=alpha)


def arange(start: Any, end: Any, step: Any = 1, dtype: int = -1, **where: Any) -> Any:
    """aten.arange; in float64 as start + i step, like torch itself.

    torch's translation makes the step in float32, and ONNX Runtime's Range adds it up.
    """
    if dtype != DOUBLE:
        return aten_arange_start_step(start, end, step, dtype=dtype, **where)
    start, end, step = (op.Cast(value, to=DOUBLE) for value in (start, end, step))
    count = op.Cast(op.Ceil(op.Div(op.Sub(end, start), step)), to=ir.DataType.INT64)
    return op.Add(op.Mul(op.Cast(op.Range(0, count, 1), to=DOUBLE), step), start)


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Translations for operators whose own translations in torch lose digits by their formulas, or an error that torch
    raises, by operator.

    torch reads from the annotations of a translation which parameters are attributes; parameters for values are Any.
    """
    return {
        aten.celu.default: celu,
        aten.arange.start_step: arange,
        **digits.TRANSLATIONS,
        **remainders.TRANSLATIONS,
        **look_ups(),
    }


@contextmanager
def exact_float64() -> Iterator[dict[Callable[..., Any], Callable[..., Any]]]:
    """Make torch's translation exact for float64, until the block is left; yields its custom translation table."""
    torchs_recorder, torchs_types = _building.OpRecorder, _core._set_shape_type

    def set_type(value: ir.Value, meta_val: Any, complex_to_float: bool) -> None:
        # torch adds the axis of the parts of a complex tensor to its shape only where no type is known.
        if complex_to_float and isinstance(meta_val, torch.Tensor) and meta_val.is_complex():
            value.type = None
        torchs_types(value, meta_val, complex_to_float)

    _building.OpRecorder = Recorder  # type: ignore[misc]  # torch has no option for another recorder
    _core._set_shape_type = set_type
    try:
        yield translations()
    finally:
        _building.OpRecorder = torchs_recorder  # type: ignore[misc]  # as above
        _core._set_shape_type = torchs_types
