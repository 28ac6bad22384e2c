"""Deep equilibrium models: their states are equilibria, at the tolerance that is asked for."""

import pytest
import torch

from odelet_models import deq, odenet
from odelet_models.datasets import digits


@pytest.fixture(scope="module")
def network():
    return deq.FAMILY.trained("deq")


def calls_of_layer(network, images) -> int:
    seen = []
    handle = network.layer.register_forward_hook(lambda *_: seen.append(1))
    with torch.no_grad():
        network(images)
    handle.remove()
    return len(seen)


def test_every_held_out_digit_has_an_equilibrium(network, recwarn):
    images = digits().test[0]
    with torch.no_grad():
        z = deq.Equilibrium(network)(images)
        change = network.layer(z, network.stem(odenet.images_of(images))) - z
    assert not [warning for warning in recwarn if issubclass(warning.category, RuntimeWarning)]
    # The state was returned by the call that met the tolerance; where the layer contracts, a further call changes less.
    assert (change.flatten(1).norm(dim=1) / z.flatten(1).norm(dim=1)).max() < 2 * deq.RTOL


def test_the_equilibria_of_all_held_out_digits_take_fewer_calls_than_the_twin_has_layers(network):
    assert calls_of_layer(network, digits().test[0]) < deq.LAYERS


def test_anderson_takes_fewer_calls_than_plain_iteration(network):
    images = digits().test[0][:64]
    with torch.no_grad():
        states = deq.States(network)(images).flatten(2)
    change = (states[1:] - states[:-1]).norm(dim=2) / states[1:].norm(dim=2)
    assert (change[calls_of_layer(network, images) - 2] > deq.RTOL).any()


def test_the_states_of_the_twin_end_in_its_answer():
    twin, images = deq.FAMILY.trained("weight_tied"), digits().test[0][:4]
    with torch.no_grad():
        states = deq.States(twin)(images)
        assert len(states) == deq.DEPTH
        torch.testing.assert_close(twin.head(states[deq.LAYERS - 1]), twin(images))


@pytest.mark.parametrize("member", deq.FAMILY.members)
def test_gradients_reach_every_weight(member):
    torch.manual_seed(0)
    model = deq.FAMILY.members[member].build().train()
    deq.FAMILY.members[member].loss(model, deq.some_digits(4)[0], torch.arange(4)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
