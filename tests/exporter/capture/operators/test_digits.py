"""Translated operators keep the digits that torch's own have, over the whole range of their arguments."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn
from torch import distributions as laws
from torch.nn import functional as F

from odelet_export.capture.onnx_model import to_onnx

Function = Callable[[Tensor, Tensor], Tensor]
SIZE, DTYPES = torch.export.Dim("n"), (torch.float32, torch.float64)


def pair(x: Tensor) -> Tensor:
    return torch.stack([x, -x], -1)


def first(x: Tensor) -> Tensor:
    """The label 0 for each element."""
    return torch.zeros(x.shape[0], dtype=torch.long)


def like(x: Tensor, value: float) -> Tensor:
    return torch.full_like(x, value)


def of_one(function: Callable[[Tensor], Tensor]) -> Function:
    return lambda x, y: function(x)


def logistic(x: Tensor) -> laws.Distribution:
    uniform = laws.Uniform(like(x, 0.0), like(x, 1.0), validate_args=False)
    steps = [laws.SigmoidTransform().inv, laws.AffineTransform(like(x, 0.5), like(x, 2.0))]
    return laws.TransformedDistribution(uniform, steps, validate_args=False)


# Functions of two tensors (n,) whose relative error is at most 50 times torch's own, or one of the numbers in FLOOR.
EXACT: dict[str, Function] = {
    **{
        name: of_one(getattr(torch, name))
        for name in (
            *("log1p", "expm1", "sinh", "cosh", "asinh", "acosh", "atanh", "atan", "erf", "erfc", "exp", "exp2", "log"),
            *("log2", "log10", "rsqrt", "reciprocal", "logit", "digamma", "i0"),
        )
    },
    **{
        f"special.{name}": of_one(getattr(torch.special, name))
        for name in ("erfcx", "log_ndtr", "ndtri", "entr", "i1", "i1e")
    },
    **{
        name: getattr(torch, name)
        for name in ("logaddexp", "logaddexp2", "hypot", "remainder", "fmod", "pow", "maximum")
    },
    "atan2": lambda x, y: torch.atan2(x, y),
    "remainder by a number": lambda x, y: torch.remainder(x, 0.7),
    "remainder by a negative number": lambda x, y: torch.remainder(x, -0.7),
    "floor_divide": lambda x, y: torch.floor_divide(x, y),
    "floor_divide by a number": lambda x, y: x // 0.7,
    "logsigmoid": lambda x, y: F.logsigmoid(x),
    "softplus": lambda x, y: F.softplus(x),
    "log of sigmoid": lambda x, y: torch.log(torch.sigmoid(x)),
    "log of a sum of sigmoids": lambda x, y: torch.log((torch.sigmoid(x) + 1e-30).clamp(min=1e-36).unsqueeze(0))[0],
    "log of 1 - sigmoid": lambda x, y: torch.log(1 - torch.sigmoid(x)),
    "quotient by sigmoid": lambda x, y: 1 / torch.sigmoid(x),
    "softmax": lambda x, y: F.softmax(pair(x), -1),
    "log_softmax": lambda x, y: F.log_softmax(pair(x), -1),
    "logsumexp": lambda x, y: torch.logsumexp(pair(x), -1),
    "logcumsumexp": lambda x, y: torch.logcumsumexp(torch.stack([-x, 0 * x, x], -1), -1),
    "norm": lambda x, y: torch.linalg.vector_norm(pair(x), dim=-1),
    "bce with logits": lambda x, y: F.binary_cross_entropy_with_logits(x, like(x, 0.3), reduction="none"),
    "cross_entropy": lambda x, y: F.cross_entropy(pair(x), first(x), reduction="none"),
    "cross_entropy smoothed": lambda x, y: F.cross_entropy(pair(x), first(x), reduction="none", label_smoothing=0.1),
    "Bernoulli": lambda x, y: laws.Bernoulli(logits=x, validate_args=False).log_prob(like(x, 1.0)),
    "Logistic": lambda x, y: logistic(x).log_prob(x),
    "Normal": lambda x, y: laws.Normal(like(x, 0.5), like(x, 2.0), validate_args=False).log_prob(x),
    "absolute value of complex": lambda x, y: torch.complex(x, y).abs(),
}
FLOOR = {torch.float32: 1e-6, torch.float64: 1e-12}
# Functions with an absolute error of four roundings of 1, or of x where it is larger; in float32 no less is promised.
ABSOLUTE: dict[str, Function] = {
    **{
        name: of_one(getattr(F, name))
        for name in ("sigmoid", "silu", "tanh", "elu", "selu", "celu", "mish", "gelu", "tanhshrink", "hardswish")
    },
    "gelu by tanh": lambda x, y: F.gelu(x, approximate="tanh"),
    "1 - sigmoid": lambda x, y: 1 - torch.sigmoid(x),
}
# Where torch's own answer is not followed: NaN beside an infinity, NaN for quotients that overflow, the sign of a zero
# in the second place of atan2, and the choice between NaN and an infinity, where torch's own two types differ.
SPARED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "hypot": lambda x, y: x.isnan() | y.isnan(),
    "absolute value of complex": lambda x, y: x.isnan() | y.isnan(),
    "atan2": lambda x, y: (x == 0) & (y == 0) & y.signbit(),
    "log of a sum of sigmoids": lambda x, y: x.isnan(),
    **dict.fromkeys(("log_softmax", "cross_entropy", "cross_entropy smoothed"), lambda x, y: x.isinf()),
    **dict.fromkeys(("remainder", "fmod", "floor_divide"), lambda x, y: (x / y).isinf()),
    "gelu": lambda x, y: x.isinf(),
    "logcumsumexp": lambda x, y: ~x.isfinite(),
}


def points(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Pairs of numbers of all sizes and both signs, with all pairs of zeros, ones, infinities and NaN."""
    ends = torch.finfo(dtype)
    last, far = (38, 120) if dtype is torch.float32 else (300, 800)
    sizes = torch.cat(
        [
            torch.logspace(1 - last, last - 2, 150, dtype=torch.float64),
            torch.logspace(-20, 3, 200, dtype=torch.float64),
            torch.linspace(0, far, 400, dtype=torch.float64),
            torch.tensor([ends.tiny, ends.eps], dtype=torch.float64),
        ]
    )
    x = torch.cat([-sizes, sizes]).to(dtype)
    y = x[(torch.arange(len(x)) * 7919 + 13) % len(x)]
    special = torch.tensor([0.0, -0.0, 1.0, -2.0, 1e30, math.inf, -math.inf, math.nan], dtype=dtype)
    pairs = torch.cartesian_prod(special, special)
    return torch.cat([x, pairs[:, 0]]), torch.cat([y, pairs[:, 1]])


