"""Constants of traces at several sizes: which are rows that repeat, and what is folded."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from odelet_export.capture.size_constants import fold, rows_of

SIZES = [{"batch": 3, "other": 5}, {"batch": 14, "other": 10}, {"batch": 11, "other": 7}]
PAIRS = torch.tensor([[0, 1, 2], [2, 0, 1]])


def constants(make):
    return [make(sizes["batch"]) for sizes in SIZES]


@pytest.mark.parametrize(
    "make",
    [
        lambda n: torch.cat([PAIRS + 4 * i for i in range(n)], 1),
        lambda n: torch.arange(n).repeat_interleave(3),
        lambda n: torch.arange(n).repeat(3),
        lambda n: torch.arange(n) * 2 + 5,
        lambda n: torch.full((n, 2), 7),
        lambda n: torch.tensor([[0.5, 1.5]]).repeat(n, 1),
        lambda n: torch.stack([torch.eye(2) * i for i in range(n)]),
    ],
)
def test_rows_that_step_from_one_to_the_next_are_found_and_hold_at_any_size(make):
    rows = rows_of(constants(make), SIZES)
    assert rows.label == "batch"
    for size in (1, 2, 6):
        torch.testing.assert_close(rows.at(size), make(size), rtol=0, atol=0)


@pytest.mark.parametrize(
    "make",
    [
        lambda n: torch.arange(n) ** 2,
        lambda n: torch.linspace(0, 1, n),
        lambda n: torch.tensor([n]),
        lambda n: torch.ones(n, dtype=torch.bool),
        lambda n: torch.zeros(n, n),
        lambda n: torch.arange(n + 1),
        lambda n: torch.zeros(n, dtype=torch.int64 if n == 3 else torch.int32),
    ],
)
def test_other_constants_are_none(make):
    assert rows_of(constants(make), SIZES) is None


def test_a_loop_over_constants_is_folded_and_the_graph_gives_the_same():
    edges = torch.tensor([[0, 1], [1, 0]])

    def function(x):
        source, target = edges.unbind()
        return x[torch.cat([source + 2 * i for i in range(3)])] - x[target].sum()

    graph = make_fx(function)(torch.randn(6, 2))
    expected = graph(x := torch.randn(6, 2))
    fold(graph)
    graph.recompile()
    assert torch.ops.aten.cat.default not in [node.target for node in graph.graph.nodes]
    torch.testing.assert_close(graph(x), expected)


def test_nothing_is_folded_where_a_constant_may_be_written_into():
    counts = torch.zeros(3, dtype=torch.int64)

    def function(x):
        return x + (counts.clone().add_(1) * 2)

    graph = make_fx(function)(torch.randn(3))
    before = str(graph.graph)
    fold(graph)
    assert str(graph.graph) == before


def test_random_numbers_are_not_folded():
    def function(x):
        return x[torch.randint(0, 3, (2,))] + torch.randperm(2) * torch.randint_like(torch.ones(2).long(), 3)

    graph = make_fx(function)(torch.randn(3))
    count = len(graph.graph.nodes)
    fold(graph)
    assert len([n for n in graph.graph.nodes if "rand" in str(n.target)]) == 3
    assert len(graph.graph.nodes) <= count
