"""The command line of the runtime: files in, files out, exit codes, and one line for every error."""

import json
import re
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from support.artifacts import affine_card, affine_model, affine_samples, write, write_affine, write_pair
from support.command_line import call, one_line
from support.endless import write_driven

import odelet
from odelet import cli
from odelet.artifact.card import Card
from odelet.errors import OdeletError

X = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def folder(tmp_path):
    return write_affine(tmp_path / "out")


@pytest.fixture
def odelet_cli(capsys, monkeypatch):
    """Run the command line in this process, without extensions; returns (exit code, stdout, stderr)."""
    monkeypatch.setattr(cli, "entry_points", lambda group: [])
    return partial(call, capsys)


@pytest.fixture
def run(odelet_cli, folder, tmp_path):
    """Run the model on an array saved as .npz."""

    def call(*options, x=X, target=tmp_path / "y.npz"):
        np.savez(tmp_path / "x.npz", x=x)
        return odelet_cli("run", folder, "--input", tmp_path / "x.npz", "--output", target, *options)

    return call


def test_ctrl_c_in_any_command_is_one_line_and_an_exit_code(odelet_cli, folder, monkeypatch):
    def stop(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "check", stop)
    assert odelet_cli("info", folder) == (130, "", "odelet: interrupted\n")


class TestRun:
    def test_progress_is_for_forms_whose_steps_the_runtime_takes(self, odelet_cli, run, tmp_path, monkeypatch):
        code, out, err = run("--progress")
        assert (code, out) == (2, "")
        assert "progress cannot be given" in one_line(err)
        folder, target = write_driven(tmp_path / "driven"), tmp_path / "z.npz"
        options = ("run", folder, "--input", tmp_path / "x.npz", "--output", target)
        plain = odelet_cli(*options)
        assert plain[0] == 0
        assert odelet_cli(*options, "--progress") == plain  # stderr is no terminal here
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        code, out, err = odelet_cli(*options, "--progress")
        assert (code, out) == plain[:2]
        assert re.search(r"solve 0, \d+ steps +\[#+\] +100%", err)

    def test_npz(self, run, tmp_path):
        code, out, err = run()
        assert (code, err) == (0, "")
        assert out == "y [2, 3]\nsteps 5, accepted 4, rejected 1, evaluations 32\nstatus OK\n"
        with np.load(tmp_path / "y.npz") as outputs:
            assert outputs.files == ["y"]
            np.testing.assert_array_equal(outputs["y"], 2 * X + 1)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "x.npz", "y.npz"]

    def test_json(self, run):
        _, out, _ = run("--json", "--rtol", "0.5")
        told = json.loads(out)
        assert told["status"] == "OK"
        assert told["outputs"] == {"y": [2, 3]}
        assert told["stats"]["evaluations"] == 32
        assert told["stats"]["solves"][0]["time"] == 0.5001
        assert told["stats"]["solves"][0]["source"] == "affine.py:7"

    def test_npy_and_csv(self, odelet_cli, folder, tmp_path):
        np.save(tmp_path / "x.npy", X)
        assert odelet_cli("run", folder, "--input", tmp_path / "x.npy", "--output", tmp_path / "y.csv")[0] == 0
        assert (tmp_path / "y.csv").read_text() == "1,3,5\n7,9,11\n"
        (tmp_path / "x.csv").write_text("0,1,2\n3,4,0.1\n")
        assert odelet_cli("run", folder, "--input", tmp_path / "x.csv", "--output", tmp_path / "y.npy")[0] == 0
        expected = 2 * np.array([[0, 1, 2], [3, 4, 0.1]], np.float32) + 1
        np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected)
        odelet_cli("run", folder, "--input", tmp_path / "x.csv", "--output", tmp_path / "y.csv")
        np.testing.assert_array_equal(np.loadtxt(tmp_path / "y.csv", np.float32, delimiter=","), expected)

    def test_an_output_that_is_there_is_replaced(self, run, tmp_path):
        (tmp_path / "y.npz").write_text("old")
        assert run()[0] == 0
        assert np.load(tmp_path / "y.npz")["y"].shape == (2, 3)

    def test_a_failed_solve(self, run, tmp_path):
        (tmp_path / "y.npz").write_text("old")
        code, out, err = run("--max-steps", "2")
        assert code == 4
        assert out.endswith("status STEP_LIMIT\n")
        assert "solve 0 (dopri5, affine.py:7) stopped at time" in one_line(err)
        assert (tmp_path / "y.npz").read_text() == "old"

    def test_a_deadline(self, run, tmp_path):
        assert run("--deadline", "60")[0] == 0
        (tmp_path / "y.npz").write_text("old")
        code, out, err = run("--deadline", "1e-9")
        assert code == 4
        assert out.endswith("status DEADLINE\n")
        assert "the deadline passed before the end time" in one_line(err)
        assert (tmp_path / "y.npz").read_text() == "old"

    def test_bad_options(self, run, tmp_path):
        for options, message in (
            (("--rtol", "-1"), "rtol=-1.0 must be positive"),
            (("--rtol", "x"), "Invalid value for '--rtol'"),
            (("--device", "tpu"), "device='tpu' is unknown"),
            (("--threads", "0"), "threads=0 must be"),
            (("--speed", "9"), "No such option"),
        ):
            code, _, err = run(*options)
            assert code == 2
            assert message in one_line(err)
        assert not (tmp_path / "y.npz").exists()

    def test_bad_inputs(self, run, odelet_cli, folder, tmp_path):
        code, _, err = run(x=X.astype(np.float64))
        assert code == 2
        assert "input 'x' has dtype float64" in one_line(err)
        np.savez(tmp_path / "z.npz", z=X)
        code, _, err = odelet_cli("run", folder, "--input", tmp_path / "z.npz", "--output", tmp_path / "y.npz")
        assert code == 2
        assert "there is no input 'z'" in one_line(err)

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("x.txt", b"", "its ending must be one of .npz, .npy, .csv"),
            ("x.npz", None, "it cannot be read (No such file"),
            ("x.csv", None, "it cannot be read (No such file"),
            ("x.npz", b"PK\x03\x04junk", "it is not a readable .npz"),
            ("x.npy", b"junk", "it is not a readable .npy"),
            ("x.npy", b"", "it is not a readable .npy"),
            ("x.csv", b"a,b,c\n1,2,3\n", "it is not a table of float32 without header"),
            ("x.csv", b"1,2,3\n1,2\n", "it is not a table of float32"),
            ("x.csv", b"1,2\n", "its first line has 2 columns; input 'x' is float32 [batch, 3]"),
            ("x.csv", b"\n1,2,3\n", "its first line is empty"),
            ("x.csv", b"\xff\xff", "it is not a table of float32"),
        ],
    )
    def test_bad_files(self, odelet_cli, folder, tmp_path, name, content, message):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        code, _, err = odelet_cli("run", folder, "--input", tmp_path / name, "--output", tmp_path / "y.npz")
        assert code == 2
        assert message in one_line(err)

    def test_files_of_the_wrong_kind(self, odelet_cli, folder, tmp_path):
        np.save(tmp_path / "a.npy", X)
        np.savez(tmp_path / "b.npz", x=X)
        (tmp_path / "a.npy").rename(tmp_path / "a.npz")
        (tmp_path / "b.npz").rename(tmp_path / "b.npy")
        for name, message in (
            ("a.npz", "it is one array, not an .npz"),
            ("b.npy", "it is an .npz, not one array"),
        ):
            code, _, err = odelet_cli("run", folder, "--input", tmp_path / name, "--output", tmp_path / "y.npz")
            assert code == 2
            assert message in one_line(err)

    def test_bad_outputs_are_refused_before_the_run(self, run, tmp_path):
        (tmp_path / "taken.npz").mkdir()
        for target, message in (
            (tmp_path / "y.txt", "its ending must be one of"),
            (tmp_path / "none" / "y.npz", "there is no folder"),
            (tmp_path / "taken.npz", "it is a folder"),
        ):
            code, _, err = run(target=target)
            assert code == 2
            assert message in one_line(err)

    def test_several_inputs_and_outputs_need_npz(self, odelet_cli, tmp_path):
        pair = write_pair(tmp_path / "pair")
        with np.load(pair / "samples.npz") as samples:
            inputs = {key.split("/")[2]: samples[key] for key in samples if "/in/" in key}
        np.savez(tmp_path / "x.npz", **inputs)
        np.save(tmp_path / "x.npy", X)
        source, target = tmp_path / "x.npz", tmp_path / "y.npz"
        code, out, _ = odelet_cli("run", pair, "--input", source, "--output", target)
        assert code == 0
        assert out.startswith("total [4, 2]\nmask [2]\n")
        assert np.load(target)["mask"].dtype == np.bool_
        _, _, err = odelet_cli("run", pair, "--input", tmp_path / "x.npy", "--output", target)
        assert "the model has 4 inputs (a, b, factor, flag); give an .npz" in one_line(err)
        _, _, err = odelet_cli("run", pair, "--input", source, "--output", tmp_path / "y.npy")
        assert "the model has 2 outputs (total, mask); they need an .npz" in one_line(err)


