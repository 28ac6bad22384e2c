"""Float64 models lose no digits in ONNX: ONNX Runtime against torch, operator by operator."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.onnx._internal.exporter import _building
from torchdiffeq import odeint

import odelet
from odelet_export import export
from odelet_export.capture.operators.translations import exact_float64, translations

Function = Callable[[Tensor], Tensor]

# Functions of a (4, 6) tensor with values of both signs, 0 and tiny ones.
ACTIVATIONS: dict[str, Function] = {
    "celu": lambda y: F.celu(y, 0.3),
    "elu": F.elu,
    "elu alpha": lambda y: F.elu(y, 0.3),
    "gelu": F.gelu,
    "gelu tanh": lambda y: F.gelu(y, approximate="tanh"),
    "glu": lambda y: F.glu(y, -1),
    "hardshrink": lambda y: F.hardshrink(y, 0.3),
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "hardtanh": lambda y: F.hardtanh(y, -0.1, 0.7),
    "leaky_relu": lambda y: F.leaky_relu(y, 0.1),
    "log_softmax": lambda y: F.log_softmax(y, -1),
    "logsigmoid": F.logsigmoid,
    "mish": F.mish,
    "prelu": lambda y: F.prelu(y, torch.tensor([0.1], dtype=y.dtype)),
    "relu": torch.relu,
    "relu6": F.relu6,
    "selu": F.selu,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "softmax": lambda y: torch.softmax(y, -1),
    "softmin": lambda y: F.softmin(y, -1),
    "softplus": F.softplus,
    "softplus beta": lambda y: F.softplus(y, beta=0.7, threshold=11.3),
    "softshrink": lambda y: F.softshrink(y, 0.3),
    "softsign": F.softsign,
    "tanh": torch.tanh,
    "tanhshrink": F.tanhshrink,
    "threshold": lambda y: F.threshold(y, 0.3, 0.1),
}


def _unit(y: Tensor) -> Tensor:
    """Values strictly between -1 and 1."""
    return y / (1.1 + y.abs())


def _positive(y: Tensor) -> Tensor:
    return y.abs() + 0.1


ELEMENTARY: dict[str, Function] = {
    "acos": lambda y: torch.acos(_unit(y)),
    "acosh": lambda y: torch.acosh(1.0 + y.abs()),
    "asin": lambda y: torch.asin(_unit(y)),
    "asinh": torch.asinh,
    "atan": torch.atan,
    "atan2": lambda y: torch.atan2(y, y + 0.1),
    "atanh": lambda y: torch.atanh(_unit(y)),
    "cos": torch.cos,
    "cosh": lambda y: torch.cosh(y / 3),
    "deg2rad": torch.deg2rad,
    "erf": torch.erf,
    "exp": torch.exp,
    "exp2": torch.exp2,
    "expm1": torch.expm1,
    "log": lambda y: torch.log(_positive(y)),
    "log10": lambda y: torch.log10(_positive(y)),
    "log1p": lambda y: torch.log1p(_unit(y)),
    "log1p large": lambda y: torch.log1p(y * y),
    "log2": lambda y: torch.log2(_positive(y)),
    "logit": lambda y: torch.logit(0.3 + 0.1 * _unit(y)),
    "pow": lambda y: _positive(y) ** 0.3,
    "pow 3": lambda y: y**3,
    "rad2deg": torch.rad2deg,
    "reciprocal": lambda y: torch.reciprocal(_positive(y)),
    "rpow": lambda y: 0.3**y,
    "rsqrt": lambda y: torch.rsqrt(_positive(y)),
    "sin": torch.sin,
    "sinc": torch.sinc,
    "sinh": torch.sinh,
    "sqrt": lambda y: torch.sqrt(_positive(y)),
    "tan": torch.tan,
}

NUMBERS: dict[str, Function] = {
    "add": lambda y: y + 0.1,
    "add alpha": lambda y: torch.add(y, y, alpha=0.1),
    "add number alpha": lambda y: torch.add(y, 0.3, alpha=0.1),
    "addcdiv": lambda y: torch.addcdiv(y, y, _positive(y), value=0.1),
    "addcmul": lambda y: torch.addcmul(y, y, y, value=0.1),
    "addmm": lambda y: torch.addmm(y, y, torch.eye(6, dtype=y.dtype), beta=0.3, alpha=0.1),
    "addmv": lambda y: torch.addmv(y[:, 0], y, y[0], beta=0.3, alpha=0.1),
    "arange": lambda y: y * torch.arange(0.1, 0.7, 0.1, dtype=y.dtype)[:6],
    "baddbmm": lambda y: torch.baddbmm(y[None], y[None], torch.eye(6, dtype=y.dtype)[None], beta=0.3, alpha=0.1),
    "clamp": lambda y: y.clamp(-0.1, 0.7),
    "clamp min": lambda y: torch.clamp_min(y, 0.3),
    "clamp max": lambda y: torch.clamp_max(y, 0.3),
    "div": lambda y: y / 0.3,
    "eq": lambda y: (y == 0.55).to(y.dtype),
    "fill": lambda y: y.clone().fill_(0.1) * y,
    "float32 constant": lambda y: y * torch.full((6,), 0.1, dtype=torch.float32),
    "float32 number": lambda y: y * torch.tensor(0.1, dtype=torch.float32).to(y.dtype),
    "float32 scalar": lambda y: y * torch.full((), 0.1, dtype=torch.float32).to(y.dtype),
    "floor_divide": lambda y: torch.floor_divide(y, 0.3),
    "fmod": lambda y: torch.fmod(y, 0.3),
    "full": lambda y: y + torch.full((6,), 0.1, dtype=y.dtype),
    "full_like": lambda y: y + torch.full_like(y, 0.1),
    "isinf": lambda y: torch.isinf(y * 1e300).to(y.dtype),
    "ge": lambda y: (y >= 0.55).to(y.dtype),
    "gt": lambda y: (y > 0.55).to(y.dtype),
    "heaviside": lambda y: torch.heaviside(y, torch.tensor(0.1, dtype=y.dtype)),
    "lerp": lambda y: torch.lerp(y, 2 * y, 0.1),
    "lerp tensor": lambda y: torch.lerp(y, y * y, torch.sigmoid(y)),
    "linspace": lambda y: y * torch.linspace(0.1, 0.7, 6, dtype=y.dtype),
    "logspace": lambda y: y * torch.logspace(-0.1, 0.7, 6, dtype=y.dtype),
    "lt": lambda y: (y < 0.55).to(y.dtype),
    "masked_fill": lambda y: y.masked_fill(y > 0.5, 0.1),
    "maximum": lambda y: torch.maximum(y, torch.tensor(0.3, dtype=y.dtype)),
    "mul": lambda y: 0.51 * y,
    "nan_to_num": lambda y: torch.nan_to_num(y / y, nan=0.1),
    "ne": lambda y: (y != 0.55).to(y.dtype),
    "new_full": lambda y: y + y.new_full((6,), 0.1),
    "new_tensor": lambda y: y + y.new_tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
    "ones": lambda y: y + 0.1 * torch.ones(6, dtype=y.dtype),
    "pad": lambda y: F.pad(y, (1, 1), value=0.1),
    "pi": lambda y: torch.sin(math.pi * y) / math.pi,
    "rdiv": lambda y: 0.3 / _positive(y),
    "remainder tensor": lambda y: torch.remainder(y, 0.3 + y * y),
    "remainder negative": lambda y: torch.remainder(y, -0.3),
    "remainder": lambda y: torch.remainder(y, 0.3),
    "rsub": lambda y: 0.1 - y,
    "rsub alpha": lambda y: torch.rsub(y, y * y, alpha=0.1),
    "sub alpha": lambda y: torch.sub(y, y, alpha=0.1),
    "tensor": lambda y: y * torch.tensor(0.1, dtype=torch.float64),
    "where": lambda y: torch.where(y > 0.55, y, 0.1),
    "where two": lambda y: torch.where(y > 0.55, 0.3, 0.1) * y,
    "xlogy": lambda y: torch.xlogy(0.3, _positive(y)),
    "zeros": lambda y: y * y + torch.zeros(6, dtype=y.dtype),
}

REDUCTIONS: dict[str, Function] = {
    "amax": lambda y: y.amax(-1),
    "cumsum": lambda y: y.cumsum(-1),
    "logsumexp": lambda y: torch.logsumexp(y, -1),
    "mean": lambda y: y.mean(),
    "norm": lambda y: y.norm(dim=-1),
    "norm 3": lambda y: torch.linalg.vector_norm(y, 3, dim=-1),
    "normalize": lambda y: F.normalize(y, dim=-1, eps=1e-3),
    "prod": lambda y: _positive(y).prod(-1),
    "std": lambda y: y.std(-1),
    "sum": lambda y: y.sum(-1),
    "var": lambda y: y.var(-1),
}


def _batch_norm(y: Tensor) -> Tensor:
    mean, var = 0.1 * torch.arange(6, dtype=y.dtype), 0.3 + torch.arange(6, dtype=y.dtype)
    return F.batch_norm(y, mean, var, 0.3 * var, 0.7 * mean, eps=1e-3)


NORMS: dict[str, Function] = {
    "batch_norm": _batch_norm,
    "batch_norm images": lambda y: _batch_norm(y[:, :, None, None] * y[:2, :2]),
    "group_norm": lambda y: F.group_norm(y, 2, eps=1e-3),
    "group_norm affine": lambda y: F.group_norm(y[..., None], 3, 0.1 + y[0] * y[0], y[1], eps=1e-3),
    "instance_norm": lambda y: F.instance_norm(y[None], eps=1e-3),
    "layer_norm": lambda y: F.layer_norm(y, (6,), eps=1e-3),
    "layer_norm affine": lambda y: F.layer_norm(y, (4, 6), y * y, y, eps=1e-3),
    "rms_norm": lambda y: F.rms_norm(y, (6,), eps=1e-3),
}

ROSTERS = {
    "activations": ACTIVATIONS,
    "elementary": ELEMENTARY,
    "numbers": NUMBERS,
    "reductions": REDUCTIONS,
    "norms": NORMS,
}
CASES = [(kind, name) for kind, roster in ROSTERS.items() for name in roster]

_SIZES = [1e-9, 1e-3, 0.2, 0.55, 0.93, 1.3, 2.1, 3.7, 5.2, 7.4, 19.0, 21.0]
VALUES = np.array([*_SIZES, *(-size for size in _SIZES[:-1]), 0.0]).reshape(4, 6)


class Together(nn.Module):
    """A model with one output for each of many functions of its input."""

    def __init__(self, functions: list[Function]) -> None:
        super().__init__()
        self.functions = functions

    def forward(self, y: Tensor) -> tuple[Tensor, ...]:
        return tuple(function(y) for function in self.functions)


def _program(functions: list[Function], dtype: torch.dtype) -> torch.export.ExportedProgram:
    y = torch.linspace(-1.9, 2.3, 24, dtype=dtype).reshape(4, 6)
    with torch.no_grad():
        return torch.export.export(Together(functions), (y,))


def _translated(program: torch.export.ExportedProgram, table: dict | None = None) -> ir.Model:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        translated = torch.onnx.export(
            program, dynamo=True, verbose=False, opset_version=20, custom_translation_table=table
        )
    assert translated is not None
    return translated.model


@cache
def _answers(kind: str) -> dict[str, np.ndarray]:
    """The results of ONNX Runtime for the functions of a roster, by name."""
    functions = ROSTERS[kind]
    with exact_float64() as table:
        model = _translated(_program(list(functions.values()), torch.float64), table)
    return dict(zip(functions, _run(model, VALUES), strict=True))


def _run(model: ir.Model, values: np.ndarray) -> list[np.ndarray]:
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString())
    return session.run(None, {session.get_inputs()[0].name: values})


# Functions for which torch and ONNX Runtime differ by more than 1e-14 of an element: the measured error, relative to
# the largest element of the result, and its cause.
MEASURED: dict[str, tuple[float, str]] = {
    "sigmoid": (1.2e-16, "ONNX Runtime's sigmoid has an absolute error of 1e-16, much of a value near zero"),
    "silu": (1e-16, "by sigmoid"),
    "glu": (1e-16, "by sigmoid"),
    "gelu tanh": (1e-16, "1 + tanh(x) has few digits where tanh(x) is nearly -1, in torch as well"),
    "batch_norm": (5e-16, "a sum that is nearly 0, of terms rounded in another order"),
    "batch_norm images": (5e-16, "as batch_norm"),
    "group_norm": (1e-15, "as batch_norm"),
}


@pytest.mark.parametrize(("kind", "name"), CASES, ids=lambda part: part)
def test_float64_is_exact(kind: str, name: str) -> None:
    ours = _answers(kind)[name]
    torchs = ROSTERS[kind][name](torch.from_numpy(VALUES)).numpy()
    assert ours.dtype == torchs.dtype
    largest = np.abs(torchs[np.isfinite(torchs)]).max()
    rtol, atol = (0.0, MEASURED[name][0] * largest) if name in MEASURED else (1e-14, 0.0)
    np.testing.assert_allclose(ours, torchs, rtol=rtol, atol=atol)


EXTREMES = np.array([1e-300, 1e-20, 1e-8, 1e8, 1e20, 710.0, 745.0, 1e300, np.inf])
AT_EXTREMES: dict[str, Function] = {
    **{name: getattr(torch, name) for name in ("asinh", "atan", "erf", "expm1", "log1p", "sinh")},
    **{name: ACTIVATIONS[name] for name in ("elu", "celu", "selu", "softplus", "leaky_relu", "hardtanh")},
}


def test_activations_are_exact_far_out_and_close_to_zero() -> None:
    """Intermediate values do not overflow where the result is finite, and no digit is lost near zero."""
    values = np.resize(np.concatenate([EXTREMES, -EXTREMES, [np.nan]]), (4, 6))
    with exact_float64() as table:
        model = _translated(_program(list(AT_EXTREMES.values()), torch.float64), table)
    for (name, function), ours in zip(AT_EXTREMES.items(), _run(model, values), strict=True):
        torchs = function(torch.from_numpy(values)).numpy()
        np.testing.assert_allclose(ours, torchs, rtol=1e-14, atol=1e-320, err_msg=name)


def test_float32_graphs_are_those_of_torch() -> None:
    """A model of many operators has the nodes, attributes and constants of torch's recorder with our translations.

    Two functions compute in float64 and are left out: torch's logspace, and "tensor", a product with a float64 tensor.
    """
    functions = [*ACTIVATIONS.values(), *NORMS.values()]
    functions += [function for name, function in NUMBERS.items() if name not in ("tensor", "logspace")]
    program = _program(functions, torch.float32)
    with exact_float64() as table:
        ours = _translated(program, table)
    assert _described(ours) == _described(_translated(program, translations()))


def _described(model: ir.Model) -> list[object]:
    """The nodes in order, each with its inputs: the index of the node that computes it, or the value of a constant."""
    places: dict[ir.Value | None, object] = {None: None}
    places.update({value: ("input", index) for index, value in enumerate(model.graph.inputs)})
    for value in model.graph.initializers.values():
        assert value.const_value is not None
        places[value] = (str(value.const_value.dtype), value.const_value.tobytes())
    nodes: list[object] = []
    for index, node in enumerate(model.graph):
        attributes = sorted((name, str(attribute.value)) for name, attribute in node.attributes.items())
        nodes.append((node.op_type, attributes, [places[value] for value in node.inputs]))
        places.update({output: (index, number) for number, output in enumerate(node.outputs)})
    return [*nodes, [places[value] for value in model.graph.outputs]]


def test_the_translations_of_torch_are_restored_after_an_error() -> None:
    before = _building.OpRecorder
    with pytest.raises(KeyError), exact_float64():
        assert _building.OpRecorder is not before
        raise KeyError
    assert _building.OpRecorder is before


class Solved(nn.Module):
    """A model whose field has numbers, norms and activations; any of them in float32 would show, above 1e-9."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(3, eps=1e-3)
        self.layer = nn.Linear(3, 3)

    def slope(self, t: Tensor, y: Tensor) -> Tensor:
        pull = torch.where(t > 0.4, 0.3**y, F.gelu(self.norm(y)))
        return F.elu(self.layer(y), 0.3) + F.softplus(pull, beta=0.7) - torch.atan2(y, 0.1 + y * y)

    def forward(self, x: Tensor) -> Tensor:
        return odeint(self.slope, x, torch.tensor([0.0, 0.4, 1.0], dtype=x.dtype), method="rk4")


def test_a_solve_in_float64_loses_no_digits(tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = Solved().double()
    x = torch.linspace(-1.0, 1.0, 6, dtype=torch.float64).reshape(2, 3)
    export(model, (x,), tmp_path, dynamic={"x": {0: "batch"}})
    fresh = torch.linspace(-2.0, 1.5, 15, dtype=torch.float64).reshape(5, 3)
    ours = odelet.load(tmp_path)(fresh.numpy())
    with torch.no_grad():
        np.testing.assert_allclose(ours, model(fresh).numpy(), rtol=1e-13)
