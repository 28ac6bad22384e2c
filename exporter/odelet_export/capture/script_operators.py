"""The functions behind nodes of TorchScript graphs that are no operators of torch: Python's own, on numbers and lists.

Each takes the node's inputs in order. In a trace, numbers may be symbols for sizes.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch

Function = Callable[..., Any]

# TorchScript has dtypes as numbers, which are places in this row of torch's.
_DTYPES = (
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.float32, torch.float64),
    *(torch.complex32, torch.complex64, torch.complex128, torch.bool),
    *(torch.qint8, torch.quint8, torch.qint32, torch.bfloat16),
)


def _same(value: Any) -> Any:
    return value


def _slice(values: Any, start: Any, end: Any, step: Any) -> Any:
    return values[slice(start, end, step)]


def _append(values: list[Any], value: Any) -> list[Any]:
    values.append(value)
    return values


def _number(value: Any, kind: Callable[[Any], Any]) -> Any:
    """A tensor as a number; a number, or a symbol for one, as it is."""
    return kind(value) if isinstance(value, torch.Tensor) else value


def _tensor(data: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> torch.Tensor:
    del requires_grad
    return torch.tensor(data, dtype=_DTYPES[dtype] if isinstance(dtype, int) else dtype, device=device)


def _range_length(low: Any, high: Any, step: Any) -> Any:
    return (high - low + step - (1 if step > 0 else -1)) // step


# Functions that stand for a kind of node whatever its inputs are.
FUNCTIONS: dict[str, Function] = {
    "prim::unchecked_cast": _same,
    "prim::unchecked_unwrap_optional": _same,
    "prim::NumToTensor": _same,  # a size stays a number, and a symbol a symbol
    "prim::TupleIndex": lambda values, index: values[index],
    "prim::dtype": lambda x: _DTYPES.index(x.dtype),
    "prim::device": lambda x: x.device,
    "prim::is_cuda": lambda x: x.is_cuda,
    "prim::requires_grad": lambda x: x.requires_grad,
    "prim::shape": lambda x: list(x.shape),
    "prim::data": lambda x: x.data,
    "prim::min": min,
    "prim::max": max,
    "aten::size": lambda x, *axis: x.shape[axis[0]] if axis else list(x.shape),
    "aten::dim": lambda x: x.dim(),
    "aten::numel": lambda x: x.numel(),
    "aten::len": lambda x: x.shape[0] if isinstance(x, torch.Tensor) else len(x),
    "aten::Int": lambda x: _number(x, int),
    "aten::IntImplicit": lambda x: _number(x, int),
    "aten::Float": lambda x: _number(x, float),
    "aten::FloatImplicit": lambda x: _number(x, float),
    "aten::ScalarImplicit": lambda x: _number(x, lambda tensor: tensor.item()),
    "aten::Bool": bool,
    "aten::__is__": operator.is_,
    "aten::__isnot__": operator.is_not,
    "aten::__not__": operator.not_,
    "aten::is_floating_point": lambda x: x.is_floating_point(),
    "aten::tensor": _tensor,
    "aten::format": lambda text, *values: text.format(*values),
    "aten::append": _append,
    "aten::__range_length": _range_length,
    "aten::__derive_index": lambda index, start, step: start + index * step,
}

# Functions of numbers, lists, texts and dicts; the same names with a tensor among the inputs are operators of torch.
SCALAR_FUNCTIONS: dict[str, Function] = {
    "add": lambda a, b, *alpha: a + b,
    "sub": lambda a, b, *alpha: a - b,
    "mul": operator.mul,
    "div": lambda a, b, *rounding: a // b if rounding and rounding[0] == "floor" else a / b,
    "floordiv": operator.floordiv,
    "floor_divide": operator.floordiv,
    "remainder": operator.mod,
    "pow": operator.pow,
    "neg": operator.neg,
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "__and__": operator.and_,
    "__or__": operator.or_,
    "__getitem__": operator.getitem,
    "__contains__": operator.contains,
    "slice": _slice,
    "list": list,
    "keys": list,
    "values": lambda mapping: list(mapping.values()),
    "items": lambda mapping: list(mapping.items()),
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log": math.log,
    "sin": math.sin,
    "cos": math.cos,
    "tanh": math.tanh,
    "floor": math.floor,
    "ceil": math.ceil,
    "abs": abs,
    "str": str,
}
