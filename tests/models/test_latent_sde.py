"""The latent SDE and its twin: the score of forecasts, their bands and their noise; and the windows."""

import pytest
import torch

from odelet_models import latent_sde
from odelet_models.datasets import glucose_hours

MEMBERS = list(latent_sde.FAMILY.members)


def test_windows_are_whole_and_those_to_test_go_on_from_the_history():
    data = glucose_hours()
    assert [tensor.shape[1] for tensor in (*data.train, *data.test)] == [24] * 4
    jumps = (data.test[1][:, 0] - data.test[0][:, -1]).abs()
    assert float(jumps.median()) < 10


def test_the_crps_of_a_gaussian_is_its_closed_form():
    torch.manual_seed(0)
    readings = torch.tensor([0.0, 1.5], dtype=torch.float64)
    scores = latent_sde.crps(torch.randn(200_000, 2, dtype=torch.float64), readings)
    below, density = torch.special.ndtr(readings), (-readings.square() / 2).exp() / (2 * torch.pi) ** 0.5
    wanted = readings * (2 * below - 1) + 2 * density - torch.pi**-0.5
    torch.testing.assert_close(scores, wanted, rtol=0, atol=0.01)
    sure = latent_sde.crps(torch.full((5, 2), 1.0), torch.tensor([1.0, 4.0]))
    torch.testing.assert_close(sure, torch.tensor([0.0, 3.0]))


def test_a_random_walk_is_scored_in_closed_form_as_by_draws():
    torch.manual_seed(0)
    data = glucose_hours()
    history, readings = data.train
    deviation = (readings - history[:, -1:]).square().mean(0).sqrt()
    history, readings = data.test
    draws = history[:, -1:] + deviation * torch.randn(100, *readings.shape)
    assert latent_sde.crps(draws, readings).mean().item() == pytest.approx(latent_sde.random_walk(data), rel=0.01)


@pytest.mark.parametrize("member", MEMBERS)
def test_the_band_of_80_percent_holds_70_to_90_percent_of_what_came(member):
    history, readings = glucose_hours().test
    shares = latent_sde.covered(latent_sde.seeded(latent_sde.FAMILY.trained(member), history), readings)
    assert 0.7 <= float(shares.mean()) <= 0.9


@pytest.mark.parametrize("member", MEMBERS)
def test_each_call_and_each_row_draws_a_path_of_its_own(member):
    network = latent_sde.FAMILY.trained(member)
    history = latent_sde.example_inputs(1)[0].repeat(3, 1)
    torch.manual_seed(0)
    with torch.no_grad():
        first, second = network(history), network(history)
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])
    start = (first[:, 0] - history[:, -1]).abs()
    assert float(start.max()) < 30  # A forecast goes on from the last reading.
