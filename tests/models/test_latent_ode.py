"""The latent ODE and its twin: what they complete, at which times; and the windows of CO2."""

import pytest
import torch

from odelet_models import latent_ode
from odelet_models.datasets import carbon_dioxide, some_weeks, stored

MEMBERS = list(latent_ode.FAMILY.members)


def test_windows_are_weeks_in_a_row_and_those_to_test_are_all_later():
    ppm = torch.from_numpy(stored("co2")["ppm"])
    assert int(ppm.isnan().sum()) == 59
    (train, _), (test, _) = carbon_dioxide().train, carbon_dioxide().test
    cut = round(0.8 * len(ppm))
    torch.testing.assert_close(train[3], ppm[12:116], rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(test[2], ppm[cut + 16 : cut + 120], rtol=0, atol=0, equal_nan=True)
    assert 4 * (len(train) - 1) + 104 <= cut
    assert train.isnan().any()


def test_weeks_that_are_seen_are_in_order_and_differ():
    seen = some_weeks(50)
    assert seen.shape == (50, 12)
    assert (seen.diff(dim=1) > 0).all()
    assert int(seen.min()) >= 0
    assert int(seen.max()) < 104


def test_the_error_counts_weeks_that_are_measured_and_not_seen():
    weeks = torch.tensor([[1.0, 2.0, torch.nan, 4.0]])
    seen = torch.tensor([[0]])
    assert latent_ode.hidden_error(torch.tensor([[9.0, 2.0, 9.0, 7.0]]), weeks, seen) == pytest.approx(4.5**0.5)
    lines = latent_ode.straight(weeks, torch.tensor([[0, 3]]))
    torch.testing.assert_close(lines, torch.tensor([[1.0, 2.0, 3.0, 4.0]]))


@pytest.mark.parametrize("member", MEMBERS)
def test_a_missing_week_is_no_observation_and_weeks_between_are_read(member):
    network = latent_ode.FAMILY.trained(member)
    x, t, times = latent_ode.example_inputs(3)
    x[:, 4] = torch.nan
    with torch.no_grad():
        series = network(x, t, times)
        assert torch.isfinite(series).all()
        other = network(x + 5.0, t, times)  # Five parts more everywhere are five parts more.
        torch.testing.assert_close(other, series + 5.0, rtol=1e-5, atol=1e-2)
        between = network(x, t, torch.cat([times[:2], times[1:2] + 0.01, times[2:]]))
    lines = torch.lerp(between[:, 1], between[:, 3], 0.01 / float(times[2] - times[1]))
    torch.testing.assert_close(between[:, 2], lines, rtol=0, atol=0.1)


def test_the_latent_ode_halves_the_error_of_straight_lines_with_the_weeks_that_are_stored():
    data = carbon_dioxide()
    call = latent_ode.FAMILY.trained("latent_ode")
    assert latent_ode.score(call, *data.test) < 0.6 * latent_ode.interpolation(data)
