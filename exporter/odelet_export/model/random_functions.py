"""torch's random functions, each as arithmetic on standard normal numbers or on uniform numbers from 0 up to 1.

The arithmetic gives exactly the distribution of torch's function. A function that cannot be written so is refused by
name. `DRAWS` and `REFUSED` are the rosters.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

BaseDraw = Callable[[str, Sequence[Any], torch.dtype], Tensor]
# The number of bits that a uniform number keeps in a dtype of few digits, so that no number is rounded to 1.
_BITS = {torch.float16: 11, torch.bfloat16: 8}


@dataclass(frozen=True)
class Base:
    """Base draws of a shape and a floating-point dtype. draw: makes them in float32 and float64."""

    draw: BaseDraw

    def normal(self, shape: Sequence[Any], dtype: torch.dtype) -> Tensor:
        """Standard normal numbers."""
        return self.draw("normal", shape, _wide(dtype)).to(dtype)

    def uniform(self, shape: Sequence[Any], dtype: torch.dtype) -> Tensor:
        """Uniform numbers from 0 up to 1; 1 itself never occurs."""
        u = self.draw("uniform", shape, _wide(dtype))
        bits = _BITS.get(dtype)
        return u if bits is None else (torch.floor(u * 2**bits) / 2**bits).to(dtype)

    def exponential(self, shape: Sequence[Any], dtype: torch.dtype) -> Tensor:
        """Exponential numbers of rate 1, above 0 as torch's are. They are -log(1 - u), in which 1 - u is exact."""
        return (-torch.log(1 - self.uniform(shape, dtype))).clamp(min=torch.finfo(dtype).eps / 2)

    def whole(self, low: Any, high: Any, shape: Sequence[Any]) -> Tensor:
        """Whole numbers from low up to high - 1, as float64, whose 53 bits are enough for any range that matters."""
        return torch.floor(self.uniform(shape, torch.float64) * (high - low)) + low


def _wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype of the base draws for numbers of a dtype."""
    return torch.float32 if dtype in _BITS else dtype


@dataclass(frozen=True)
class _Function:
    """A random function of torch as arithmetic.

    compute: takes a Base, then the arguments of torch's function. draws: tells whether a call with some arguments draws
    numbers.
    """

    compute: Callable[..., Tensor]
    draws: Callable[..., bool] = lambda *_args, **_kwargs: True

    def __call__(self, base: Base, *args: Any, **kwargs: Any) -> Tensor:
        return self.compute(base, *args, **kwargs)


def _size(size: Sequence[Any]) -> list[Any]:
    """The sizes of a shape, given one by one or as one sequence; a tensor among them is read as a number."""
    sizes = size[0] if len(size) == 1 and isinstance(size[0], (tuple, list)) else size
    return [operator.index(n) if isinstance(n, Tensor) else n for n in sizes]


def _made(value: Tensor, requires_grad: bool) -> Tensor:
    """A drawn tensor, which requires a gradient where the call asks for that."""
    return value.detach().requires_grad_() if requires_grad else value


def _of_size(kind: str) -> Callable[..., Tensor]:
    """A function that draws numbers in a given shape, as torch.randn does. kind: the name of a Base method."""

    def compute(
        base: Base, *args: Any, size: Any = None, dtype: Any = None, requires_grad: bool = False, **_: Any
    ) -> Tensor:
        draw = getattr(base, kind)
        return _made(draw(_size(args if size is None else (size,)), dtype or torch.get_default_dtype()), requires_grad)

    return compute


def _like(kind: str) -> Callable[..., Tensor]:
    """A function that draws numbers in a tensor's shape, as torch.randn_like does. kind: the name of a Base method."""

    def compute(base: Base, x: Tensor, *, dtype: Any = None, requires_grad: bool = False, **_: Any) -> Tensor:
        return _made(getattr(base, kind)(list(x.shape), dtype or x.dtype), requires_grad)

    return compute


