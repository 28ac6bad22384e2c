"""Operators on each element, on pairs of elements, and casts."""

import math

import torch
from torch import Tensor

from operators import Operator, unit


def positive(x: Tensor) -> Tensor:
    """Values above 0.1, of the shape of x."""
    return x.abs() + 0.1


def whole(x: Tensor) -> Tensor:
    """Whole numbers, of the shape of x."""
    return (4 * unit(x)).floor().long()


ONE: dict[str, Operator] = {
    **{
        name: getattr(torch, name)
        for name in (
            *("abs", "absolute", "atan", "arctan", "asinh", "ceil", "cos", "cosh", "deg2rad", "erf", "erfc", "exp"),
            *("exp2", "expm1", "fix", "floor", "frac", "neg", "negative", "positive", "rad2deg", "relu", "round"),
            *("sgn", "sigmoid", "sign", "sin", "sinc", "sinh", "square", "tan", "tanh", "trunc", "nan_to_num"),
            *("selu", "celu", "isnan", "isinf", "isfinite", "isneginf", "isposinf", "isreal", "signbit", "clone"),
            *("logical_not", "conj", "resolve_conj", "resolve_neg", "real", "angle", "ones_like", "zeros_like"),
        )
    },
    **{
        f"special.{name}": getattr(torch.special, name)
        for name in (
            *("erf", "erfc", "exp2", "expm1", "expit", "i0", "i0e", "i1", "i1e", "ndtr", "sinc", "round", "erfcx"),
            *("log_ndtr", "bessel_j0", "bessel_j1", "gammaln", "digamma"),
        )
    },
    "acos": lambda x: torch.acos(0.9 * unit(x)),
    "asin": lambda x: torch.asin(0.9 * unit(x)),
    "atanh": lambda x: torch.atanh(0.9 * unit(x)),
    "acosh": lambda x: torch.acosh(1.1 + x.abs()),
    "digamma": lambda x: torch.digamma(positive(x)),
    "lgamma": lambda x: torch.lgamma(positive(x)),
    "mvlgamma": lambda x: torch.mvlgamma(1 + x.abs(), 2),
    "polygamma": lambda x: torch.polygamma(1, positive(x)),
    "erfinv": lambda x: torch.erfinv(0.9 * unit(x)),
    "log": lambda x: torch.log(positive(x)),
    "log10": lambda x: torch.log10(positive(x)),
    "log1p": lambda x: torch.log1p(positive(x)),
    "log2": lambda x: torch.log2(positive(x)),
    "logit": lambda x: torch.logit(0.5 + 0.4 * unit(x)),
    "logit eps": lambda x: torch.logit(x.sigmoid(), eps=1e-3),
    "reciprocal": lambda x: torch.reciprocal(positive(x)),
    "rsqrt": lambda x: torch.rsqrt(positive(x)),
    "sqrt": lambda x: torch.sqrt(positive(x)),
    "round decimals": lambda x: torch.round(x, decimals=1),
    "clamp": lambda x: x.clamp(-1, 1.0),
    "clamp tensor": lambda x: x.clamp(min=x.mean(), max=x.abs()),
    "clip": lambda x: x.clip(0),
    "clamp_min": lambda x: x.clamp_min(0.1),
    "clamp_max": lambda x: torch.clamp_max(x, 0.1),
    "special.entr": lambda x: torch.special.entr(positive(x)),
    "special.ndtri": lambda x: torch.special.ndtri(0.5 + 0.4 * unit(x)),
    "special.xlog1py": lambda x: torch.special.xlog1py(x, positive(x)),
    "special.zeta": lambda x: torch.special.zeta(positive(x) + 1.5, positive(x)),
    "special.multigammaln": lambda x: torch.special.multigammaln(1 + x.abs(), 2),
    "special.polygamma": lambda x: torch.special.polygamma(1, positive(x)),
    "special.legendre": lambda x: torch.special.legendre_polynomial_p(unit(x), 3),
    "special.hermite": lambda x: torch.special.hermite_polynomial_h(x, 3),
    "special.chebyshev": lambda x: torch.special.chebyshev_polynomial_t(unit(x), 3),
    "special.softmax": lambda x: torch.special.softmax(x, 1),
    "frexp": lambda x: torch.frexp(x)[0],
}

