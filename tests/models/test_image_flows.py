"""Flows of images: volumes, inverses, and the start of Glow from its first batch."""

import math
from functools import partial

import pytest
import torch

from odelet_models import image_flows
from odelet_models.datasets import images
from odelet_models.image_flows_networks import LEVELS, ActNorm, Glow, Mix, dequantized, levels
from odelet_train import Settings, fit
from odelet_train.fitting import Task


def small_glow():
    torch.manual_seed(0)
    glow = Glow(hidden=4, steps=1).double().eval()
    for parameter in glow.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return glow


def test_images_are_divided_without_a_common_image():
    data = images()
    assert data.train[0].shape == (4750, 1, 14, 14)
    assert (data.train[0].min(), data.train[0].max()) == (0, 255)
    assert set(data.test[1].tolist()) == set(range(10))
    seen = {image.numpy().tobytes() for image in data.train[0]}
    assert not any(image.numpy().tobytes() in seen for image in data.test[0])


def test_dequantized_levels_come_back_as_numbers_between_them_and_the_next():
    x = torch.arange(LEVELS).double().reshape(1, 1, 16, 16)
    y, change = dequantized(x)
    back = levels(y)
    assert torch.equal(back.floor(), x)
    (level_per_number,) = torch.autograd.grad(levels(y.requires_grad_(True)).sum(), y)
    assert change.item() == pytest.approx(-level_per_number.log().sum().item(), abs=1e-6)


def test_noise_of_glow_has_its_volume_and_its_inverse():
    glow = small_glow()
    y = torch.randn(2, 1, 16, 16, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda row: glow.noise(row[None])[0][0], y[1]).reshape(256, 256)
    with torch.no_grad():
        z, change = glow.noise(y)
        assert change[1].item() == pytest.approx(torch.linalg.slogdet(jacobian).logabsdet.item(), abs=1e-8)
        torch.testing.assert_close(glow.inverse(z), levels(y[:, :, 1:-1, 1:-1]), rtol=0, atol=1e-8)


def test_the_rim_of_glow_costs_nothing():
    """With a flow that changes nothing, the bound is that of the inner pixels alone."""
    glow = Glow(hidden=4, steps=0, scales=1)
    x = image_flows.example_images(3)[0]
    torch.manual_seed(0)
    bound = glow(x)
    torch.manual_seed(0)
    y, change = dequantized(x)
    alone = change - 0.5 * (y.square() + math.log(2 * math.pi)).flatten(1).sum(1)
    torch.testing.assert_close(bound, alone)


def test_a_mix_starts_as_a_rotation():
    matrix = Mix(6).matrix()
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(6))


def test_act_norm_starts_from_the_first_batch_of_training_alone():
    layer, x = ActNorm(3), 5 + 2 * torch.randn(64, 3, 4, 4)
    assert torch.equal(layer.eval()(x)[0], x)
    y, _ = layer.train()(x)
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(y.std((0, 2, 3)), torch.ones(3), atol=1e-2, rtol=0)
    torch.testing.assert_close(layer(x + 1)[0], y + layer.scale.exp())  # The second batch changes nothing.
    torch.testing.assert_close(layer.inverse(y), x)


def test_training_of_glow_resumes_to_the_same_weights_after_its_start(tmp_path, monkeypatch):
    rows = [part[:24] for part in images().train]
    settings = Settings(epochs=2, batch_size=8)

    def fitted(name, **options):
        build = partial(Glow, hidden=4, steps=1)
        loss = image_flows.likelihood_loss
        return fit(build, rows, tmp_path / name, loss=loss, settings=settings, progress=False, **options)

    unbroken = fitted("a.ckpt")
    original = Task.training_step

    def fail_in_second_epoch(self, batch, index):
        if self.current_epoch == 1:
            raise RuntimeError("power cut")
        return original(self, batch, index)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):
        patch.setattr(Task, "training_step", fail_in_second_epoch)
        fitted("b.ckpt")
    resumed = fitted("b.ckpt", resume=True)
    first, second = unbroken.state_dict(), resumed.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert all(value for key, value in first.items() if key.endswith("started"))


@pytest.mark.parametrize("member", image_flows.FAMILY.members)
def test_most_of_a_sample_is_dark_as_in_the_data(member):
    with torch.no_grad():
        use = image_flows.FAMILY.members[member].uses["sample"]
        samples = use.module(image_flows.FAMILY.trained(member))(*use.inputs(16))
    dark = (images().train[0] < 1).float().mean()
    assert samples.shape == (16, 1, 14, 14)
    assert float((samples < 1).float().mean()) == pytest.approx(float(dark), abs=0.15)
