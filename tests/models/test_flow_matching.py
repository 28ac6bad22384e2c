"""Flow matching: guidance, steps, and the mathematics of the loss."""

import pytest
import torch
from torch import nn

import odelet
from odelet_export import export
from odelet_models import flow_matching
from odelet_models.datasets import digits
from odelet_models.family import accuracy


@pytest.fixture(scope="module")
def guided():
    return flow_matching.Guided(flow_matching.FAMILY.trained("flow_matching"))


def read(guided, *, steps: int, guidance: float) -> float:
    labels = digits().test[1]
    noise = flow_matching.sample_inputs(len(labels))[0]
    with torch.no_grad():
        samples = guided(noise, labels, torch.full((len(labels),), guidance), torch.linspace(0.0, 1.0, steps + 1))
    return accuracy(flow_matching.reader(), samples, labels)


def test_guidance_makes_samples_more_readable(guided):
    assert read(guided, steps=8, guidance=2.0) > read(guided, steps=8, guidance=1.0) + 0.01


def test_guidance_of_zero_asks_for_no_class(guided):
    assert read(guided, steps=8, guidance=0.0) < 0.25


def test_strong_guidance_needs_more_than_one_step_and_few_suffice(guided):
    one, four, sixteen = (read(guided, steps=steps, guidance=2.0) for steps in (1, 4, 16))
    assert one < 0.9
    assert four == pytest.approx(sixteen, abs=0.01)
    assert four > 0.98


def test_each_sample_has_a_guidance_of_its_own(guided):
    noise, label = flow_matching.sample_inputs(3)
    times, guidance = torch.linspace(0.0, 1.0, 4), torch.tensor([0.0, 1.0, 3.0])
    with torch.no_grad():
        together = guided(noise, label, guidance, times)
        for row in range(3):
            alone = guided(noise[row, None], label[row, None], guidance[row, None], times)
            torch.testing.assert_close(alone[0], together[row], rtol=1e-4, atol=1e-3)


def test_one_artifact_serves_any_number_of_steps_and_any_guidance(guided, tmp_path):
    use = flow_matching.FAMILY.members["flow_matching"].uses["guided"]
    artifact = odelet.load(export(guided, use.inputs(4), tmp_path / "guided", dynamic=use.dynamic).path)
    noise, label = flow_matching.sample_inputs(3)
    for steps, guidance in ((1, 0.0), (3, 2.0), (20, 5.0)):
        inputs = (noise, label, torch.full((3,), guidance), torch.linspace(0.0, 1.0, steps + 1))
        arrays = [value.numpy() for value in inputs]
        assert artifact.solve(*arrays).stats.evaluations == 2 * steps
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(artifact(*arrays)), guided(*inputs), rtol=1e-4, atol=1e-3)


def test_the_loss_is_zero_for_the_velocity_of_a_single_image():
    """With one image x1, the velocity at x, t is (x1 - x) / (1 - t)."""
    image = torch.rand(1, 64) * 16
    x1 = flow_matching.scaled(image)

    class Exact(nn.Module):
        def forward(self, t, x, label):
            return (x1 - x) / (1 - t)

    images, labels = image.expand(32, 64), torch.zeros(32, dtype=torch.int64)
    assert flow_matching.matching_loss(Exact(), images, labels) < 1e-6


def test_a_share_of_samples_is_trained_without_their_class():
    seen = []

    class Watching(nn.Module):
        def forward(self, t, x, label):
            seen.append(label)
            return x

    labels = torch.arange(4000) % 10
    flow_matching.matching_loss(Watching(), torch.zeros(4000, 64), labels)
    unlabelled = seen[0] == flow_matching.ANY_CLASS
    assert unlabelled.double().mean().item() == pytest.approx(flow_matching.UNLABELLED, abs=0.03)
    assert torch.equal(seen[0][~unlabelled], labels[~unlabelled])


def test_the_evidence_loss_is_the_gaussian_likelihood_where_the_code_says_nothing():
    """An encoder that answers the prior has no divergence, and a decoder of zeros has the error of the images."""
    vae = flow_matching.VAE()
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.zero_()
    images, labels = torch.rand(5, 64) * 16, torch.arange(5)
    wanted = 0.5 * flow_matching.scaled(images).square().mean()
    torch.testing.assert_close(flow_matching.evidence_loss(vae, images, labels), wanted)


def test_ink_is_the_inverse_of_scale_and_is_clipped():
    images = torch.rand(3, 64) * 16
    torch.testing.assert_close(flow_matching.inked(flow_matching.scaled(images)), images, rtol=1e-5, atol=1e-5)
    assert flow_matching.inked(torch.tensor([-2.0, 2.0])).tolist() == [0.0, 16.0]
