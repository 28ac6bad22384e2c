"""The score model, its two samplers and its twin: densities with known scores, and points of the moons."""

import pytest
import torch

from odelet_models import score_sde
from odelet_models.datasets import moons
from odelet_models.score_sde import LAST, ProbabilityFlow, ReverseSDE, distance, kept, rate, seeded


def test_the_rate_is_the_derivative_of_what_is_kept():
    t = torch.linspace(0.0, 1.0, 11, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(kept(t).log().sum(), t)
    torch.testing.assert_close(slope, -rate(t.detach()) / 2)
    assert float(kept(torch.tensor(1.0))) < 0.06  # At the end there is noise alone.


class Narrow(score_sde.ScoreModel):
    """The exact score of points from a normal density with the deviation 0.5."""

    def score(self, x, t):
        return -x / (1 - 0.75 * kept(t).square())


@pytest.mark.parametrize("sampler", [ReverseSDE, ProbabilityFlow])
def test_with_an_exact_score_the_points_have_the_density(sampler):
    points = seeded(sampler(Narrow()))
    expected = (1 - 0.75 * float(kept(torch.tensor(LAST))) ** 2) ** 0.5
    assert float(points.std()) == pytest.approx(expected, rel=0.03)
    assert float(points.mean()) == pytest.approx(0.0, abs=0.03)


def test_the_flow_makes_equal_points_of_equal_noise_and_the_sde_does_not():
    network = score_sde.FAMILY.trained("score_sde")
    (noise,) = score_sde.example_inputs(3)
    with torch.no_grad():
        flow, sde = ProbabilityFlow(network), ReverseSDE(network)
        assert torch.equal(flow(noise), flow(noise))
        assert not torch.equal(sde(noise), sde(noise))


def test_the_flow_is_as_close_to_the_moons_as_the_sde():
    network = score_sde.FAMILY.trained("score_sde")
    (points,) = moons().test
    assert score_sde.score(ProbabilityFlow(network), points) < 0.6 * score_sde.gaussian(moons())
    assert score_sde.score(ReverseSDE(network), points) < 0.6 * score_sde.gaussian(moons())


def test_the_energy_distance_is_that_of_a_shift_and_none_of_a_set_to_itself():
    points = moons().test[0].double()
    assert float(distance(points, points)) == pytest.approx(0.0, abs=1e-12)
    # Two points at distance 3, each a set of its own: 2 * 3 - 0 - 0.
    assert float(distance(torch.zeros(1, 2), torch.tensor([[0.0, 3.0]]))) == pytest.approx(6.0)
