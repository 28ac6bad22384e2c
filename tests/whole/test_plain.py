"""Models that make no solve get the same artifact as those that do, in the form `plain`."""

import json

import numpy as np
import pytest
import torch
from support.command_line import call, one_line
from support.models_plain import Glow, RealNVP, ResidualFlow, ResNet
from torch import nn
from torchdiffeq import odeint

import odelet
from odelet.commands.bench import bench
from odelet.errors import AssumptionError, InputError
from odelet_export import CaptureError, FormError, explain, export, tune

BATCH = {"x": {0: "batch"}}
IMAGES, LATENTS = torch.randn(3, 1, 6, 8), torch.randn(2, 4, 3, 4)


def loaded(model, args, folder, dynamic=BATCH):
    """The artifact of a model, whose export has compared it with torch at more than one size of each dynamic axis."""
    exported = export(model, args, folder, dynamic=dynamic, form="plain", samples=2)
    assert exported.parity.passed
    for name, axes in dynamic.items():
        for axis in axes:
            assert len({sample.shapes[name][axis] for sample in exported.parity.samples}) > 1
    assert (exported.card.form, exported.card.solves) == ("plain", ())
    assert odelet.verify(folder).passed
    return odelet.load(folder)


@pytest.mark.slow
def test_a_residual_network(tmp_path):
    model = ResNet().eval()
    artifact = loaded(model, (torch.randn(3, 1, 8, 8),), tmp_path / "out")
    x = torch.randn(7, 1, 8, 8)
    with torch.no_grad():
        assert np.abs(artifact(x.numpy()) - model(x).numpy()).max() < 1e-5


@pytest.mark.slow
def test_a_coupling_flow_gives_densities_and_samples(tmp_path):
    model = RealNVP()
    artifact = loaded(model, (torch.randn(3, 4),), tmp_path / "out")
    x = torch.randn(6, 4)
    solution = artifact.solve(x.numpy(), seed=3)
    z, log_prob, sample = (torch.from_numpy(array) for array in solution.outputs.values())
    # The change of variables, with the whole Jacobian matrix.
    jacobians = torch.func.vmap(torch.func.jacrev(lambda row: model.density(row[None])[0][0]))(x)
    assert torch.allclose(log_prob, model.prior.log_prob(z) + torch.slogdet(jacobians)[1], atol=1e-4)
    assert torch.allclose(model.inverse(z), x, atol=1e-4)
    (noise,) = solution.noise.values()
    assert noise.shape == (6, 4)
    assert torch.allclose(model.density(sample)[0], torch.from_numpy(noise), atol=1e-4)


@pytest.mark.slow
def test_glow_gives_densities_and_its_inverse(tmp_path):
    model = Glow()
    artifact = loaded(model, (IMAGES, LATENTS), tmp_path / "out", {"x": {0: "batch"}, "z": {0: "latents"}})
    x = torch.randn(5, 1, 6, 8)
    z, log_prob, _ = artifact(x.numpy(), LATENTS.numpy())
    _, _, image = artifact(x.numpy(), z)
    assert np.abs(image - x.numpy()).max() < 1e-4
    with torch.no_grad():
        assert np.abs(log_prob - model.density(x)[1].numpy()).max() < 1e-3


@pytest.mark.slow
def test_the_density_of_a_residual_flow(tmp_path):
    model = ResidualFlow().eval()
    artifact = loaded(model, (torch.randn(3, 3),), tmp_path / "out")
    x = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    # The mean over probes is the trace of the same series of powers of the Jacobian matrix.
    z, log_prob = artifact(np.repeat(x, 4000, axis=0), seed=0)
    latents, expected = torch.from_numpy(x), torch.zeros(2)
    for layer in model.layers:
        with torch.no_grad():
            jacobians = torch.func.vmap(torch.func.jacrev(lambda row, net=layer.net: 0.7 * net(row)))(latents)
            powers = [torch.linalg.matrix_power(jacobians, k) for k in range(1, layer.terms + 1)]
            traces = [torch.diagonal(power, dim1=1, dim2=2).sum(1) for power in powers]
            expected += sum((-1) ** k / (k + 1) * trace for k, trace in enumerate(traces))
            latents = latents + 0.7 * layer.net(latents)
    expected += -0.5 * (latents**2).sum(1) - 1.5 * np.log(2 * np.pi)
    assert np.abs(z[::4000] - latents.numpy()).max() < 1e-5
    rows = log_prob.reshape(2, 4000)
    assert (np.abs(rows.mean(1) - expected.numpy()) < 5 * rows.std(1) / np.sqrt(4000)).all()


