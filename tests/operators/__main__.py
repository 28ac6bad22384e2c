"""Exports each operator of the roster, alone or in a field and under derivatives, and says which are refused.

`python -m tests.operators --way gradient -k fft` tries those whose names have `fft` in a field that takes a gradient.
All of them take an hour for each way. Several operators are exported together, and apart where that fails.
"""

import argparse
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchdiffeq import odeint

from odelet_export import ExportError, export

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from operators import Operator  # the folder of the tests has to be there first

MODULES = ("elementwise", "axes", "products", "layers")
TOGETHER = 8
DYNAMIC = {"x": {0: "batch", 1: "length"}}


def roster() -> dict[str, Operator]:
    """All operators by name; the name begins with that of the module."""
    return {
        f"{module} {name}": operator
        for module in MODULES
        for name, operator in import_module(f"operators.{module}").OPERATORS.items()
    }


def numbers(result: Any) -> Tensor:
    """A result as a tensor of real numbers."""
    x = torch.as_tensor(result)
    return torch.view_as_real(x) if x.is_complex() else x


def gradient(operator: Operator) -> Operator:
    """The gradient by autograd."""

    def slope(x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            return torch.autograd.grad(operator(x).sin().sum(), x)[0]

    return slope


def forward(operator: Operator) -> Operator:
    """The derivative in a direction, in forward mode."""
    return lambda x: torch.func.jvp(operator, (x,), (x.cos(),))[1]


def curvature(operator: Operator) -> Operator:
    """The derivative of the gradient in a direction."""
    return forward(torch.func.grad(lambda x: operator(x).sin().sum()))


WAYS: Mapping[str, Callable[[Operator], Operator]] = {
    "plain": lambda operator: operator,
    "field": lambda operator: operator,
    "gradient": gradient,
    "forward": forward,
    "curvature": curvature,
}


def refusal(operators: Sequence[Operator], way: str) -> str:
    """What an export of several operators says; empty where it agrees with torch."""

    def field(t: Tensor, y: Tensor) -> Tensor:
        values = (numbers(operator(y)).to(y.dtype) for operator in operators)
        return y.cos() * sum(torch.where(value.isfinite(), value, 0.0).sin().mean() for value in values)

    def solved(x: Tensor) -> Tensor:
        return odeint(field, x, torch.tensor([0.0, 0.1]), method="euler")[-1]

    def plain(x: Tensor) -> tuple[Tensor, ...]:
        return tuple(numbers(operator(x)) for operator in operators)

    torch.manual_seed(0)
    example = torch.randn(3, 5, 4)
    with tempfile.TemporaryDirectory() as folder:
        try:
            if way == "plain":
                export(plain, (example,), f"{folder}/out", dynamic=DYNAMIC, samples=2, form="plain")
            else:
                export(solved, (example,), f"{folder}/out", dynamic=DYNAMIC, samples=2)
        except ExportError as error:
            return str(error)
        except Exception as error:  # any other is a fault
            return f"RAW {type(error).__name__}: {error}"
    return ""


def refusals(operators: Mapping[str, Operator], way: str) -> Iterator[tuple[str, str]]:
    """The name of each operator, and what its export says."""
    text = refusal([WAYS[way](operator) for operator in operators.values()], way)
    if not text or len(operators) == 1:
        yield from ((name, text) for name in operators)
        return
    rows = list(operators.items())
    half = len(rows) // 2
    for part in (rows[:half], rows[half:]):
        yield from refusals(dict(part), way)


def has(operator: Operator, way: str) -> bool:
    """Whether torch itself can compute an operator in a way."""
    x = torch.randn(3, 5, 4)
    try:
        return way in ("plain", "field") or (operator(x).is_floating_point() and WAYS[way](operator)(x) is not None)
    except Exception:  # torch has no derivative of some operators
        return False


def main() -> None:
    """Try the operators that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--way", choices=WAYS, default="field")
    parser.add_argument("-k", default="", help="a part of the names")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    chosen = [(name, one) for name, one in roster().items() if options.k in name and has(one, options.way)]
    counts: Counter[str] = Counter()
    for i in range(0, len(chosen), TOGETHER):
        for name, text in refusals(dict(chosen[i : i + TOGETHER]), options.way):
            found = next((line.strip() for line in text.splitlines() if "found:" in line), text.partition("\n")[0])
            counts["refused" if text else "exported"] += 1
            if text:
                print(f"{name:40} {found[:160]}", flush=True)
    print(f"{options.way}: " + ", ".join(f"{count} {kind}" for kind, count in counts.items()))


if __name__ == "__main__":
    main()
