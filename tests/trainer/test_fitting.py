"""Training: the seed decides the weights, and an interrupted run resumes to the same weights."""

import json
import pickle
import random
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from odelet_models import odenet
from odelet_models.datasets import digits
from odelet_models.family import Data
from odelet_train import load_checkpoint, save_checkpoint
from odelet_train.cli import train_command
from odelet_train.fitting import EpochShuffle, Settings, Task, fit

TINY = Settings(epochs=2, batch_size=8)
app = typer.Typer()
app.command()(train_command)


def small_model():
    return odenet.ODENet(channels=4)


def fitted(few, path, **changes):
    """The small model, fitted to a few digits."""
    return fit(small_model, few.train, path, loss=odenet.loss, progress=False, **{"settings": TINY, **changes})


@pytest.fixture(scope="module")
def few():
    data = digits()
    return Data(train=tuple(x[:24] for x in data.train), test=tuple(x[:8] for x in data.test))


def weights(model):
    return torch.cat([value.flatten() for value in model.state_dict().values()])


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("epochs", 0),
        ("seed", -1),
        ("seed", 2**32),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("weight_decay", -1.0),
        ("clip", 0.0),
    ],
)
def test_settings_refuse_nonsense(argument, value):
    with pytest.raises(ValueError, match=f"^{argument}="):
        Settings(**{argument: value})


def test_epoch_order_depends_on_seed_and_epoch_only():
    sampler = EpochShuffle(10, seed=0)
    first = list(sampler)
    assert sorted(first) == list(range(10)) == list(range(len(sampler)))
    assert list(sampler) == first != list(EpochShuffle(10, seed=1))
    sampler.set_epoch(1)
    assert list(sampler) != first


def test_interrupted_run_resumes_to_the_same_weights(few, tmp_path, monkeypatch):
    unbroken = fitted(few, tmp_path / "a.ckpt")

    original = Task.training_step

    def fail_in_second_epoch(self, batch, index):
        if self.current_epoch == 1 and index == 1:
            raise RuntimeError("power cut")
        return original(self, batch, index)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):
        patch.setattr(Task, "training_step", fail_in_second_epoch)
        fitted(few, tmp_path / "b.ckpt")
    torch.manual_seed(99)  # A new process starts from another random state.
    resumed = fitted(few, tmp_path / "b.ckpt", resume=True)

    assert torch.equal(weights(resumed), weights(unbroken))
    assert not resumed.training
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ckpt", "b.ckpt"]


def test_seed_decides_the_weights(few, tmp_path):
    def run(seed):
        settings = replace(TINY, epochs=1, seed=seed)
        return weights(fitted(few, tmp_path / "x.ckpt", settings=settings))

    first = run(0)
    assert torch.equal(run(0), first)
    assert not torch.equal(run(1), first)


def test_what_a_loss_draws_from_any_library_depends_on_the_seed_and_the_step(few, tmp_path):
    drawn = []

    def loss(model, *batch):
        drawn.append((torch.rand(()).item(), np.random.random(), random.random()))
        return odenet.loss(model, *batch)

    runs = []
    for settings in (replace(TINY, epochs=1), replace(TINY, epochs=1), replace(TINY, epochs=1, seed=1)):
        random.seed()
        drawn.clear()
        fit(small_model, few.train, tmp_path / "x.ckpt", loss=loss, settings=settings, progress=False)
        runs.append(list(drawn))
    assert runs[0] == runs[1]
    columns = list(zip(*runs[0], *runs[2], strict=True))
    assert all(len(set(column)) == len(column) for column in columns)


def test_fit_leaves_the_callers_process_as_it_was(few, tmp_path, recwarn):
    torch.manual_seed(5)
    before = torch.random.get_rng_state(), random.getstate(), torch.are_deterministic_algorithms_enabled()
    fitted(few, tmp_path / "x.ckpt", settings=replace(TINY, epochs=1))
    after = torch.random.get_rng_state(), random.getstate(), torch.are_deterministic_algorithms_enabled()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert not recwarn.list


def test_resume_refuses_what_it_cannot_continue(few, tmp_path):
    path = tmp_path / "x.ckpt"
    with pytest.raises(FileNotFoundError, match="there is no checkpoint .*train without resume"):
        fitted(few, path, resume=True)
    fitted(few, path, settings=replace(TINY, epochs=1))
    with pytest.raises(ValueError, match="'epochs': 2.* was made with .*'epochs': 1"):
        fitted(few, path, resume=True)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", pickle.dumps([1], protocol=2)])
def test_resume_refuses_a_damaged_checkpoint(few, tmp_path, content):
    path = tmp_path / "x.ckpt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged; delete it"):
        fitted(few, path, resume=True)


def test_resume_refuses_a_checkpoint_of_something_else(few, tmp_path):
    torch.save({"weights": torch.zeros(2)}, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match="is not a checkpoint of this trainer"):
        fitted(few, tmp_path / "x.ckpt", resume=True)


