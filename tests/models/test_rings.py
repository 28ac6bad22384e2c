"""Nested rings: the points, and what a neural ODE in the plane pays for separating them."""

import pytest
import torch

from odelet_models import rings

# The field in the plane is called at least this many times as often as that with a dimension more.
MORE_CALLS = 2


def test_points_lie_in_the_disc_or_in_the_ring_of_their_class():
    data = rings.rings()
    for points, labels in (data.train, data.test):
        radius = points.norm(dim=1)
        for number, (low, high) in enumerate(rings.RADII):
            chosen = radius[labels == number]
            assert len(chosen) == len(points) // 2
            assert low - 1e-3 <= chosen.min() < low + 0.05
            assert high - 0.05 < chosen.max() <= high + 1e-3


def calls_of_field(member: str, tolerance: float) -> int:
    network = rings.FAMILY.trained(member)
    network.tolerance = tolerance
    seen = []
    network.field.register_forward_hook(lambda *_: seen.append(1))
    with torch.no_grad():
        network(rings.rings().test[0])
    return len(seen)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-4, 1e-6])
def test_the_flow_in_the_plane_takes_more_calls_at_equal_tolerance(tolerance):
    assert calls_of_field("rings_node", tolerance) > MORE_CALLS * calls_of_field("rings_anode", tolerance)


def test_a_flow_in_the_plane_pulls_neighbours_apart_and_one_with_a_dimension_more_does_not():
    """The ring is torn where the flow stretches it most: some neighbours on it end far from each other."""
    angle = torch.linspace(0.0, 2 * torch.pi, 2001)
    ring = torch.stack([angle.cos(), angle.sin()], dim=1)
    stretch = {}
    for member in ("rings_node", "rings_anode"):
        with torch.no_grad():
            end = rings.Flow(rings.FAMILY.trained(member))(ring, torch.tensor([0.0, 1.0]))[-1]
        steps = (end[1:] - end[:-1]).norm(dim=1)
        stretch[member] = (steps.max() / steps.median()).item()
    assert stretch["rings_node"] > 2 * stretch["rings_anode"]


@pytest.mark.parametrize("member", ["rings_node", "rings_anode"])
def test_the_last_states_of_the_flow_decide_the_class(member):
    network = rings.FAMILY.trained(member)
    x = rings.points(5)[0]
    with torch.no_grad():
        assert torch.equal(network.head(rings.Flow(network)(x, torch.tensor([0.0, 1.0]))[-1]), network(x))


def test_the_last_layer_of_the_residual_network_decides_the_class():
    network = rings.FAMILY.trained("rings_resnet")
    x = rings.points(5)[0]
    with torch.no_grad():
        states = rings.Layers(network)(x)
        assert torch.equal(states[0], x)
        assert torch.equal(network.head(states[-1]), network(x))
