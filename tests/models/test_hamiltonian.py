"""Hamiltonian networks: what their structure keeps, and what the trained ones keep over a long time."""

import pytest
import torch

from odelet_models import hamiltonian

LONG = torch.linspace(0.0, 50.0, 11)
# The plain field loses or gains at least this many times as much energy as the Hamiltonian one.
MORE_DRIFT = 5


def test_the_states_of_the_data_keep_their_energy_and_slopes_are_measured_with_errors():
    data = hamiltonian.swings()
    states, slopes = data.train
    energy = hamiltonian.energy(states)
    torch.testing.assert_close(energy, energy[:, :1].expand_as(energy), rtol=0, atol=1e-3)
    errors = slopes - hamiltonian.pendulum(hamiltonian.TIMES, states)
    assert errors.std().item() == pytest.approx(hamiltonian.SLOPE_ERROR, rel=0.05)
    assert abs(errors.mean().item()) < 0.01


def test_the_field_of_any_hamiltonian_network_is_free_of_divergence_and_follows_lines_of_equal_energy():
    torch.manual_seed(0)
    field = hamiltonian.HNN().double()
    y = torch.randn(6, 2, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda y: field(y.new_zeros(()), y).sum(0), y, create_graph=False)
    divergence = jacobian[0, :, 0] + jacobian[1, :, 1]
    torch.testing.assert_close(divergence, torch.zeros_like(divergence), rtol=0, atol=1e-12)
    slope = torch.autograd.functional.jacobian(lambda y: field.hamiltonian(y).sum(), y)
    along = (slope * field(y.new_zeros(()), y)).sum(1)
    torch.testing.assert_close(along, torch.zeros_like(along), rtol=0, atol=1e-12)


def drift(member: str) -> float:
    """The mean change of the true energy of six pendulums after a long time, relative to the first energy."""
    model = hamiltonian.Trajectory(hamiltonian.FAMILY.trained(member), tolerance=1e-5)
    with torch.no_grad():
        energy = hamiltonian.energy(model(hamiltonian.swings().test[0][:6, 0], LONG))
    return ((energy[-1] - energy[0]) / energy[0]).abs().mean().item()


def test_energy_drifts_less_where_a_network_learns_the_energy():
    assert drift("hnn") < 0.05
    assert drift("pendulum_node") > MORE_DRIFT * drift("hnn")


def test_the_error_of_the_true_pendulum_is_that_of_rounding():
    true = hamiltonian.Trajectory(lambda t, y: hamiltonian.pendulum(t, y))
    assert hamiltonian.error(true, *hamiltonian.swings().test) < 1e-3
