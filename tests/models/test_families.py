"""The models: every family runs, and the trained weights in the repository are what their card says."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from odelet_models import FAMILIES, example_inputs, load_family, odenet
from odelet_train import accuracy, load_checkpoint
from odelet_train.data import digits


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", FAMILIES)
def test_family_builds_and_runs(name, batch):
    torch.manual_seed(0)
    model = load_family(name)().eval()
    with torch.no_grad():
        output = model(*example_inputs(name, batch))
    assert output.shape[0] == batch
    assert torch.isfinite(output).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_example_inputs_depend_on_the_seed_only(name):
    first, again, other = (example_inputs(name, 2, seed=seed) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("function", [load_family, lambda name: example_inputs(name, 1)])
def test_unknown_family_is_refused(function):
    with pytest.raises(ValueError, match="name='resnet' is not a model family; choose one of .*odenet"):
        function("resnet")


def test_listing_families_imports_no_torch():
    code = "import sys, odelet_models; assert odelet_models.FAMILIES; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_odenet_gradients_reach_every_weight():
    torch.manual_seed(0)
    model = odenet.digits()
    (images,) = odenet.example_inputs(4)
    model(images).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize("channels", [0, -4, 6])
def test_odenet_refuses_channels_that_do_not_group(channels):
    with pytest.raises(ValueError, match=f"channels={channels} .* multiple of 4"):
        odenet.ODENet(channels=channels)


@pytest.mark.parametrize("shape", [(64,), (2, 8, 8), (2, 63)])
def test_odenet_refuses_images_of_another_shape(shape):
    with pytest.raises(ValueError, match=r"x has shape .* takes \(batch, 64\); flatten"):
        odenet.digits()(torch.zeros(shape))


def test_pretrained_weights_classify_the_held_out_digits():
    split = digits()
    state, card = load_checkpoint(odenet.PRETRAINED.with_suffix(".json"))
    model = odenet.digits_pretrained()
    measured = accuracy(model, split.test_images, split.test_labels)

    assert not model.training
    assert measured >= 0.97
    # On another processor, one digit may fall to the other side of a decision.
    assert measured == pytest.approx(card.test_accuracy, abs=1.01 / len(split.test_labels))
    assert card.split["sha256"] == split.digest()
    assert card.parameters == sum(value.numel() for value in model.state_dict().values())
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_absent_pretrained_weights_say_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(odenet, "PRETRAINED", Path(tmp_path, "odenet-digits.safetensors"))
    with pytest.raises(FileNotFoundError, match=r"odenet-digits\.safetensors are not in .*odelet train"):
        odenet.digits_pretrained()