class Net(nn.Module):
    """A residual network on dicts, which decides by a number of its input, draws noise, and computes in float16."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(3, 3) for _ in range(2))

    def forward(self, batch):
        y = batch["x"]
        for layer in self.layers:
            y = y + torch.tanh(layer(y))
        if batch["scale"].item() > 0:
            y = y * batch["scale"]
        noise = torch.randn_like(y)
        return {"y": y, "noisy": y + noise, "half": y.half() * 2}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain") / "net"
    args = ({"x": torch.randn(3, 3), "scale": torch.tensor(2.0)},)
    exported = export(Net(), args, folder, dynamic={"batch.x": {0: "batch"}}, form="plain", samples=2)
    assert exported.parity.passed
    return folder


def call_arguments(rows=5, scale=1.5):
    return {"x": np.ones((rows, 3), np.float32), "scale": scale}


def test_structures_draws_assumptions_and_half_precision(artifact):
    model = odelet.load(artifact)
    solution = model.solve(call_arguments(), seed=1)
    y, noisy, half = solution.outputs.values()
    (noise,) = solution.noise.values()
    assert (half.dtype, solution.status.name, solution.stats.solves) == (np.float16, "OK", ())
    assert np.allclose(noisy, y + noise)
    assert np.allclose(half, 2 * y, rtol=1e-3)
    with pytest.raises(AssumptionError, match="scale"):
        model(call_arguments(scale=-1.0))
    assert odelet.load(artifact / "model.onnx")(call_arguments(), seed=1)["y"].tolist() == y.tolist()


def test_a_call_has_a_deadline_and_no_setting_of_a_solve(artifact):
    model = odelet.load(artifact)
    model(call_arguments(), deadline=5.0)
    for name in ("rtol", "atol", "max_steps", "max_evals"):
        with pytest.raises(InputError, match=rf"{name}=1 cannot be set: .* and its model has no solve$"):
            model(call_arguments(), **{name: 1})
    for observed in ({"dense": True}, {"events": [lambda t, y: t]}):
        with pytest.raises(InputError, match="this model has none"):
            model.solve(call_arguments(), **observed)


def test_a_stream_carries_a_state_and_has_no_times(artifact):
    model = odelet.load(artifact)
    first = model(call_arguments(), seed=0)["y"]
    stream = model.stream(carry={"batch.x": "y"}, **{"batch.x": np.ones((5, 3), np.float32), "batch.scale": 1.5})
    steps = [stream(), stream()]
    assert np.allclose(steps[0]["y"], first)
    assert np.allclose(steps[1]["y"], model({"x": first, "scale": 1.5})["y"])
    with pytest.raises(InputError, match="this model has no solve; name what goes from call to call with `carry`"):
        model.stream(**{"batch.scale": 1.5})


def test_the_commands(artifact, capsys, tmp_path):
    code, out, _ = call(capsys, "info", artifact)
    assert (code, out.splitlines()[0].split(", ")[0]) == (0, "Net: form plain")
    assert "solves" not in out
    assert call(capsys, "verify", artifact)[0] == 0
    np.savez(tmp_path / "in.npz", **{"batch.x": np.ones((2, 3), np.float32), "batch.scale": np.float32(1)})
    code, out, _ = call(
        capsys, "run", artifact, "--input", tmp_path / "in.npz", "--output", tmp_path / "out.npz", "--json"
    )
    assert (code, json.loads(out)["outputs"]["y"]) == (0, [2, 3])
    code, _, err = call(capsys, "plot", artifact, "--input", tmp_path / "in.npz", "--output", tmp_path / "out.png")
    assert code == 2
    assert "its model has none" in one_line(err)
    report = bench(artifact, batch=4, seconds=0.02)
    assert (report.floor, report.floor_note, report.evaluations) == (None, "the model has no solve", None)
    assert report.odelet.median > 0
    report.summary()


def test_an_explanation_says_what_is_read(capsys):
    explanation = explain(nn.Linear(3, 2), (torch.ones(2, 3),), form="plain")
    assert (explanation.solves, explanation.host) == ((), explanation.nodes)


@pytest.mark.parametrize("setting", [{"method": "rk4"}, {"rtol": 1e-3}, {"per_sample": True}, {"calibration": {}}])
def test_settings_of_solves_are_refused(setting, tmp_path):
    (name,) = setting
    with pytest.raises(FormError, match=rf"{name} is for .*leave it out"):
        export(nn.Linear(3, 2), (torch.ones(2, 3),), tmp_path / "out", form="plain", **setting)


def test_a_model_with_a_solve_is_not_plain(tmp_path):
    def model(x):
        return odeint(lambda t, y: -y, x, torch.tensor([0.0, 1.0]))[-1]

    with pytest.raises(FormError, match=r"test_plain\.py:\d+: dopri5 is a solver, .* leave the form out"):
        export(model, (torch.ones(2, 3),), tmp_path / "out", form="plain")


def test_a_plain_model_cannot_be_tuned(tmp_path):
    data = {"input": np.ones((8, 3), np.float32)}
    with pytest.raises(CaptureError, match="made no call of"):
        tune(nn.Linear(3, 2), data, tmp_path / "out", target=1e-3)
    with pytest.raises(FormError, match="--form 'plain' is for models that make no solve"):
        tune(nn.Linear(3, 2), data, tmp_path / "out", target=1e-3, forms=["plain"])
    assert not (tmp_path / "out").exists()