def test_checkpoint_needs_its_suffix(few, tmp_path):
    with pytest.raises(ValueError, match=r"checkpoint='.*x\.pt' does not end in \.ckpt"):
        fitted(few, tmp_path / "x.pt")


def test_command_writes_weights_and_card_and_resumes(few, tmp_path, monkeypatch):
    monkeypatch.setattr("odelet_train.zoo.find", lambda name: (replace(odenet.FAMILY, data=lambda: few), name))
    arguments = ["odenet", "--epochs", "1", "--seed", "3", "-o", str(tmp_path)]
    runner = CliRunner()
    first = runner.invoke(app, arguments)
    assert first.exit_code == 0, first.output
    assert "accuracy" in first.output
    state, card = load_checkpoint(tmp_path / "odenet.json")
    odenet.digits().load_state_dict(state)
    assert card.settings["seed"] == 3
    assert card.data == {"train": 24, "test": 8, "sha256": few.digest()}

    assert runner.invoke(app, [*arguments, "--resume"]).exit_code == 0
    assert load_checkpoint(tmp_path / "odenet.json")[1] == card


def test_an_unknown_member_is_refused(tmp_path):
    result = CliRunner().invoke(app, ["odenetto", "-o", str(tmp_path)])
    assert result.exit_code == 2
    assert "name='odenetto' is no member of a family; choose one of odenet, resnet" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--epochs", "0"], "epochs=0 trains nothing"),
        (["--seed", "-1"], "seed=-1 is out of range"),
        (["--resume"], "there is no checkpoint"),
    ],
)
def test_command_explains_bad_arguments(arguments, reason, tmp_path):
    result = CliRunner().invoke(app, ["odenet", "-o", str(tmp_path / "none"), *arguments])
    assert result.exit_code == 2
    assert reason in result.output
    assert "Traceback" not in result.output


@pytest.fixture
def saved(few, tmp_path):
    save_checkpoint(small_model(), tmp_path, name="m", built_by="f:g", data=few, settings={})
    return tmp_path / "m.json"


def test_changed_weights_are_refused(saved):
    path = saved.with_suffix(".safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    with pytest.raises(ValueError, match="its card says .*train again"):
        load_checkpoint(saved)


def test_missing_files_are_named(saved):
    with pytest.raises(FileNotFoundError, match=r"is not a file; pass the \.json card"):
        load_checkpoint(saved.with_name("other.json"))
    saved.with_suffix(".safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"names m\.safetensors, which is not beside it"):
        load_checkpoint(saved)


@pytest.mark.parametrize("text", ["", "[]", "3", json.dumps({"name": "m"}), "\udcff"])
def test_unreadable_card_is_refused(saved, text):
    saved.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match="is not a card of trained weights"):
        load_checkpoint(saved)


def test_listing_commands_imports_neither_torch_nor_lightning():
    code = (
        "import sys, odelet_train, odelet_train.cli\n"
        "assert 'fit' in dir(odelet_train)\n"
        "sys.exit(bool({'torch', 'lightning', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_is_there():
    import odelet_train

    assert odelet_train.__all__ == sorted(odelet_train._HOMES)
    assert all(getattr(odelet_train, name) for name in odelet_train.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        odelet_train.nothing  # noqa: B018 the access is the test


def test_a_loss_that_is_not_finite_ends_training(few, tmp_path):
    gone = (torch.full_like(few.train[0], torch.nan), few.train[1])
    with pytest.raises(ValueError, match="the loss is nan in epoch 1, step 1; look for NaN in the data"):
        fit(lambda: torch.nn.Linear(64, 10), gone, tmp_path / "x.ckpt", loss=odenet.loss, settings=TINY, progress=False)


def test_weights_that_are_not_finite_are_not_returned(few, tmp_path):
    def loss(network, images, labels):
        return (network(images) * 0).sum().sqrt()  # 0, with a gradient of 0 times infinity

    settings = replace(TINY, epochs=1, batch_size=24)
    with pytest.raises(ValueError, match="training ends with .* not finite; lower the learning rate"):
        fit(small_model, few.train, tmp_path / "x.ckpt", loss=loss, settings=settings, progress=False)


def test_a_last_batch_of_one_row_is_refused_where_a_batch_normalization_needs_more(few, tmp_path):
    def build():
        return torch.nn.Sequential(torch.nn.Linear(64, 10), torch.nn.BatchNorm1d(10))

    with pytest.raises(
        ValueError, match="batch_size=23 leaves one of 24 rows for the last batch, .* normalization '1'"
    ):
        fit(
            build,
            few.train,
            tmp_path / "x.ckpt",
            loss=odenet.loss,
            settings=replace(TINY, batch_size=23),
            progress=False,
        )
