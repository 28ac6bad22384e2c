"""Training: the split is fixed, the seed decides the weights, and an interrupted run resumes to the same weights."""

import json
import pickle
import random
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from odelet_models import odenet
from odelet_train import data, load_checkpoint, save_checkpoint
from odelet_train.cli import app
from odelet_train.data import Split
from odelet_train.fit import EpochShuffle, ImageClassifier, Settings, accuracy, fit, shift

TINY = Settings(epochs=2, batch_size=8)
DIGEST = "80f1606171430798eb8910bbc4efb77a4147fc11eef3bafdd649d7650d726c94"


def small_model():
    return odenet.ODENet(channels=4)


@pytest.fixture(scope="module")
def digits():
    return data.digits()


@pytest.fixture(scope="module")
def few(digits):
    return Split(digits.train_images[:24], digits.train_labels[:24], digits.test_images[:8], digits.test_labels[:8])


def weights(model):
    return torch.cat([value.flatten() for value in model.state_dict().values()])


def test_split_is_fixed_balanced_and_disjoint(digits):
    assert digits.digest() == DIGEST
    assert digits.train_images.shape == (1437, 64)
    assert digits.test_images.shape == (360, 64)
    assert digits.train_images.dtype == np.float32
    assert set(np.bincount(digits.test_labels)) <= {35, 36, 37}
    seen = {image.tobytes() for image in digits.train_images}
    assert not any(image.tobytes() in seen for image in digits.test_images)


def test_split_refuses_labels_that_do_not_fit(few):
    with pytest.raises(ValueError, match=r"train_images has shape \(24, 64\) and train_labels \(8,\)"):
        replace(few, train_labels=few.test_labels)
    with pytest.raises(ValueError, match="pass at least one image"):
        replace(few, test_images=few.test_images[:0], test_labels=few.test_labels[:0])


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("epochs", 0),
        ("seed", -1),
        ("seed", 2**32),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("label_smoothing", 1.0),
    ],
)
def test_settings_refuse_nonsense(argument, value):
    with pytest.raises(ValueError, match=f"^{argument}="):
        Settings(**{argument: value})


def test_shift_moves_by_at_most_one_pixel():
    image = torch.zeros(1, 64)
    image[0, 27] = 16.0  # row 3, column 3
    moved = shift(image.repeat(200, 1), torch.Generator().manual_seed(0))
    assert moved.shape == (200, 64)
    assert set(moved.argmax(dim=1).tolist()) == {r * 8 + c for r in (2, 3, 4) for c in (2, 3, 4)}
    assert torch.equal(moved.sum(dim=1), torch.full((200,), 16.0))


def test_epoch_order_depends_on_seed_and_epoch_only():
    sampler = EpochShuffle(10, seed=0)
    first = list(sampler)
    assert sorted(first) == list(range(10)) == list(range(len(sampler)))
    assert list(sampler) == first != list(EpochShuffle(10, seed=1))
    sampler.set_epoch(1)
    assert list(sampler) != first


def test_accuracy_counts_the_right_answers():
    logits = torch.eye(4)
    assert accuracy(torch.nn.Identity(), logits, [0, 1, 2, 0]) == 0.75


def test_interrupted_run_resumes_to_the_same_weights(few, tmp_path, monkeypatch):
    unbroken = fit(small_model, few, tmp_path / "a.ckpt", settings=TINY, progress=False)

    original = ImageClassifier.training_step

    def fail_in_second_epoch(self, batch, index):
        if self.current_epoch == 1 and index == 1:
            raise RuntimeError("power cut")
        return original(self, batch, index)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):
        patch.setattr(ImageClassifier, "training_step", fail_in_second_epoch)
        fit(small_model, few, tmp_path / "b.ckpt", settings=TINY, progress=False)
    torch.manual_seed(99)  # A new process starts from another random state.
    resumed = fit(small_model, few, tmp_path / "b.ckpt", settings=TINY, resume=True, progress=False)

    assert torch.equal(weights(resumed), weights(unbroken))
    assert not resumed.training
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ckpt", "b.ckpt"]


