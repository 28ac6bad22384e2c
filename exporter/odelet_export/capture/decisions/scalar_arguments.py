"""Operators that take a Python number beside their tensors, as `F.pad(y, (0, 1), value=t)`, where the number is traced.

torch reads such an argument off a tensor as a number, which a trace does not have. Plain operators compute the same
with the tensor itself. As other rewrites do, these return a function that computes the result, or None for a call that
can be traced as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from odelet_export.capture.decisions.indexing import Numbers, Rewrite, Rewritten
from odelet_export.capture.decisions.scalar_formulas import FORMULAS, Formula


def _rewrite(operator: Formula, *, in_place: bool) -> Rewrite:
    """The rewrite of an operator where a number among its arguments is a tensor."""

    def rewrite(args: Sequence[Any], kwargs: Mapping[str, Any], _: Numbers) -> Rewritten:
        given = {**operator.scalars, **dict(zip(operator.names, args, strict=False)), **kwargs}
        x = given.get(operator.names[0])
        traced = [name for name in operator.scalars if isinstance(given[name], Tensor) and given[name].ndim == 0]
        unknown = len(args) > len(operator.names) or given.get("out") is not None
        if unknown or not traced or not isinstance(x, Tensor) or not x.is_floating_point():
            return None
        write = given.pop("inplace", False) or in_place
        given.pop("out", None)

        def compute() -> Tensor:
            # A number has the dtype of the tensor that it is an argument beside.
            result = operator.compute(**{**given, **{name: given[name].to(x.dtype) for name in traced}})
            return x.copy_(result) if write else result

        return compute

    return rewrite


def _pad(input: Tensor, pad: Sequence[int], value: Any, mode: str = "constant") -> Tensor:
    if mode != "constant":
        return F.pad(input, pad, mode, 1.0)  # torch refuses a value here, with its own message
    return torch.where(F.pad(torch.ones_like(input), pad) > 0, F.pad(input, pad), value)


def _hardtanh(input: Tensor, min_val: Any, max_val: Any) -> Tensor:
    """NaN where the bounds are not in order, for which torch raises an error."""
    low, high = (torch.zeros_like(input) + bound for bound in (min_val, max_val))
    return torch.where(low <= high, input.clamp(low, high), torch.nan)


def _softplus(input: Tensor, beta: Any, threshold: Any) -> Tensor:
    scaled = input * beta
    curve = scaled.clamp(max=threshold).exp().log1p() / beta
    return torch.where(scaled > threshold, input, curve)


def _celu(input: Tensor, alpha: Any) -> Tensor:
    return torch.where(input > 0, input, alpha * (input.clamp(max=0) / alpha).expm1())


def _softshrink(input: Tensor, lambd: Any) -> Tensor:
    """NaN where the number is negative, for which torch raises an error."""
    inside = torch.where(input < -lambd, input + lambd, input * 0)
    return torch.where(lambd >= 0, torch.where(input > lambd, input - lambd, inside), torch.nan)


def _nan_to_num(input: Tensor, nan: Any, posinf: Any, neginf: Any) -> Tensor:
    limits = torch.finfo(input.dtype)
    ends = {torch.inf: limits.max if posinf is None else posinf, -torch.inf: limits.min if neginf is None else neginf}
    result = torch.where(input.isnan(), 0.0 if nan is None else nan, input)
    for infinite, number in ends.items():
        result = torch.where(input == infinite, number, result)
    return result


def _normalize(input: Tensor, eps: Any, p: Any = 2.0, dim: Any = 1) -> Tensor:
    return input / input.norm(p, dim, keepdim=True).clamp(min=eps)


def _sum_with(product: Callable[[Any, Any], Tensor]) -> Callable[..., Tensor]:
    """beta times a tensor plus alpha times a product of two others. The tensor is not read where beta is 0."""

    def compute(input: Tensor, left: Tensor, right: Tensor, beta: Any, alpha: Any) -> Tensor:
        factor = beta if isinstance(beta, Tensor) else torch.full((), beta, dtype=input.dtype)
        return torch.where(factor == 0, 0.0, factor * input) + alpha * product(left, right)

    return compute


def _sum_of(product: Callable[[Any, Any], Tensor], left: str, right: str) -> Formula:
    compute = _sum_with(product)

    def named(**given: Any) -> Tensor:
        return compute(given["input"], given[left], given[right], given["beta"], given["alpha"])

    return Formula(named, ("input", left, right), {"beta": 1, "alpha": 1})


_FORMULAS = {
    **FORMULAS,
    "pad": Formula(_pad, ("input", "pad", "mode", "value"), {"value": 0.0}),
    "constant_pad_nd": Formula(_pad, ("input", "pad", "value"), {"value": 0.0}),
    "hardtanh": Formula(_hardtanh, ("input", "min_val", "max_val", "inplace"), {"min_val": -1.0, "max_val": 1.0}),
    "leaky_relu": Formula(
        lambda input, negative_slope: torch.where(input > 0, input, input * negative_slope),
        ("input", "negative_slope", "inplace"),
        {"negative_slope": 0.01},
    ),
    "softplus": Formula(_softplus, ("input", "beta", "threshold"), {"beta": 1.0, "threshold": 20.0}),
    "elu": Formula(
        lambda input, alpha: torch.where(input > 0, input, alpha * input.clamp(max=0).expm1()),
        ("input", "alpha", "inplace"),
        {"alpha": 1.0},
    ),
    "celu": Formula(_celu, ("input", "alpha", "inplace"), {"alpha": 1.0}),
    "softshrink": Formula(_softshrink, ("input", "lambd"), {"lambd": 0.5}),
    "hardshrink": Formula(
        lambda input, lambd: torch.where((input >= -lambd) & (input <= lambd), 0.0, input),
        ("input", "lambd"),
        {"lambd": 0.5},
    ),
    "addcmul": Formula(
        lambda input, tensor1, tensor2, value: input + value * tensor1 * tensor2,
        ("input", "tensor1", "tensor2"),
        {"value": 1},
    ),
    "addcdiv": Formula(
        lambda input, tensor1, tensor2, value: input + value * tensor1 / tensor2,
        ("input", "tensor1", "tensor2"),
        {"value": 1},
    ),
    "addmm": _sum_of(torch.matmul, "mat1", "mat2"),
    "addmv": _sum_of(torch.matmul, "mat", "vec"),
    "addr": _sum_of(torch.outer, "vec1", "vec2"),
    "baddbmm": _sum_of(torch.matmul, "batch1", "batch2"),
    "addbmm": _sum_of(lambda left, right: (left @ right).sum(0), "batch1", "batch2"),
    "nan_to_num": Formula(
        _nan_to_num, ("input", "nan", "posinf", "neginf"), {"nan": None, "posinf": None, "neginf": None}
    ),
    "normalize": Formula(_normalize, ("input", "p", "dim", "eps"), {"eps": 1e-12}),
}

# The rewrites by the names of torch's functions, also of those that write into their first argument.
SCALAR_ARGUMENTS: dict[str, Rewrite] = {
    name + ending: _rewrite(operator, in_place=ending == "_")
    for name, operator in _FORMULAS.items()
    for ending in ("", "_")
}
