"""Norms, losses and other functions of torch in plain operators, where their settings are tensors: `eps`, `beta`, `dx`.

Each function takes the arguments of torch's by their names. A setting is a tensor with one element, or a number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Formula(NamedTuple):
    """A function of torch. compute: its result, of all arguments by name. names: its arguments in their order, of which
    the first is the tensor whose dtype the settings have. scalars: the settings, with their defaults."""

    compute: Callable[..., Tensor]
    names: tuple[str, ...]
    scalars: Mapping[str, Any]


def _logit(input: Tensor, eps: Any) -> Tensor:
    x = input.clamp(eps, 1 - eps)
    return (x / (1 - x)).log()


def _spaced(integral: Callable[..., Tensor]) -> Formula:
    """An integral along an axis, of values at equal distances dx."""

    def compute(y: Tensor, dx: Any, x: Tensor | None = None, dim: int = -1) -> Tensor:
        return integral(y, dim=dim) * dx if x is None else integral(y, x, dim=dim)

    return Formula(compute, ("y", "x"), {"dx": 1.0})


def _attention(query: Tensor, key: Tensor, value: Tensor, scale: Any, **rest: Any) -> Tensor:
    return F.scaled_dot_product_attention(query * scale, key, value, scale=1.0, **rest)


def _cosine(x1: Tensor, x2: Tensor, eps: Any, dim: int = 1) -> Tensor:
    first, second = (x / x.norm(dim=dim, keepdim=True).clamp(min=eps) for x in (x1, x2))
    return (first * second).sum(dim)


def _distance(x1: Tensor, x2: Tensor, p: Any, eps: Any, keepdim: bool = False) -> Tensor:
    return (x1 - x2 + eps).norm(p, dim=-1, keepdim=keepdim)


def _layer_norm(
    input: Tensor, normalized_shape: Sequence[int], eps: Any, weight: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    return _weighted(_centred(input, tuple(range(-len(normalized_shape), 0)), eps), weight, bias)


def _rms_norm(input: Tensor, normalized_shape: Sequence[int], eps: Any, weight: Tensor | None = None) -> Tensor:
    axes = tuple(range(-len(normalized_shape), 0))
    return _weighted(input / (input.square().mean(axes, keepdim=True) + eps).sqrt(), weight, None)


def _group_norm(
    input: Tensor, num_groups: int, eps: Any, weight: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    grouped = input.unflatten(1, (num_groups, -1))
    result = _centred(grouped, tuple(range(2, grouped.ndim)), eps).flatten(1, 2)
    return _weighted(result, *(_channels(x, input) for x in (weight, bias)))


def _instance_norm(
    input: Tensor,
    eps: Any,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    cudnn_enabled: bool = True,
) -> Tensor:
    if not use_input_stats:
        return _batch_norm(input, running_mean, running_var, eps, weight, bias)
    return _weighted(_centred(input, tuple(range(2, input.ndim)), eps), *(_channels(x, input) for x in (weight, bias)))


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    eps: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
) -> Tensor:
    if training or running_mean is None or running_var is None:
        axes = (0, *range(2, input.ndim))
        result = _centred(input, axes, eps)
    else:
        mean, variance = (x.reshape(-1, *[1] * (input.ndim - 2)) for x in (running_mean, running_var))
        result = (input - mean) / (variance + eps).sqrt()
    return _weighted(result, *(_channels(x, input) for x in (weight, bias)))


def _centred(x: Tensor, axes: tuple[int, ...], eps: Any) -> Tensor:
    centred = x - x.mean(axes, keepdim=True)
    return centred / (centred.square().mean(axes, keepdim=True) + eps).sqrt()


def _channels(x: Tensor | None, input: Tensor) -> Tensor | None:
    """Numbers for channels, in a shape that fits the axis of channels."""
    return x if x is None else x.reshape(-1, *[1] * (input.ndim - 2))


def _weighted(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def _reduced(loss: Tensor, reduction: str) -> Tensor:
    return loss if reduction == "none" else loss.mean() if reduction == "mean" else loss.sum()


def _smooth_l1(input: Tensor, target: Tensor, beta: Any, reduction: str = "mean", **_: Any) -> Tensor:
    size = (input - target).abs()
    positive = torch.where(beta > 0, beta, 1.0)
    return _reduced(torch.where(size < beta, 0.5 * size * size / positive, size - 0.5 * beta), reduction)


def _huber(input: Tensor, target: Tensor, delta: Any, reduction: str = "mean", weight: Tensor | None = None) -> Tensor:
    size = (input - target).abs()
    loss = torch.where(size <= delta, 0.5 * size * size, delta * (size - 0.5 * delta))
    return _reduced(loss if weight is None else loss * weight, reduction)


def _isclose(input: Tensor, other: Tensor, rtol: Any, atol: Any, equal_nan: bool = False) -> Tensor:
    close = (input == other) | ((input - other).abs() <= atol + rtol * other.abs()) & other.isfinite()
    return close | (input.isnan() & other.isnan()) if equal_nan else close


_ALPHA = {"alpha": 1}
FORMULAS: dict[str, Formula] = {
    "logit": Formula(_logit, ("input", "eps"), {"eps": None}),
    "special_logit": Formula(_logit, ("input", "eps"), {"eps": None}),
    "trapezoid": _spaced(torch.trapezoid),
    "trapz": _spaced(torch.trapezoid),
    "cumulative_trapezoid": _spaced(torch.cumulative_trapezoid),
    "scaled_dot_product_attention": Formula(
        _attention,
        ("query", "key", "value", "attn_mask", "dropout_p", "is_causal"),
        {"scale": None},
    ),
    "cosine_similarity": Formula(_cosine, ("x1", "x2", "dim", "eps"), {"eps": 1e-8}),
    "pairwise_distance": Formula(_distance, ("x1", "x2", "p", "eps", "keepdim"), {"p": 2.0, "eps": 1e-6}),
    "layer_norm": Formula(_layer_norm, ("input", "normalized_shape", "weight", "bias", "eps"), {"eps": 1e-5}),
    "rms_norm": Formula(_rms_norm, ("input", "normalized_shape", "weight", "eps"), {"eps": None}),
    "group_norm": Formula(_group_norm, ("input", "num_groups", "weight", "bias", "eps"), {"eps": 1e-5}),
    "instance_norm": Formula(
        _instance_norm,
        ("input", "running_mean", "running_var", "weight", "bias", "use_input_stats", "momentum", "eps"),
        {"eps": 1e-5},
    ),
    "batch_norm": Formula(
        _batch_norm,
        ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"),
        {"eps": 1e-5},
    ),
    "smooth_l1_loss": Formula(
        _smooth_l1, ("input", "target", "size_average", "reduce", "reduction", "beta"), {"beta": 1.0}
    ),
    "huber_loss": Formula(_huber, ("input", "target", "reduction", "delta", "weight"), {"delta": 1.0}),
    **{
        name: Formula(
            lambda input, threshold, value: torch.where(input <= threshold, value, input),
            ("input", "threshold", "value", "inplace"),
            {"threshold": None, "value": None},
        )
        for name in ("threshold", "_threshold")  # the second one is the name of F.threshold
    },
    "isclose": Formula(_isclose, ("input", "other", "rtol", "atol", "equal_nan"), {"rtol": 1e-5, "atol": 1e-8}),
    "add": Formula(lambda input, other, alpha: input + alpha * other, ("input", "other"), _ALPHA),
    **{
        name: Formula(lambda input, other, alpha: input - alpha * other, ("input", "other"), _ALPHA)
        for name in ("sub", "subtract")
    },
    "rsub": Formula(lambda input, other, alpha: other - alpha * input, ("input", "other"), _ALPHA),
}