def test_seed_decides_the_weights(few, tmp_path):
    def run(seed):
        settings = replace(TINY, epochs=1, seed=seed)
        return weights(fit(small_model, few, tmp_path / "x.ckpt", settings=settings, progress=False))

    first = run(0)
    assert torch.equal(run(0), first)
    assert not torch.equal(run(1), first)


def test_fit_leaves_the_callers_process_as_it_was(few, tmp_path, recwarn):
    torch.manual_seed(5)
    before = torch.random.get_rng_state(), random.getstate(), torch.are_deterministic_algorithms_enabled()
    fit(small_model, few, tmp_path / "x.ckpt", settings=replace(TINY, epochs=1), progress=False)
    after = torch.random.get_rng_state(), random.getstate(), torch.are_deterministic_algorithms_enabled()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert not recwarn.list


def test_resume_refuses_what_it_cannot_continue(few, tmp_path):
    path = tmp_path / "x.ckpt"
    with pytest.raises(FileNotFoundError, match="there is no checkpoint .*train without resume"):
        fit(small_model, few, path, settings=TINY, resume=True, progress=False)
    fit(small_model, few, path, settings=replace(TINY, epochs=1), progress=False)
    with pytest.raises(ValueError, match="'epochs': 2.* was made with .*'epochs': 1"):
        fit(small_model, few, path, settings=TINY, resume=True, progress=False)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", pickle.dumps([1], protocol=2)])
def test_resume_refuses_a_damaged_checkpoint(few, tmp_path, content):
    path = tmp_path / "x.ckpt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged; delete it"):
        fit(small_model, few, path, settings=TINY, resume=True, progress=False)


def test_resume_refuses_a_checkpoint_of_something_else(few, tmp_path):
    torch.save({"weights": torch.zeros(2)}, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match="is not a checkpoint of this trainer"):
        fit(small_model, few, tmp_path / "x.ckpt", settings=TINY, resume=True, progress=False)


def test_checkpoint_needs_its_suffix(few, tmp_path):
    with pytest.raises(ValueError, match=r"checkpoint='.*x\.pt' does not end in \.ckpt"):
        fit(small_model, few, tmp_path / "x.pt", settings=TINY, progress=False)


def test_command_writes_weights_and_card_and_resumes(few, tmp_path, monkeypatch):
    monkeypatch.setattr("odelet_train.fit.digits_split", lambda: few)
    arguments = ["odenet-digits", "--epochs", "1", "--seed", "3", "-o", str(tmp_path)]
    runner = CliRunner()
    first = runner.invoke(app, arguments)
    assert first.exit_code == 0, first.output
    assert "test accuracy" in first.output
    state, card = load_checkpoint(tmp_path / "odenet-digits.json")
    odenet.digits().load_state_dict(state)
    assert card.settings["seed"] == 3
    assert card.split == {"train": 24, "test": 8, "sha256": few.digest()}

    assert runner.invoke(app, [*arguments, "--resume"]).exit_code == 0
    assert load_checkpoint(tmp_path / "odenet-digits.json")[1] == card


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--epochs", "0"], "epochs=0 trains nothing"),
        (["--seed", "-1"], "seed=-1 is out of range"),
        (["--resume"], "there is no checkpoint"),
    ],
)
def test_command_explains_bad_arguments(arguments, reason, tmp_path):
    result = CliRunner().invoke(app, ["odenet-digits", "-o", str(tmp_path / "none"), *arguments])
    assert result.exit_code == 2
    assert reason in result.output
    assert "Traceback" not in result.output


@pytest.fixture
def saved(few, tmp_path):
    save_checkpoint(small_model(), tmp_path, name="m", factory="f:g", test_accuracy=0.5, settings={}, split=few)
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
