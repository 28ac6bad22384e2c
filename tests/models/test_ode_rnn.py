"""The ODE-RNN and its twin: steps, gaps and missing readings; and the series of the glucose monitor."""

import pytest
import torch

from odelet_models import ode_rnn
from odelet_models.datasets import glucose

MEMBERS = list(ode_rnn.FAMILY.members)


def test_series_have_gaps_up_to_28_hours_and_end_half_an_hour_later():
    data = glucose()
    for gaps, readings in (data.train, data.test):
        assert (gaps[:, 0] == 0).all()
        assert (gaps >= 0).all()
        assert ((gaps[:, -1] - 30).abs() <= 2).all()
        assert torch.isfinite(readings).all()
    assert float(data.train[0].max()) == 1675.0  # minutes
    assert float((data.train[0][:, 1:-1] > 6).float().mean()) == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("member", MEMBERS)
def test_steps_with_the_state_carried_are_the_series_at_any_length(member):
    network = ode_rnn.FAMILY.trained(member)
    gaps, readings = (tensor[:2] for tensor in glucose().test)
    for length in (3, 25):
        with torch.no_grad():
            whole = network(gaps[:, :length], readings[:, :length])
        forecasts, _ = ode_rnn.streamed(ode_rnn.Stepped(network), gaps[:, :length], readings[:, :length])
        torch.testing.assert_close(forecasts, whole)


@pytest.mark.parametrize("member", MEMBERS)
def test_a_missing_reading_leaves_the_last_one_and_a_forecast_knows_no_reading_to_come(member):
    network = ode_rnn.FAMILY.trained(member)
    gap, reading, state = ode_rnn.step_inputs(3)
    with torch.no_grad():
        forecast, after = network.step(gap, reading, state)
        blind, unread = network.step(gap, torch.full_like(reading, torch.nan), state)
    assert torch.equal(forecast, blind)
    assert torch.equal(unread[:, 0], state[:, 0])
    torch.testing.assert_close(after[:, 0] * ode_rnn.SCALE + ode_rnn.MEAN, reading)


def test_two_gaps_are_one_gap_as_long_as_both_for_the_ode():
    network = ode_rnn.OdeRnn(rtol=1e-6, atol=1e-6)
    network.load_state_dict(ode_rnn.FAMILY.trained("ode_rnn").state_dict())
    network.eval()
    _, reading, state = ode_rnn.step_inputs(4)
    blind = torch.full_like(reading, torch.nan)
    first, second = torch.tensor([[5.0, 20.0, 90.0, 1600.0], [7.0, 40.0, 3.0, 75.0]])
    with torch.no_grad():
        half = network.step(first, blind, state).next_state
        both = network.step(second, blind, half)
        once = network.step(first + second, blind, state)
    torch.testing.assert_close(both.forecast, once.forecast, rtol=1e-4, atol=0.02)
    torch.testing.assert_close(both.next_state, once.next_state, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_the_step_of_an_artifact_is_streamed_with_its_state_carried(tmp_path):
    import odelet
    from odelet_export import export

    network = ode_rnn.FAMILY.trained("ode_rnn")
    use = ode_rnn.FAMILY.members["ode_rnn"].uses["step"]
    export(use.module(network), use.inputs(4), tmp_path / "step", dynamic=use.dynamic, samples=2)
    gaps, readings = (tensor[:3] for tensor in glucose().test)
    readings = readings.clone()
    readings[1, 5:9] = torch.nan
    stream = odelet.load(tmp_path / "step").stream(
        carry={"state": "next_state"}, state=torch.zeros(3, 1 + ode_rnn.HIDDEN).numpy()
    )
    with torch.no_grad():
        wanted = network(gaps, readings)
    for i in range(gaps.shape[1]):
        forecast = stream(gap=gaps[:, i].numpy(), reading=readings[:, i].numpy()).forecast
        torch.testing.assert_close(torch.from_numpy(forecast), wanted[:, i], rtol=1e-4, atol=0.05)
    assert stream.steps == 25