class All(nn.Module):
    """All functions of both tables in one model, which costs one translation."""

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        return tuple(function(x, y) for function in (EXACT | ABSOLUTE).values())


@cache
def answers(dtype: torch.dtype) -> dict[str, np.ndarray]:
    """What ONNX Runtime answers at `points`, by the name of a function."""
    x = torch.rand(5, dtype=dtype) + 0.5
    program = torch.export.export(All(), (x, x + 1), dynamic_shapes=({0: SIZE}, {0: SIZE}))
    model, _ = to_onnx(program, ["x", "y"], [f"out{i}" for i in range(len(EXACT | ABSOLUTE))], 18)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), options)
    outputs: Any = session.run(None, dict(zip(("x", "y"), (p.numpy() for p in points(dtype)), strict=True)))
    return dict(zip(EXACT | ABSOLUTE, outputs, strict=True))


def shaped(mask: Tensor, like: np.ndarray) -> np.ndarray:
    return np.broadcast_to(mask.numpy().reshape([-1] + [1] * (like.ndim - 1)), like.shape)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", EXACT)
def test_an_operator_keeps_its_digits(name, dtype):
    x, y = points(dtype)
    got, torchs = answers(dtype)[name], EXACT[name](x, y).numpy()
    true = EXACT[name](x.double(), y.double()).numpy()
    spared = shaped(SPARED.get(name, lambda x, y: torch.zeros_like(x, dtype=torch.bool))(x, y), got)
    with np.errstate(all="ignore"):
        rounded = true.astype(got.dtype)
        same = (got == torchs) | (got == rounded) | (np.isnan(got) & (np.isnan(torchs) | np.isnan(rounded)))
        error, torchs_error = (np.abs(values - true) / np.abs(true) for values in (got.astype(float), torchs))
        close = error <= np.fmax(50 * torchs_error, FLOOR[dtype])
    tiny = torch.finfo(dtype).tiny
    below = np.isfinite(got) & ((np.abs(torchs) < tiny) | (np.abs(rounded) < tiny))
    wrong = ~(same | close | below | spared)
    at = shaped(x, got)[wrong], shaped(y, got)[wrong]
    assert not wrong.any(), (*(a[:5] for a in at), got[wrong][:5], torchs[wrong][:5])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ABSOLUTE)
def test_an_operator_is_exact_beside_its_argument(name, dtype):
    x, y = points(dtype)
    got, torchs = answers(dtype)[name], ABSOLUTE[name](x, y).numpy()
    allowed = 4 * torch.finfo(dtype).eps * np.fmax(1, np.abs(x.numpy()))
    with np.errstate(invalid="ignore"):
        close = np.abs(got - torchs) <= allowed
    spared = SPARED[name](x, y).numpy() if name in SPARED else False
    wrong = ~(close | (got == torchs) | (np.isnan(got) & np.isnan(torchs)) | spared)
    assert not wrong.any(), (x.numpy()[wrong][:5], got[wrong][:5], torchs[wrong][:5])
