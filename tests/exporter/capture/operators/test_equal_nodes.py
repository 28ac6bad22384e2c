"""Nodes that compute the same are merged before the translation; the graph computes what it did."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from support.fingerprints import fingerprints
from torch import nn
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torchdiffeq import odeint

from odelet_export.capture import onnx_model, tracers
from odelet_export.capture.capture import capture
from odelet_export.capture.operators.equal_nodes import merge_in_trace
from odelet_export.model.callee import Callee
from odelet_export.model.overrides import Overrides

X = torch.tensor([[0.5, -1.0, 2.0], [1.5, 0.25, -0.5]])


def _trace(function: Callable[[torch.Tensor], torch.Tensor]) -> GraphModule:
    return make_fx(function, tracing_mode="symbolic")(X)


def _count(traced: GraphModule, operator: str) -> int:
    return sum(operator in str(node.target) for node in traced.graph.nodes if node.op == "call_function")


def _merged(function: Callable[[torch.Tensor], torch.Tensor]) -> GraphModule:
    traced = _trace(function)
    merge_in_trace(traced)
    torch.testing.assert_close(traced(2 * X), function(2 * X), rtol=0, atol=0)
    return traced


def test_equal_nodes_and_what_depends_on_them_are_merged() -> None:
    traced = _merged(lambda x: torch.tanh(x.sin() * 2.0) + torch.tanh(x.sin() * 2.0) * x.shape[0])
    assert [_count(traced, name) for name in ("sin", "tanh")] == [1, 1]


def test_equal_constants_are_one() -> None:
    traced = _merged(lambda x: (x * torch.tensor([1.0, 2.0, 3.0])).exp() + (x * torch.tensor([1.0, 2.0, 3.0])).exp())
    assert _count(traced, "exp") == 1


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (x * 1).exp() + (x * 1.0).exp() + (x * True).exp(),
        lambda x: (x * 0.0).exp() + (x * -0.0).exp() + torch.ones_like(x),
        lambda x: (x * torch.tensor([1.0, 2.0, 3.0])).exp() + (x * torch.tensor([1.0, 2.0, 4.0])).exp(),
        lambda x: x.sum(0).exp() + x.sum(1)[:1].exp() + x[:1].exp(),
    ],
    ids=["types of numbers", "signs of zero", "constants", "axes"],
)
def test_what_differs_stays_apart(function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    assert _count(_merged(function), "exp") == _count(_trace(function), "exp")


def test_a_graph_that_writes_stays_as_it_is() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        first = x.sin()
        before = first.exp()
        first.mul_(2.0)
        return before + first.exp() + x.sin()

    traced = _merged(function)
    assert [_count(traced, name) for name in ("exp", "sin")] == [2, 2]


def test_random_numbers_stay_apart() -> None:
    traced = _trace(lambda x: torch.rand_like(x) - torch.rand_like(x))
    merge_in_trace(traced)
    assert _count(traced, "rand") == 2


class _Paths(nn.Module):
    """A field with a gradient and three paths, which differ in one factor."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        def field(t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            with torch.enable_grad():
                y = y.detach().requires_grad_(True)
                slope = self.layers(y)
                gradient = torch.autograd.grad((slope * slope).sum(), y)[0]
            factor = 0.0 if t < 0.3 else 1.0 if t < 0.8 else 0.5
            return slope.detach() - factor * gradient

        return odeint(field, x, torch.linspace(0, 1, 5), method="euler")[-1]


def test_the_paths_of_a_field_share_what_they_share(monkeypatch: pytest.MonkeyPatch) -> None:
    def captured() -> tuple[list[str], int]:
        callee = Callee(_Paths().eval(), (X,), {})
        result = capture(callee, {"x": {0: "batch"}}, Overrides(), opset=20)
        assert result.tracer == "make_fx"
        return fingerprints(result.model), sum("tanh" in str(node.target) for node in result.program.graph.nodes)

    merged, count = captured()
    monkeypatch.setattr(tracers, "merge_in_trace", lambda traced: None)
    monkeypatch.setattr(onnx_model, "merge_in_program", lambda program: None)
    whole, count_of_paths = captured()
    assert merged == whole
    assert (count, count_of_paths) == (1, 3)
