"""The models of patrick-kidger/NeuralCDE, with its own controldiffeq, built as experiments/common.py does."""

from __future__ import annotations

from typing import Any

import torch
from trial import Script, Source, Trial, stub

SOURCE = Source("patrick-kidger/NeuralCDE", "controldiffeq/, experiments/models/ at commit 7e529f5", "NeuralCDE")


def _model(*, recurrent: bool = False) -> Any:
    stub("tqdm", "sklearn")
    from experiments.models import metamodel, vector_fields

    if recurrent:
        field = vector_fields.GRU_ODE(input_channels=3, hidden_channels=6)
    else:
        field = vector_fields.FinalTanh(3, 6, hidden_hidden_channels=12, num_hidden_layers=2)
    return metamodel.NeuralCDE(field, 3, 6, 2).eval()


def _coefficients(batch: int, length: int) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    import controldiffeq

    times = torch.linspace(0, length - 1, length)
    path = torch.randn(batch, length, 2).cumsum(1) * 0.3
    path = torch.cat((times.expand(batch, length).unsqueeze(-1), path), -1)
    return times, controldiffeq.natural_cubic_spline_coeffs(times, path)


def _classify(model: Any, **options: Any) -> Trial:
    def run(times: Any, a: Any, b: Any, c: Any, d: Any, final_index: Any) -> torch.Tensor:
        return model(times, (a, b, c, d), final_index, **options)

    times, coefficients = _coefficients(4, 7)
    dynamic = {name: {0: "batch"} for name in ("a", "b", "c", "d", "final_index")}
    return Trial(Script(run, model), (times, *coefficients, torch.tensor([6, 3, 6, 4])), dynamic)


@SOURCE.case("rk4 with the smallest gap as the step, lengths that differ: final_index.unique(), then gather")
def lengths_differ() -> Trial:
    return _classify(_model())


@SOURCE.case("stream=True: the state at every observation")
def stream() -> Trial:
    return _classify(_model(), stream=True)


@SOURCE.case("stream=True with dopri5", forms={"auto": {}, "driven": {}})
def stream_adaptively() -> Trial:
    return _classify(_model(), stream=True, method="dopri5")


@SOURCE.case("a GRU-ODE as a neural CDE: a table of constants repeated over the batch, written into")
def gru_ode() -> Trial:
    return _classify(_model(recurrent=True), stream=True)


@SOURCE.case("coefficients of the natural spline computed inside the model")
def from_observations() -> Trial:
    model = _model()

    def run(times: torch.Tensor, path: torch.Tensor, final_index: torch.Tensor) -> torch.Tensor:
        import controldiffeq

        coefficients = controldiffeq.natural_cubic_spline_coeffs(times, path)
        return model(times, coefficients, final_index, stream=True)

    times = torch.linspace(0, 6, 7)
    args = (times, torch.randn(4, 7, 3).cumsum(1) * 0.3, torch.full((4,), 6))
    return Trial(Script(run, model), args, {"path": {0: "batch"}, "final_index": {0: "batch"}})
