"""The ODE-Net and its twin: inputs that they refuse, and gradients."""

import numpy as np
import pytest
import torch

from odelet_models import odenet
from odelet_models.datasets import digits

DIGEST = "80f1606171430798eb8910bbc4efb77a4147fc11eef3bafdd649d7650d726c94"


def test_the_digits_are_always_divided_in_the_same_balanced_way():
    data = digits()
    assert data.digest() == DIGEST
    assert data.train[0].shape == (1437, 64)
    assert data.test[0].shape == (360, 64)
    assert data.train[0].dtype == torch.float32
    assert set(np.bincount(data.test[1])) <= {35, 36, 37}
    seen = {image.numpy().tobytes() for image in data.train[0]}
    assert not any(image.numpy().tobytes() in seen for image in data.test[0])


@pytest.mark.parametrize("member", odenet.FAMILY.members)
def test_gradients_reach_every_weight(member):
    torch.manual_seed(0)
    model = odenet.FAMILY.members[member].build()
    (images,) = odenet.example_inputs(4)
    model(images).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize("channels", [0, -4, 6])
def test_odenet_refuses_channels_that_do_not_group(channels):
    with pytest.raises(ValueError, match=f"channels={channels} .* multiple of 4"):
        odenet.ODENet(channels=channels)


@pytest.mark.parametrize("member", odenet.FAMILY.members)
@pytest.mark.parametrize("shape", [(64,), (2, 8, 8), (2, 63)])
def test_images_of_another_shape_are_refused(member, shape):
    with pytest.raises(ValueError, match=r"x has shape .* takes \(batch, 64\); flatten"):
        odenet.FAMILY.members[member].build()(torch.zeros(shape))


def test_shift_moves_by_at_most_one_pixel():
    torch.manual_seed(0)
    image = torch.zeros(1, 64)
    image[0, 27] = 16.0  # row 3, column 3
    moved = odenet.shift(image.repeat(200, 1))
    assert moved.shape == (200, 64)
    assert set(moved.argmax(dim=1).tolist()) == {r * 8 + c for r in (2, 3, 4) for c in (2, 3, 4)}
    assert torch.equal(moved.sum(dim=1), torch.full((200,), 16.0))