TWO: dict[str, Operator] = {
    "add alpha": lambda x: torch.add(x, x, alpha=2),
    "sub alpha": lambda x: torch.sub(x, x * x, alpha=2),
    "subtract": lambda x: torch.subtract(x, 1.5),
    "rsub": lambda x: torch.rsub(x, x * x),
    "mul": lambda x: torch.mul(x, x),
    "multiply": lambda x: torch.multiply(x, 2),
    "div": lambda x: torch.div(x, positive(x)),
    "div floor": lambda x: torch.div(x, 0.3, rounding_mode="floor"),
    "div trunc": lambda x: torch.div(x, 0.3, rounding_mode="trunc"),
    "divide": lambda x: torch.divide(x, 3),
    "true_divide": lambda x: torch.true_divide(whole(x), 3),
    "floor_divide": lambda x: torch.floor_divide(x, 0.3),
    "floor_divide whole": lambda x: whole(x) // 3,
    "fmod": lambda x: torch.fmod(x, 0.7),
    "remainder": lambda x: torch.remainder(x, 0.7),
    "remainder whole": lambda x: whole(x) % 3,
    "pow": lambda x: torch.pow(positive(x), x),
    "pow number": lambda x: x**3,
    "rpow": lambda x: 2**x,
    "float_power": lambda x: torch.float_power(positive(x), 1.5),
    "atan2": lambda x: torch.atan2(x, x + 0.5),
    "arctan2": lambda x: torch.arctan2(x, x + 0.5),
    "hypot": lambda x: torch.hypot(x, x + 1),
    "copysign": lambda x: torch.copysign(x, x - 0.5),
    "nextafter": lambda x: torch.nextafter(x, x + 1),
    "ldexp": lambda x: torch.ldexp(x, torch.tensor(2)),
    "logaddexp": lambda x: torch.logaddexp(x, 2 * x),
    "logaddexp2": lambda x: torch.logaddexp2(x, 2 * x),
    "xlogy": lambda x: torch.xlogy(x, positive(x)),
    "lerp": lambda x: torch.lerp(x, x * x, 0.3),
    "lerp tensor": lambda x: torch.lerp(x, x * x, x.sigmoid()),
    "addcmul": lambda x: torch.addcmul(x, x, x, value=0.5),
    "addcdiv": lambda x: torch.addcdiv(x, x, positive(x), value=0.5),
    "maximum": lambda x: torch.maximum(x, x.mean()),
    "minimum": lambda x: torch.minimum(x, x.mean()),
    "fmax": lambda x: torch.fmax(x, x * x),
    "fmin": lambda x: torch.fmin(x, x * x),
    "max two": lambda x: torch.max(x, x * x),
    "min two": lambda x: torch.min(x, x * x),
    "heaviside": lambda x: torch.heaviside(x, torch.tensor(0.5)),
    "where": lambda x: torch.where(x > 0, x, x * x),
    "where numbers": lambda x: torch.where(x > 0, 1.0, 0.0),
    "dist": lambda x: torch.dist(x, x * x),
    "gcd": lambda x: torch.gcd(whole(x), whole(2 * x)),
    "lcm": lambda x: torch.lcm(whole(x), whole(2 * x)),
    "special.xlogy": lambda x: torch.special.xlogy(x, positive(x)),
    "polar": lambda x: torch.view_as_real(torch.polar(positive(x), x)),
    "complex": lambda x: torch.complex(x, x * x).abs(),
    "complex product": lambda x: torch.view_as_real(torch.complex(x, x * x) * torch.complex(x, 1 + x)),
    "complex exp": lambda x: torch.view_as_real(torch.exp(1j * x)),
    "view_as_complex": lambda x: torch.view_as_complex(x.reshape(*x.shape[:2], 2, 2).contiguous()).imag,
}