class TestVerifyAndInfo:
    def test_verify(self, odelet_cli, folder):
        code, out, err = odelet_cli("verify", folder)
        assert (code, err) == (0, "")
        assert out.startswith("sample 0, y: ok, max abs 0")
        code, out, _ = odelet_cli("verify", folder, "--json")
        assert code == 0
        assert json.loads(out)["passed"]

    def test_verify_that_fails(self, odelet_cli, tmp_path):
        samples = affine_samples()
        samples["0/out/y"] += 1
        card = affine_card()
        code, out, err = odelet_cli("verify", write(tmp_path, card, {"model.onnx": affine_model(card)}, samples))
        assert (code, err) == (3, "")
        assert "FAILED: 1 of 2 outputs differ" in out

    def test_info(self, odelet_cli, folder):
        code, out, _ = odelet_cli("info", folder)
        assert code == 0
        assert out.startswith("Affine: form adaptive")
        code, out, _ = odelet_cli("info", folder, "--json")
        assert Card.from_json(out) == odelet.load(folder).card

    @pytest.mark.parametrize("command", ["info", "verify"])
    def test_a_bad_artifact(self, odelet_cli, tmp_path, command):
        code, out, err = odelet_cli(command, tmp_path)
        assert (code, out) == (2, "")
        assert "it has no odelet.json" in one_line(err)