def _filled(compute: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A method that writes into a tensor what `compute` returns for the tensor's shape and dtype."""

    def fill(base: Base, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        with torch.no_grad():
            return x.copy_(compute(base, x, *args, **kwargs))

    return fill


def _float(x: Tensor) -> torch.dtype:
    """The dtype in which numbers that fill a tensor are computed."""
    return x.dtype if x.is_floating_point() else torch.get_default_dtype()


def _normal_in(base: Base, x: Tensor, mean: Any = 0.0, std: Any = 1.0) -> Tensor:
    return base.normal(list(x.shape), x.dtype) * std + mean


def _uniform_in(base: Base, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    # torch calls the arguments of uniform_ `from` and `to`; nn.init calls them `a` and `b`.
    names = dict(zip(("from", "to"), args, strict=False)) | kwargs
    low, high = names.get("from", names.get("a", 0.0)), names.get("to", names.get("b", 1.0))
    return base.uniform(list(x.shape), x.dtype) * (high - low) + low


def _exponential_in(base: Base, x: Tensor, lambd: Any = 1.0) -> Tensor:
    return base.exponential(list(x.shape), x.dtype) / lambd


def _log_normal_in(base: Base, x: Tensor, mean: Any = 1.0, std: Any = 2.0) -> Tensor:
    return torch.exp(base.normal(list(x.shape), x.dtype) * std + mean)


def _cauchy_in(base: Base, x: Tensor, median: Any = 0.0, sigma: Any = 1.0) -> Tensor:
    return torch.tan(math.pi * (base.uniform(list(x.shape), x.dtype) - 0.5)) * sigma + median


def _geometric_in(base: Base, x: Tensor, p: Any) -> Tensor:
    rate = -torch.log(1 - p) if isinstance(p, Tensor) else -math.log1p(-p)
    return torch.ceil(base.exponential(list(x.shape), _float(x)) / rate).clamp(min=1)


def _bernoulli_in(base: Base, x: Tensor, p: Any = 0.5) -> Tensor:
    return (base.uniform(list(x.shape), p.dtype if isinstance(p, Tensor) else _float(x)) < p).to(x.dtype)


def _random_in(base: Base, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    low, high = args if len(args) == 2 else (kwargs.get("from", 0), args[0] if args else kwargs["to"])
    return base.whole(low, high, list(x.shape)).to(x.dtype)


def _normal(base: Base, mean: Any, std: Any = 1.0, size: Any = None, *, dtype: Any = None, **_: Any) -> Tensor:
    tensors = [x for x in (mean, std) if isinstance(x, Tensor)]
    if not tensors:
        return base.normal(_size((size,)), dtype or torch.get_default_dtype()) * std + mean
    shape = torch.broadcast_shapes(*(x.shape for x in tensors))
    return base.normal(list(shape), tensors[0].dtype) * std + mean


def _bernoulli(base: Base, x: Tensor, p: Any = None) -> Tensor:
    p = x if p is None else p
    return (base.uniform(list(x.shape), x.dtype) < p).to(x.dtype)


def _randint(base: Base, *args: Any, **kwargs: Any) -> Tensor:
    positional = [*args]
    size = kwargs["size"] if "size" in kwargs else positional.pop()
    low, high = _bounds(positional, kwargs)
    return base.whole(low, high, _size((size,))).to(kwargs.get("dtype") or torch.int64)


def _randint_like(base: Base, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    low, high = _bounds([*args], kwargs)
    return base.whole(low, high, list(x.shape)).to(kwargs.get("dtype") or x.dtype)


def _bounds(positional: list[Any], kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
    """The bounds low and high of a call that has high or (low, high), each by position or by name; low may be left out.

    positional: the positional arguments up to high; the bounds are taken off its end.
    """
    high = kwargs["high"] if "high" in kwargs else positional.pop()
    low = kwargs["low"] if "low" in kwargs else positional.pop() if positional else 0
    return low, high


def _randperm(base: Base, n: Any, *, dtype: Any = None, **_: Any) -> Tensor:
    return torch.argsort(base.uniform([n], torch.float64)).to(dtype or torch.int64)


def _multinomial(base: Base, weights: Tensor, num_samples: Any, replacement: bool = False) -> Tensor:
    if not replacement:
        # The indices are in the order of exponential times, whose rates are the weights. torch does the same.
        return torch.topk(weights / base.exponential(list(weights.shape), weights.dtype), num_samples).indices
    total = torch.cumsum(weights, -1)
    u = base.uniform([*weights.shape[:-1], num_samples], weights.dtype)
    # The sum is divided by its last element, so that it reaches 1 and u stays below: a last weight of 0 is never drawn.
    return ((total / total[..., -1:]).unsqueeze(-2) <= u.unsqueeze(-1)).sum(-1)


def _dropped(base: Base, x: Tensor, shape: Sequence[Any], p: float, inplace: bool) -> Tensor:
    mask = (base.uniform(shape, x.dtype) >= p).to(x.dtype)
    value = x * (mask / (1 - p)) if p < 1 else x * 0
    return x.copy_(value) if inplace else value


def _dropout(base: Base, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False, **_: Any) -> Tensor:
    return _dropped(base, x, list(x.shape), p, inplace)


def _dropout_in(base: Base, x: Tensor, p: float, _train: bool) -> Tensor:
    return _dropped(base, x, list(x.shape), p, inplace=True)


def _channels(unbatched: int | None) -> Callable[..., Tensor]:
    """Dropout of whole channels. unbatched: how many axes an input of one sample has; its channels come first."""

    def compute(base: Base, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        leading_axes = 1 if x.ndim == unbatched else 2
        return _dropped(base, x, [*x.shape[:leading_axes], *[1] * (x.ndim - leading_axes)], p, inplace)

    return compute


def _drops(x: Tensor, p: float = 0.5, training: bool = True, *_: Any, train: bool = True, **__: Any) -> bool:
    return training and train and p > 0


def _gumbel_softmax(
    base: Base, logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    gumbel = -torch.log(base.exponential(list(logits.shape), logits.dtype))
    soft = torch.softmax((logits + gumbel) / tau, dim)
    if not hard:
        return soft
    chosen = torch.zeros_like(logits).scatter(dim, soft.argmax(dim, keepdim=True), 1.0)
    return chosen - soft.detach() + soft


def _always(*_args: Any, **_kwargs: Any) -> bool:
    return True


_IN_PLACE: dict[str, Callable[..., Tensor]] = {
    "normal_": _filled(_normal_in),
    "uniform_": _filled(_uniform_in),
    "exponential_": _filled(_exponential_in),
    "log_normal_": _filled(_log_normal_in),
    "cauchy_": _filled(_cauchy_in),
    "geometric_": _filled(_geometric_in),
    "bernoulli_": _filled(_bernoulli_in),
    "random_": _filled(_random_in),
}
DRAWS: dict[Any, _Function] = {
    torch.randn: _Function(_of_size("normal")),
    torch.rand: _Function(_of_size("uniform")),
    torch.randn_like: _Function(_like("normal")),
    torch.rand_like: _Function(_like("uniform")),
    torch.normal: _Function(_normal),
    torch.bernoulli: _Function(_bernoulli),
    Tensor.bernoulli: _Function(_bernoulli),
    torch.randint: _Function(_randint),
    torch.randint_like: _Function(_randint_like),
    torch.randperm: _Function(_randperm),
    torch.multinomial: _Function(_multinomial),
    Tensor.multinomial: _Function(_multinomial),
    nn.init.normal_: _Function(_filled(_normal_in)),
    nn.init.uniform_: _Function(_filled(_uniform_in)),
    functional.dropout: _Function(_dropout, _drops),
    functional.dropout1d: _Function(_channels(2), _drops),
    functional.dropout2d: _Function(_channels(None), _drops),
    functional.dropout3d: _Function(_channels(4), _drops),
    functional.gumbel_softmax: _Function(_gumbel_softmax),
    torch.dropout: _Function(_dropout, _drops),
    torch.dropout_: _Function(_dropout_in, _drops),
    torch.feature_dropout: _Function(_channels(None), _drops),
    **{getattr(Tensor, name): _Function(compute) for name, compute in _IN_PLACE.items()},
}
# Functions that draw and have no such arithmetic, each with a function that tells whether its arguments make it draw.
REFUSED: dict[Any, Callable[..., bool]] = {
    torch.poisson: _always,
    torch.binomial: _always,
    torch._standard_gamma: _always,
    torch._sample_dirichlet: _always,
    functional.alpha_dropout: lambda x, p=0.5, training=False, *_, **__: training,
    functional.feature_alpha_dropout: lambda x, p=0.5, training=False, *_, **__: training,
    functional.scaled_dot_product_attention: lambda *args, **named: named.get("dropout_p", (*args, *[0] * 5)[4]) > 0,
    functional.rrelu: lambda x, lower=0.0, upper=0.0, training=False, *_, **__: training,
}
