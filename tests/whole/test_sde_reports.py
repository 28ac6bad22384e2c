"""What is said of an SDE: by explain, in the report, by the floor, the stream and the tuning; and float64 proofs."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("torchsde")

import torchsde

import odelet
from odelet_export import FormError, export
from odelet_export.commands.explanation_screen import rows
from odelet_export.commands.floor import Floor
from odelet_export.commands.merged_graph import FloorError
from odelet_export.model.callee import Callee
from odelet_export.model.overrides import Overrides
from odelet_export.proof.judge import Judge
from odelet_export.tuning.truth import solves_of

X = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))


class Model(nn.Module):
    noise_type, sde_type = "general", "stratonovich"

    def __init__(self, **settings):
        super().__init__()
        torch.manual_seed(0)
        self.lin, self.spread = nn.Linear(3, 3), nn.Linear(3, 6)
        self.register_buffer("times", torch.linspace(0, 1, 3))
        self.settings = {"dt": 0.1, **settings}

    def f(self, t, y):
        return torch.tanh(self.lin(y)) * torch.cos(t)

    def g(self, t, y):
        return torch.tanh(self.spread(y)).view(-1, 3, 2)

    def forward(self, x):
        return torchsde.sdeint(self, x, self.times, **self.settings)


@pytest.fixture(scope="module")
def fixed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fixed") / "out"
    return export(Model(method="reversible_heun"), (X,), folder, dynamic={"x": {0: "batch"}}, form="driven", samples=2)


@pytest.fixture(scope="module")
def adaptive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adaptive") / "out"
    model = Model(method="midpoint", adaptive=True, rtol=0.05, atol=0.05)
    return export(model, (X,), folder, dynamic={"x": {0: "batch"}}, samples=2)


def test_the_explanation_names_the_noise_and_the_steps(fixed, adaptive):
    for exported, settings in (
        (fixed, "noise=general, channels=2, dt=0.1, to be driven"),
        (adaptive, "noise=general, channels=2, dt=0.1, adaptive=True, to be driven"),
    ):
        lines = rows(exported.explanation)
        text = "\n".join(line for _, line in lines)
        assert settings in text
        assert "computed by the model" not in text
        assert {"drift", "diffusion", "noise"} <= {label for label, _ in lines}
        assert "sdeint in File" in text


def test_the_report_names_method_noise_and_steps(fixed, adaptive):
    for exported, method in ((fixed, "stratonovich_reversible_heun"), (adaptive, "stratonovich_midpoint")):
        text = (exported.path / "parity.md").read_text()
        assert "run by torchdiffeq, and torchsde on the same Brownian motion" in text
        solves = json.loads((exported.path / "parity.json").read_text())["checks"][1]["solves"]
        (solve,) = solves
        assert (solve["method"], solve["noise"], solve["equal"]) == (method, "general", True)
        assert solve["odelet"]["steps"] == solve["torch"]["steps"] > 3
        steps, accepted = solve["odelet"]["steps"], solve["odelet"]["accepted"]
        assert f"| {method}, general noise | {steps} | {accepted} |" in text


def test_an_sde_has_no_floor_and_no_segments(fixed, adaptive):
    for exported in (fixed, adaptive):
        with pytest.raises(FloorError, match="solve 0 has no floor: .* and those of SDEs have none"):
            Floor(exported.path, {0: 10})
        with pytest.raises(
            odelet.InputError, match="is of an SDE .*, whose Brownian motion belongs to all of its times"
        ):
            odelet.load(exported.path).stream()


def test_a_tuning_does_not_change_an_sde():
    with pytest.raises(FormError, match="is of an SDE, whose answers are as random as its noise; a tuning compares"):
        solves_of(Callee(Model(method="euler_heun"), (X,), {}), [X])


@pytest.mark.parametrize(("dt", "steps", "same"), [(0.125, 8, True), (0.1, 10, False)])
def test_torch_solves_in_float64_on_the_same_noise(dt, steps, same):
    """In float64, the steps of 0.1 to the time 1 are 11; then float64 says nothing of the rounding in float32."""
    judge = Judge(Callee(Model(method="euler_heun", dt=dt), (X,), {}), (), Overrides(), ("float32",))
    sample = judge.sample(0, [X])
    assert [len(drawn) for drawn in sample.noise] == [steps]
    (far,) = judge._wide(sample)
    assert 0 < far < 1e-5 if same else far == 0


def test_keys_stay_whole_numbers_where_a_proof_is_in_float64():
    model = Model(method="midpoint", adaptive=True, rtol=0.05, atol=0.05)
    judge = Judge(Callee(model, (X,), {}), (), Overrides(), ("float32",))
    sample = judge.sample(0, [X])
    assert sample.noise[0].dtype == torch.int64
    shaken = judge._shaken(replace(sample, tensors=[X]), torch.Generator().manual_seed(1))
    assert np.abs(shaken[0][0] - sample.expected[0]).max() < 1e-3