class TestRoot:
    def test_version(self, odelet_cli):
        assert odelet_cli("--version") == (0, f"odelet {odelet.__version__}\n", "")

    def test_help_is_shown_without_arguments(self, odelet_cli):
        code, out, _ = odelet_cli()
        assert code == 0
        assert all(command in out for command in ("run", "verify", "info"))

    def test_an_unknown_command(self, odelet_cli):
        code, _, err = odelet_cli("fly")
        assert code == 2
        assert "No such command 'fly'" in one_line(err)

    def test_what_is_not_expected_is_not_hidden(self, monkeypatch):
        def broken(path):
            raise ZeroDivisionError("a defect")

        monkeypatch.setattr(cli, "check", broken)
        with pytest.raises(ZeroDivisionError):
            cli.main(["info", "."])

    def test_an_import_error_of_our_own_is_not_hidden(self, monkeypatch):
        def broken(path):
            raise ImportError("a defect")

        monkeypatch.setattr(cli, "check", broken)
        with pytest.raises(ImportError, match="a defect"):
            cli.main(["info", "."])

    def test_as_a_process(self, folder):
        command = [sys.executable, "-m", "odelet.cli", "info", str(folder / "nothing")]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 2
        assert one_line(done.stderr).startswith(f"odelet: {folder / 'nothing'}: there is no such folder")


def test_the_commands_of_the_device_load_no_extension(folder, monkeypatch, capsys):
    def asked(group):
        raise AssertionError("the entry points were read")

    monkeypatch.setattr(cli, "entry_points", asked)
    code, out, _ = call(capsys, "info", folder)
    assert code == 0
    assert "Affine" in out


def test_exit_codes_hang_on_the_errors():
    assert OdeletError.exit_code == odelet.InputError.exit_code == odelet.ArtifactError.exit_code == 2
    assert odelet.SolveError.exit_code == 4
