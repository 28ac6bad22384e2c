"""Calls of torch that a tracer cannot follow where their numbers are traced tensors, in other operators.

Tensors made of numbers, elements at a traced index, places in a table, products with a sparse matrix: plain operators
compute each of them. A rewrite takes the arguments of a call and returns a function that computes the result, or None
where the call can be traced as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from odelet_export.capture.decisions.example_values import real
from odelet_export.capture.decisions.indexing import (
    Numbers,
    Rewrite,
    Rewritten,
    assignment_at,
    element_at,
    is_whole_number,
)
from odelet_export.capture.decisions.least_squares import least_squares
from odelet_export.capture.decisions.scalar_arguments import SCALAR_ARGUMENTS
from odelet_export.capture.sizes.composites import COMPOSITES
from odelet_export.capture.sizes.elements import element_at_size
from odelet_export.capture.sizes.gradient import gradient
from odelet_export.capture.sizes.lists import Repeated, tensor_of_repeated
from odelet_export.capture.sizes.packing import PACKING, first_count, refuse_other_functions
from odelet_export.capture.sizes.repeating import repeated
from odelet_export.capture.sizes.splitting import chunked, split
from odelet_export.model.trees import row_leaves


def rewritten(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], numbers: Numbers) -> Rewritten:
    """A function that computes a call in other operators; None where the call is to be traced as it is.

    name: the name of the torch function that is called.
    """
    refuse_other_functions(name, args)
    rewrite = _REWRITES.get(name)
    return None if rewrite is None else rewrite(args, kwargs, numbers)


def _tensor_of_numbers(args: Sequence[Any], kwargs: Mapping[str, Any], numbers: Numbers) -> Rewritten:
    """A rewrite of torch.tensor([a, t]) with a traced t or the size of a dynamic axis, which stacks the numbers."""
    data = args[0] if args else kwargs.get("data")
    if isinstance(data, Repeated):
        return lambda: tensor_of_repeated(data, kwargs)
    symbolic = any(isinstance(leaf, (torch.Tensor, torch.SymInt, torch.SymFloat)) for leaf in row_leaves(data))
    if not symbolic or (isinstance(data, torch.Tensor) and not numbers.is_number(data)):
        return None
    dtype = kwargs.get("dtype") or _inferred_dtype(data, numbers)
    return lambda: _stacked(data, dtype).to(device=kwargs.get("device"))


def _new_tensor(args: Sequence[Any], kwargs: Mapping[str, Any], numbers: Numbers) -> Rewritten:
    """A rewrite of x.new_tensor([a, t]) with a traced t, which stacks the numbers in the dtype of x."""
    return _tensor_of_numbers(args[1:], {"dtype": args[0].dtype, **kwargs}, numbers)


def _inferred_dtype(data: Any, numbers: Numbers) -> torch.dtype:
    """The dtype that torch.tensor gives to numbers: tensors keep theirs, Python numbers get the default of their
    kind, and so do the tensors that stand for them."""
    kinds = {bool: torch.bool, int: torch.int64, float: torch.get_default_dtype()}
    kinds |= {torch.SymInt: torch.int64, torch.SymFloat: torch.get_default_dtype(), torch.SymBool: torch.bool}
    dtype = torch.bool
    for number in row_leaves(data):
        is_tensor = isinstance(number, torch.Tensor) and not (numbers.is_number(number) and number.is_floating_point())
        number_dtype = number.dtype if is_tensor else kinds.get(type(number), torch.get_default_dtype())
        dtype = torch.promote_types(dtype, number_dtype)
    return dtype


def _stacked(data: Any, dtype: torch.dtype) -> torch.Tensor:
    """Nested lists of numbers as one tensor of a dtype."""
    if isinstance(data, (list, tuple)):
        return torch.stack([_stacked(part, dtype) for part in data])
    return data.to(dtype, copy=True) if isinstance(data, torch.Tensor) else torch.full((), data, dtype=dtype)


def _named(args: Sequence[Any], kwargs: Mapping[str, Any], *names: str) -> list[Any]:
    """The first arguments of a call, given in their order or by these names; None for one that is not given."""
    return [args[place] if place < len(args) else kwargs.get(name) for place, name in enumerate(names)]


def _bucketize(args: Sequence[Any], kwargs: Mapping[str, Any], _: Numbers) -> Rewritten:
    """A rewrite of torch.bucketize: for each value the number of boundaries before it."""
    values, boundaries = _named(args, kwargs, "input", "boundaries")
    return _count_before(boundaries, values, right=kwargs.get("right", False), int32=kwargs.get("out_int32", False))


def _searchsorted(args: Sequence[Any], kwargs: Mapping[str, Any], _: Numbers) -> Rewritten:
    """A rewrite of torch.searchsorted: for each value the number of elements before it in the table, or in its row."""
    table, values = _named(args, {"input": kwargs.get("self"), **kwargs}, "sorted_sequence", "input")
    if kwargs.get("sorter") is not None:
        return None
    right = kwargs.get("right", False) or kwargs.get("side") == "right"
    return _count_before(table, values, right=right, int32=kwargs.get("out_int32", False))


def _count_before(table: torch.Tensor, values: Any, *, right: bool, int32: bool) -> Rewritten:
    """The number of elements of a sorted table (size,) or (*rows, size) that are less than each value; right: less than
    or equal to it."""

    def count() -> torch.Tensor:
        x = torch.as_tensor(values).unsqueeze(-1)
        rows = table if table.ndim == 1 else table.unsqueeze(-2)
        before = rows <= x if right else rows < x
        return before.sum(-1).to(torch.int32 if int32 else torch.int64)

    return count


def _sparse_product(args: Sequence[Any], kwargs: Mapping[str, Any], numbers: Numbers) -> Rewritten:
    """A rewrite of a constant sparse matrix times a dense x, which gathers the rows of x, multiplies them by the
    entries, and adds them up."""
    matrix, x = _named(
        args, kwargs, "input", next((name for name in ("mat2", "vec", "mat") if name in kwargs), "other")
    )
    if not isinstance(matrix, torch.Tensor) or matrix.layout is torch.strided:
        return None
    constant = numbers.constant(matrix)
    if constant is None or len(args) > 2:
        return None
    with real():
        coo = constant.to_sparse_coo().coalesce()
        (rows, columns), weights, count = coo.indices().clone(), coo.values().clone(), coo.shape[0]

    def multiply() -> torch.Tensor:
        dense = x if x.ndim == 2 else x.unsqueeze(1)
        terms = dense.index_select(0, columns) * weights.unsqueeze(1)
        total = torch.zeros(count, dense.shape[1], dtype=terms.dtype).index_add(0, rows, terms)
        return total if x.ndim == 2 else total.squeeze(1)

    return multiply


def _linspace(args: Sequence[Any], kwargs: Mapping[str, Any], _: Numbers) -> Rewritten:
    """A rewrite of torch.linspace between traced ends, or with as many numbers as an axis has.

    Like torch's function, it counts the first half of the numbers from the start and the others from the end.
    """
    start, end, steps = _named(args, kwargs, "start", "end", "steps")
    ends = [x for x in (start, end) if isinstance(x, (torch.Tensor, torch.SymInt, torch.SymFloat))]
    dtype = kwargs.get("dtype") or torch.get_default_dtype()
    if isinstance(steps, torch.Tensor) or (not ends and isinstance(steps, int)):
        return None

    def space() -> torch.Tensor:
        first, last = (_stacked(x, dtype).reshape(()) for x in (start, end))
        place = torch.arange(steps, dtype=dtype)
        gaps = torch.ones(steps, dtype=dtype).sum() - 1  # a tensor, as `steps` may be the size of a dynamic axis
        step = (last - first) / gaps.clamp(min=1)
        early = place < ((gaps + 1) / 2).floor().clamp(min=1)
        return torch.where(early, first + step * place, last - step * (gaps - place))

    return space


def _full(args: Sequence[Any], kwargs: Mapping[str, Any], _: Numbers) -> Rewritten:
    """A rewrite of torch.full and torch.full_like with a traced number, which expands the number."""
    size, value = _named(args, {"size": kwargs.get("input"), **kwargs}, "size", "fill_value")
    if not isinstance(value, torch.Tensor):
        return None
    if isinstance(size, torch.Tensor):  # torch.full_like passes a tensor in its place
        return lambda: value.reshape(()).to(kwargs.get("dtype") or size.dtype).expand(size.shape).clone()
    inferred = torch.get_default_dtype() if value.is_floating_point() else value.dtype
    return lambda: value.reshape(()).to(kwargs.get("dtype") or inferred).expand(size).clone()


# The functions that take sizes, each with the number of arguments that come before.
_SIZED = dict.fromkeys(("zeros", "ones", "empty", "eye", "arange", "randn", "rand"), 0)
_SIZED |= dict.fromkeys(("linspace", "logspace"), 2)
_SIZED |= dict.fromkeys(("new_zeros", "new_ones", "new_full", "new_empty", "view", "reshape", "expand", "repeat"), 1)
_SIZED |= dict.fromkeys(
    ("split", "chunk", "narrow", "unflatten", "tile", "broadcast_to", "roll", "unfold", "one_hot", "pad"), 1
)

# The keywords of arguments that are sizes.
_SIZES = ("size", "steps", "shape", "length", "dims", "num_classes", "pad")


def sized(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any], numbers: Numbers
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """The arguments of a call with ints in place of the 0-d tensors among its sizes.

    Raises CaptureError for a size that is no constant.
    """
    if name not in _SIZED:
        return args, kwargs
    first = _SIZED[name]

    def concrete(x: Any) -> Any:
        if isinstance(x, (tuple, list)) and any(is_whole_number(part) for part in x):
            return [concrete(part) for part in x]
        return numbers.as_int(x) if is_whole_number(x) else x

    rest = [concrete(x) for x in args[first:]]
    return (*args[:first], *rest), {key: concrete(x) if key in _SIZES else x for key, x in kwargs.items()}


_REWRITES: dict[str, Rewrite] = {
    "tensor": _tensor_of_numbers,
    "as_tensor": _tensor_of_numbers,
    "asarray": _tensor_of_numbers,
    "new_tensor": _new_tensor,
    "__getitem__": lambda *call: element_at_size(*call) or first_count(*call) or element_at(*call),
    "__setitem__": assignment_at,
    # Tensor.__iter__ would hide its parts from the watch.
    "__iter__": lambda args, *_: lambda: iter(args[0].unbind(0)),
    "gradient": gradient,
    **COMPOSITES,
    **PACKING,
    **SCALAR_ARGUMENTS,
    "repeat_interleave": repeated,
    "linalg_lstsq": least_squares,
    "bucketize": _bucketize,
    "searchsorted": _searchsorted,
    "linspace": _linspace,
    "full": _full,
    "full_like": _full,
    **dict.fromkeys(("chunk", "unsafe_chunk"), chunked),
    **dict.fromkeys(("split", "unsafe_split"), split),
    **dict.fromkeys(("mm", "matmul", "spmm", "_sparse_mm", "__matmul__", "mv"), _sparse_product),
}


@contextmanager
def legacy_constructor() -> Iterator[None]:
    """Let torch.Tensor([a, t]) call torch.tensor, whose rewrite stacks the numbers.

    The constructor of the class is no torch function that a mode sees; it asks each traced tensor for its value.
    """
    original = torch.Tensor.__new__

    def new(cls: Any, *args: Any, **kwargs: Any) -> Any:
        data = args[0] if args else None
        traced = isinstance(data, Repeated) or (
            isinstance(data, (list, tuple)) and any(isinstance(part, torch.Tensor) for part in row_leaves(data))
        )
        if cls is torch.Tensor and traced:
            return torch.tensor(data, dtype=torch.get_default_dtype())
        return original(cls, *args, **kwargs)

    torch.Tensor.__new__ = staticmethod(new)  # type: ignore[method-assign]  # there is no other way to intercept it
    try:
        yield
    finally:
        del torch.Tensor.__new__
