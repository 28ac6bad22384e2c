"""The neural CDEs of jambo6/online-neural-cdes, with the torchcde beside them, and its ODE-RNN."""

from __future__ import annotations

import sys
from typing import Any

import torch
from trial import Source, Trial, stub

SOURCE = Source(
    "jambo6/online-neural-cdes", "src/ncde/, src/benchmarks/odernn.py at commit 0ff1ef5", "online-neural-cdes/src"
)


def _imports() -> Any:
    (root,) = (path for path in sys.path if path.endswith("online-neural-cdes/src"))
    sys.path.insert(0, root.removesuffix("src") + "modules/torchcde")
    stub("autots.preprocessing")
    import torchcde

    return torchcde


def _run(interpolation: str, *, length: bool = False, **options: Any) -> Trial:
    torchcde = _imports()
    from ncde import NeuralCDE

    x = torch.randn(2, 6, 3)
    x[..., 0] = torch.arange(6.0)
    if interpolation == "cubic":
        coefficients = torchcde.natural_cubic_coeffs(x)
    else:
        coefficients = torchcde.linear_interpolation_coeffs(
            x, rectilinear=0 if interpolation == "rectilinear" else None
        )
    model = NeuralCDE(3, 4, 2, interpolation=interpolation, hidden_hidden_dim=5, num_layers=2, **options).eval()
    return Trial(model, (coefficients,), {"inputs": {0: "batch", 1: "length"} if length else {0: "batch"}})


@SOURCE.case("cubic control, a GRU's gates in the field")
def cubic() -> Trial:
    return _run("cubic", vector_field="gru")


@SOURCE.case("linear control of any length, a minimal gate, states at all observations")
def sequences() -> Trial:
    return _run("linear", vector_field="minimal", return_sequences=True, length=True)


@SOURCE.case("a field of the control's value")
def evaluate() -> Trial:
    return _run("cubic", vector_field_type="evaluate")


@SOURCE.case("linear control smoothed by cubics: all() of decisions on t in the field")
def smooth() -> Trial:
    return _run("linear_cubic_smoothing", interpolation_eps=0.1)


@SOURCE.case("ODE-RNN: torch.Tensor([0, t]) for each gap")
def ode_rnn() -> Trial:
    from benchmarks.odernn import ODERNN

    return Trial(ODERNN(3, 4, 2, hidden_hidden_dim=5).eval(), (torch.randn(2, 5, 3),), {"inputs": {0: "batch"}})
