"""Training the user's own network from the command line: data, losses, regularisers, exports and what is refused."""

import json

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

import odelet
from odelet_train import load_checkpoint
from odelet_train.cli import train_command
from odelet_train.zoo import job_of

app = typer.Typer()
app.command()(train_command)

CODE = """
import numpy as np, torch
from torch import nn
from torchdiffeq import odeint


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))

    def forward(self, x):
        return odeint(lambda t, y: self.net(y), x, torch.tensor([0.0, 1.0]), method="rk4")[-1]


class Density(Net):
    def forward(self, x):
        return -super().forward(x).square().sum(1)


class Two(Net):
    def forward(self, x, scale):
        return super().forward(x) * scale


def rows():
    x = np.random.default_rng(0).normal(size=(32, 2))
    return x, (x[:, 0] > 0).astype(int)


def named():
    x, y = rows()
    return {"label": y, "x": x, "test_x": x[:4], "test_label": y[:4]}


def pairs():
    x, _ = rows()
    return x, x[:, :1] ** 2, -x


def alone():
    return (rows()[0],)


def absolute(network, x, y):
    return (network(x) - y[:, None]).abs().mean()


def whole(network, x, y):
    return torch.tensor(1.0)


def number():
    return 3


plain = nn.Tanh
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "ownnet.py"
    path.write_text(CODE)
    return path


def run(file, *arguments, out, target="Net"):
    return CliRunner().invoke(
        app, [f"{file}:{target}", "--epochs", "1", "--batch-size", "8", "-o", str(out), *arguments]
    )


CASES = {
    "cross_entropy": ("Net", "rows", "cross_entropy", "accuracy", 6),
    "a dict with a test part": ("Net", "named", "cross_entropy", "accuracy", 4),
    "mse of two inputs": ("Two", "pairs", "mse", "mse", 6),
    "nll": ("Density", "alone", "nll", "nll", 6),
    "own loss": ("Net", "rows", "absolute", "loss", 6),
}


@pytest.mark.parametrize("case", CASES)
def test_a_network_of_the_users_is_trained(case, file, tmp_path):
    target, data, loss, metric, tested = CASES[case]
    place = loss if loss in ("cross_entropy", "mse", "nll") else f"{file}:{loss}"
    found = run(file, "--data", f"{file}:{data}", "--loss", place, "--kinetic", "0.1", out=tmp_path, target=target)
    assert found.exit_code == 0, found.output
    assert found.output.startswith(f"{metric} ") and f"on {tested} test samples" in found.output
    state, card = load_checkpoint(tmp_path / f"{target.lower()}.json")
    assert card.metric == metric and card.built_by == f"{file}:{target}"
    assert card.settings["kinetic"] == 0.1 and card.settings["batch_size"] == 8
    assert all(torch.isfinite(value).all() for value in state.values())


def test_an_export_follows_the_training(file, tmp_path):
    x = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, y=x**2)
    arguments = ["--data", str(tmp_path / "data.npz"), "--loss", "mse", "--export", "form=driven, samples=1"]
    found = run(file, *arguments, out=tmp_path)
    assert found.exit_code == 0, found.output
    assert f"{tmp_path / 'net'}: a call with 4 samples makes 4 evaluations in " in found.output
    model = odelet.load(tmp_path / "net")
    assert model(x).shape == (20, 2) and model.card.solves[0].form == "driven"


def test_inputs_go_by_the_names_of_arguments(file, tmp_path):
    x = np.zeros((20, 2), np.float32)
    np.savez(tmp_path / "data.npz", inp=x, y=x)
    found = run(file, "--data", str(tmp_path / "data.npz"), "--loss", "mse", out=tmp_path)
    assert found.exit_code == 2
    assert "--data has no array x, which forward takes; it has inp, y" in " ".join(found.output.split())


def test_a_watched_training_resumes_to_the_same_weights(file, tmp_path, monkeypatch):
    from odelet_train.fitting import Task

    arguments = ["--data", f"{file}:rows", "--loss", "cross_entropy", "--epochs", "2", "--jacobian", "0.1"]
    arguments += ["--steer", "0.5", "--kinetic", "0.1", "--adjoint"]
    assert run(file, *arguments, out=tmp_path / "a").exit_code == 0
    original = Task.training_step

    def broken(self, batch, index):
        if self.current_epoch == 1:
            raise RuntimeError("power cut")
        return original(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(Task, "training_step", broken)
        assert isinstance(run(file, *arguments, out=tmp_path / "b").exception, RuntimeError)
    assert run(file, *arguments, "--resume", out=tmp_path / "b").exit_code == 0
    whole, resumed = (load_checkpoint(tmp_path / name / "net.json")[0] for name in ("a", "b"))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    other = run(file, *arguments, "--kinetic", "0.2", "--resume", out=tmp_path / "b")
    assert other.exit_code == 2 and "was made with" in other.output


@pytest.mark.parametrize(
    ("target", "arguments", "reason"),
    [
        ("Net", [], "--data is missing"),
        ("Net", ["--data", "FILE:rows"], "--loss is missing; pass one of mse, cross_entropy, nll"),
        ("Net", ["--data", "FILE:rows", "--loss", "hinge"], "--loss 'hinge' is not one of"),
        ("Net", ["--data", "none.npz", "--loss", "mse"], "--data none.npz: there is no such file"),
        ("Net", ["--data", "none", "--loss", "mse"], "--data: 'none' is not the name of a model"),
        ("Net", ["--data", "FILE:nothing", "--loss", "mse"], "has no class or function 'nothing'"),
        ("Net", ["--data", "FILE:number", "--loss", "mse"], "--data returns a int"),
        ("Net", ["--data", "FILE:rows", "--loss", "mse"], "mse needs equal ones"),
        ("Net", ["--data", "FILE:pairs", "--loss", "mse"], "the data have 3 arrays, of which 1 are targets"),
        ("Net", ["--data", "FILE:rows", "--loss", "FILE:whole"], "must be a tensor of one number that depends"),
        (
            "Net",
            ["--data", "FILE:rows", "--loss", "cross_entropy", "--held-out", "1"],
            "--held-out 1.0 must be a share",
        ),
        ("Net", ["--data", "FILE:rows", "--loss", "cross_entropy", "--steer", "2"], "steer=2.0 must be a share"),
        ("Net", ["--data", "FILE:rows", "--loss", "cross_entropy", "--export", "x"], "'x' is no setting of an export"),
        ("Other", ["--data", "FILE:rows", "--loss", "mse"], "has no class or function 'Other'"),
        ("plain", ["--data", "FILE:rows", "--loss", "mse"], "has no weights to train"),
        ("number", ["--data", "FILE:rows", "--loss", "mse"], "gives a int; it must give a torch.nn.Module"),
        ("absolute", ["--data", "FILE:rows", "--loss", "mse"], "cannot be built without arguments"),
    ],
)
def test_what_does_not_fit_is_explained(target, arguments, reason, file, tmp_path):
    found = run(file, *(text.replace("FILE", str(file)) for text in arguments), out=tmp_path, target=target)
    assert found.exit_code == 2, found.output
    assert reason in " ".join(found.output.split())
    assert "Traceback" not in found.output


@pytest.mark.slow
def test_a_member_of_the_zoo_takes_the_same_path(tmp_path):
    def member(*arguments):
        return CliRunner().invoke(app, [*arguments, "-o", str(tmp_path)])

    found = member("odenet", "--data", "x.npz")
    assert found.exit_code == 2 and "a member of the zoo has its own" in found.output
    job = job_of("resnet")
    assert [use.settings["form"] for use in job.uses.values()] == ["plain"]
    found = member("resnet", "--epochs", "1", "--batch-size", "1000", "--kinetic", "0.1")
    assert found.exit_code == 2 and "kinetic=0.1 changes solves, and this loss made none" in found.output
    arguments = ["--epochs", "1", "--batch-size", "1500", "--kinetic", "0.1", "--export", "samples=1"]
    found = member("odenet", *arguments)
    assert found.exit_code == 0, found.output
    assert json.loads((tmp_path / "odenet.json").read_text())["settings"]["kinetic"] == 0.1
    assert odelet.load(tmp_path / "odenet")(np.zeros((2, 64), np.float32)).shape == (2, 10)
