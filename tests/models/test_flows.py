"""Flows of rows: their densities are those of their samples, and regularization makes an ODE cheaper to solve."""

import pytest
import torch

from odelet_models import flows, flows_wine, load_family
from odelet_models.flows_networks import ContinuousFlow, ResidualFlow, normal

MEMBERS = [(name, member) for name in ("flows", "flows_wine") for member in load_family(name).members]
# The share of FFJORD's calls that RNODE may need at the same tolerance.
CHEAPER = 0.75


def precise(name, member):
    network = load_family(name).trained(member).double()
    if isinstance(network, ContinuousFlow):
        network.solver |= {"rtol": 1e-8, "atol": 1e-8}
    return network


def density(network, x):
    """The log density of one row; an estimated trace is replaced by the sum over the axes, which is exact."""
    if not isinstance(network, ContinuousFlow) or network.exact:
        return network(x).squeeze(0)
    dims = x.shape[1]
    axes = network(x.expand(dims, dims), torch.eye(dims, dtype=x.dtype))
    noise = normal(noise_of(network, x))
    return noise.squeeze(0) + (axes - noise).sum()


def noise_of(network, x):
    from torchdiffeq import odeint

    return odeint(network.field, x, network.times, **network.solver)[-1]


@pytest.mark.parametrize(("name", "member"), MEMBERS)
def test_the_density_of_a_sample_follows_from_the_change_of_volume(name, member):
    network = precise(name, member)
    dims = load_family(name).data().train[0].shape[1]
    (z,) = flows.rows(1, dims=dims)
    z = z.double()
    step = 1e-4
    with torch.no_grad():
        apart = torch.cat([z + step * torch.eye(dims), z - step * torch.eye(dims)]).double()
        ends = network.inverse(apart)
        jacobian = (ends[:dims] - ends[dims:]) / (2 * step)
        expected = normal(z)[0] - torch.linalg.slogdet(jacobian).logabsdet
        x = network.inverse(z)
    # The residual blocks are inverted to 1e-5.
    tolerance = 0.05 if isinstance(network, ResidualFlow) else 1e-4
    assert float(density(network, x).detach()) == pytest.approx(float(expected), abs=tolerance)


@pytest.mark.parametrize(("name", "member"), MEMBERS)
def test_samples_have_the_mean_and_the_deviation_of_the_data(name, member):
    network = load_family(name).trained(member)
    dims = load_family(name).data().train[0].shape[1]
    with torch.no_grad():
        samples = network.inverse(flows.rows(1000, dims=dims)[0])
    assert torch.isfinite(samples).all()
    assert samples.mean(0).abs().max() < 0.3
    assert (samples.std(0) - 1).abs().max() < 0.4


def test_the_density_leaves_its_argument_as_it_was():
    for member in flows.FAMILY.members:
        (x,) = flows.rows(3)
        before = x.clone()
        flows.FAMILY.trained(member)(x)
        assert torch.equal(x, before)
        assert not x.requires_grad


def calls(member, way):
    network = flows.FAMILY.trained(member)
    count = 0

    def counted(*_):
        nonlocal count
        count += 1

    network.layers.register_forward_hook(counted)
    with torch.no_grad():
        getattr(network, way)(flows.FAMILY.data().test[0][:400])
    return count


@pytest.mark.parametrize("way", ["forward", "inverse"])
def test_rnode_is_solved_with_fewer_calls_than_ffjord(way):
    assert calls("rnode", way) <= CHEAPER * calls("ffjord", way)


def test_residual_blocks_shorten_distances():
    a, b = flows.rows(2000)[0].chunk(2)
    for block in flows.FAMILY.trained("residual_flow").blocks:
        with torch.no_grad():
            share = (block.residual(a) - block.residual(b)).norm(dim=1) / (a - b).norm(dim=1)
        assert share.max() < 1


def test_the_score_is_in_nats_per_dimension():
    x = flows.rows(5, dims=4)[0].double()
    assert flows.nats(normal, x) == pytest.approx(-normal(x).mean().item() / 4)
    assert flows_wine.score(normal, x) == pytest.approx(flows.nats(normal, x))


def test_an_estimated_trace_depends_on_the_drawn_direction_and_on_nothing_else():
    flow = flows_wine.FAMILY.trained("ffjord_wine")
    x, direction = flows_wine.rows_and_directions(3)
    with torch.no_grad():
        torch.manual_seed(0)
        drawn = torch.randn_like(x).sign()
        torch.manual_seed(0)
        assert torch.equal(flow(x), flow(x, drawn))
        assert not torch.equal(flow(x, drawn), flow(x, direction))