COMPARISONS: dict[str, Operator] = {
    **{
        name: (lambda compare: lambda x: compare(x, 0.5 * x.mean()))(getattr(torch, name))
        for name in (
            *("eq", "ne", "lt", "le", "gt", "ge", "less", "less_equal", "greater", "greater_equal", "not_equal"),
            "isclose",
        )
    },
    **{
        f"logical_{name}": (lambda join: lambda x: join(x > 0, x < 0.5))(getattr(torch, f"logical_{name}"))
        for name in ("and", "or", "xor")
    },
    "bitwise_and": lambda x: (x > 0) & (x < 0.5),
    "bitwise_or": lambda x: (x > 0) | (x < 0.5),
    "bitwise_xor": lambda x: (x > 0) ^ (x < 0.5),
    "bitwise_not": lambda x: ~(x > 0),
    "bitwise_and whole": lambda x: whole(x).abs() & 3,
    "bitwise_left_shift": lambda x: whole(x).abs() << 2,
    "bitwise_right_shift": lambda x: (whole(x).abs() + 8) >> 1,
    "isin": lambda x: torch.isin(whole(x), torch.tensor([0, 1])),
    "mask times": lambda x: x * (x > 0),
    "mask minus": lambda x: 1 - (x > 0).float(),
    "mask mean": lambda x: (x > 0).float().mean(1),
    "mask sum": lambda x: (x > 0).sum(1),
    "whole plus": lambda x: whole(x) + x,
    "whole over whole": lambda x: whole(x) / (whole(x).abs() + 1),
    "whole mean": lambda x: whole(x).float().mean(1),
    "whole max": lambda x: whole(x).amax(1),
    "whole clamp": lambda x: whole(x).clamp(0, 2),
    "whole pow": lambda x: whole(x) ** 2,
    "whole abs sign": lambda x: whole(x).abs() * whole(x).sign(),
    "int32": lambda x: whole(x).int().sum(1) + 1,
    "int32 cumsum": lambda x: whole(x).int().cumsum(1),
    "int16": lambda x: whole(x).to(torch.int16) * 2 - 1,
    "int8": lambda x: whole(x).to(torch.int8) + whole(x).to(torch.int8),
    "uint8": lambda x: whole(x).abs().to(torch.uint8) // 2,
    "int32 compare": lambda x: whole(x).int() >= whole(x + 1).int(),
    "int16 compare": lambda x: whole(x).to(torch.int16) == 1,
    "uint8 where": lambda x: torch.where(whole(x).abs().to(torch.uint8) > 1, x, -x),
    "int32 floor division": lambda x: whole(x).int() // 2 + whole(x).int() % 3,
    "int16 matmul": lambda x: whole(x).to(torch.int16).transpose(1, 2) @ whole(x).to(torch.int16),
    "whole matmul": lambda x: whole(x).transpose(1, 2) @ whole(x),
    "half": lambda x: (x.half() * 2).float(),
    "half matmul": lambda x: (x.half().transpose(1, 2) @ x.half()).float().round(decimals=1) * 0,
    "bfloat16": lambda x: x.bfloat16().float(),
    "bfloat16 sum": lambda x: (x.bfloat16() * 2 + 1).float(),
    "double": lambda x: (x.double() * math.pi).sin().float(),
    "double sum": lambda x: x.double().sum(1),
    "bool any": lambda x: (x > 0).any(1),
    "bool all": lambda x: (x > -9).all(1),
    "bool cumsum": lambda x: (x > 0).cumsum(1),
    "bool cat": lambda x: torch.cat([x > 0, x < 0], 1),
    "bool where": lambda x: torch.where(x > 0, x < 0.5, x > 0.5),
    "bool max": lambda x: (x > 0).max(1).values,
    "bool argmax": lambda x: (x > 0).int().argmax(1),
    "type_as": lambda x: whole(x).type_as(x),
    "type": lambda x: x.type(torch.float64),
    "to other": lambda x: whole(x).to(x),
    "bool sort": lambda x: (x > 0).int().sort(1).values,
}

OPERATORS = {**ONE, **TWO, **COMPARISONS}
