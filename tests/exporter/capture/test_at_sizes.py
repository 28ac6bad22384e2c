"""Traces at several sizes become one graph, in which numbers that differ among them are computed from the sizes."""

import pytest
import torch
from torch.func import jacrev, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from odelet_export.capture.at_sizes import AtSizes, Unlike

DYNAMIC = {"x": {0: "batch"}, "z": {0: "points", 1: "batch"}}


def united(function, example=None, dynamic=DYNAMIC):
    """The graph of a function at all sizes, from traces at three."""
    example = example or [torch.randn(3, 4), torch.randn(7, 3)]

    def traced(tensors):
        graph = make_fx(function, tracing_mode="fake", _allow_non_fake_inputs=True)(*tensors)
        graph.graph.eliminate_dead_code()
        return graph

    return AtSizes.of(traced, example, list(dynamic), dynamic).united(traced(example))


@pytest.mark.parametrize(
    "function",
    [
        lambda x, z: x.reshape(int(x.shape[0]) * 2, 2).sum(1) + 1.0,
        lambda x, z: torch.zeros(int(x.shape[0]) + 3) + int(z.shape[0]),
        lambda x, z: x[: int(x.shape[0]) // 2],
        lambda x, z: z.new_ones(int(x.shape[0]) * int(z.shape[0]) - 1),
        lambda x, z: torch.arange(int(x.shape[0]) * int(x.shape[0])).float(),
        lambda x, z: torch.ones(4 - 2) * z.sum() + x[-int(x.shape[0]) + 1 :].sum(),
    ],
    ids=["product", "sum", "half", "two_labels", "square", "negative"],
)
@pytest.mark.parametrize(("batch", "points"), [(1, 2), (8, 3), (20, 1)])
def test_numbers_are_computed_from_the_sizes(function, batch, points):
    graph = united(function)
    x, z = torch.randn(batch, 4), torch.randn(points, batch)
    torch.testing.assert_close(graph(x, z), function(x, z))


def test_a_jacobian_under_vmap_has_no_size_in_it():
    layer = torch.nn.Linear(4, 4).requires_grad_(False)

    def trace(x):
        return vmap(lambda v: torch.trace(jacrev(lambda u: layer(torch.cat([u[:1], u[1:]])))(v)))(x)

    graph = united(trace, [torch.randn(3, 4)], {"x": {0: "batch"}})
    x = torch.randn(5, 4)
    torch.testing.assert_close(graph(x), trace(x))


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda x, z: sum(row for row in x), "operators"),
        (lambda x, z: x.sin() if x.shape[0] == 3 else x.cos(), "sin"),
        (lambda x, z: x * torch.tensor([float(x.shape[0])]), "constants"),
        (lambda x, z: x * (2.0 ** int(x.shape[0])), "mul"),
    ],
)
def test_traces_that_differ_in_more_than_numbers_are_refused(function, text):
    with pytest.raises(Unlike, match=text):
        united(function)
