"""`odelet export` from end to end: the files it writes, the lines it prints, and its refusals."""

import json
import os
import subprocess
import sys
import tomllib
from importlib import import_module

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support.export_command import MODEL, run
from support.paths import ROOT

import odelet
from odelet.artifact.card import Card
from odelet_export.lowering.forms import FORMS
from odelet_export.pipeline.export import STAGES

INPUTS = ("--input", "x=float32[batch,3]", "--input", "t=float32[times]:linspace(0,1)")
ONE = ("--input", "x=float32[batch,3]:0..1")
# A stack trace stored in a graph contains these bytes.
STACK = b'flow.py", line'
# A program that runs odelet as on a machine without torch, onnx and safetensors.
WITHOUT_TORCH = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchdiffeq", "onnx", "onnxscript", "onnx_ir", "safetensors"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from importlib.metadata import EntryPoint
from odelet import cli
cli.entry_points = lambda group: [EntryPoint("export", "odelet_export.commands.export_cli:export_command", group)]
cli.main(sys.argv[1:])
"""


def refused(*args):
    """The message of a command that exits with 2 and prints only its stages and that one line."""
    code, out, err = run(*args)
    *stages, line = err.splitlines()
    assert (code, out) == (2, "")
    assert {stage.split()[0] for stage in stages} <= {"load", "built", *STAGES}
    assert line.startswith("odelet: ")
    return line.removeprefix("odelet: ")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    file = tmp_path_factory.mktemp("model") / "flow.py"
    file.write_text(MODEL)
    return file


@pytest.fixture(scope="module")
def done(model, tmp_path_factory):
    """One export, with weights and two inputs, and the torch module with those weights."""
    folder = tmp_path_factory.mktemp("done")
    torch.manual_seed(7)
    field = torch.nn.Linear(3, 3)
    weights = folder / "weights.safetensors"
    save_file({f"field.{key}": value for key, value in field.state_dict().items()}, weights)
    result = run(f"{model}:build", *INPUTS, "-w", weights, "-o", folder / "out", "--json")
    return *result, folder / "out", field


class TestExport:
    def test_stdout_is_json_alone_and_describes_the_artifact(self, done):
        code, out, _, path, _ = done
        data = json.loads(out)
        assert code == 0
        assert data["passed"] is True
        assert data["path"] == str(path)
        assert data["card"]["form"] == "adaptive"
        assert [tensor["shape"] for tensor in data["card"]["inputs"]] == [["batch", 3], ["times"]]
        assert data["card"] == json.loads((path / "odelet.json").read_text())
        assert data["tracer"] == "torch.export"
        assert data["warnings"] == []
        assert list(data["seconds"]) == ["load", *STAGES]
        assert data["next"][0] == f"odelet verify {path}"

    def test_stderr_has_the_stages_and_what_the_model_prints(self, done):
        first, *stages = done[2].splitlines()
        assert first == "built"
        assert [line.split()[0] for line in stages] == ["load", *STAGES]
        assert all(line.endswith(" s") for line in stages)

    def test_the_artifact_has_the_weights_and_the_dynamic_axes(self, done):
        *_, path, field = done
        flow = import_module("torchdiffeq").odeint
        x, t = torch.randn(6, 3), torch.tensor([0.0, 0.3, 0.5, 2.0])
        with torch.no_grad():
            expected = flow(lambda t, y: torch.tanh(field(y)), x, t, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(odelet.load(path)(x.numpy(), t.numpy()), expected, rtol=1e-4, atol=1e-5)
        assert odelet.verify(path).passed
        assert STACK not in (path / "model.onnx").read_bytes()

    def test_options_of_a_fixed_step_method_reach_the_artifact(self, model, tmp_path):
        options = ("--form", "rolled", "--method", "rk4", "--steps", 5, "--opset", 18, "--samples", 1, "--seed", 3)
        code, out, _ = run(f"{model}:build", *INPUTS, *options, "--keep-debug-info", "--out", tmp_path / "out")
        card = Card.from_json((tmp_path / "out" / "odelet.json").read_text())
        (solve,) = card.solves
        assert code == 0
        assert (solve.form, solve.method, solve.steps) == ("rolled", "rk4", 5)
        assert card.versions["opset"] == "18"
        assert card.parity["samples"] == 2
        assert STACK in (tmp_path / "out" / "model.onnx").read_bytes()
        assert out.startswith(f"Exported Flow to {tmp_path / 'out'}\n")
        assert "solve 0   rolled rk4, 5 steps (flow.py:12)" in out
        assert "input     x: float32 [batch, 3]" in out
        assert "output    output: float32 [times, batch, 3]" in out
        assert "parity    passed: 2 samples differ from torch by at most" in out
        assert "solve 0: 5 steps, 20 field evaluations, the same as torchdiffeq" in out
        assert "model.onnx" in out
        assert f"  odelet run {tmp_path / 'out'} --input inputs.npz" in out

    def test_options_of_an_adaptive_method_reach_the_artifact(self, model, tmp_path):
        np.savez(tmp_path / "example.npz", x=np.ones((2, 3)), t=np.array([0, 0.5, 1], np.float32))
        options = ("--form", "driven", "--rtol", "1e-3", "--atol", "1e-4", "--max-steps", 50)
        example = ("--example", tmp_path / "example.npz", "--input", "x=float32[batch,_]")
        code, _, _ = run(f"{model}:build", *example, *options, "-o", tmp_path / "out", "--json")
        card = Card.from_json((tmp_path / "out" / "odelet.json").read_text())
        (solve,) = card.solves
        assert code == 0
        assert (solve.form, solve.rtol, solve.atol, solve.max_steps) == ("driven", 1e-3, 1e-4, 50)
        assert [tensor.shape for tensor in card.inputs] == [("batch", 3), (3,)]

    def test_a_step_size_reaches_the_artifact(self, model, tmp_path):
        options = ("--method", "euler", "--step-size", 0.25, "--samples", 1)
        inputs = ("--input", "x=float32[batch,3]", "--input", "t=float32[2]:linspace(0,1)")
        code, out, _ = run(f"{model}:build", *inputs, *options, "-o", tmp_path / "out")
        report = json.loads((tmp_path / "out" / "parity.json").read_text())
        assert code == 0
        assert "rolled euler" in out
        assert report["checks"][0]["solves"][0]["torch"]["steps"] == 4
        assert report["same_steps"]


class TestRefusal:
    def test_answers_that_differ_exit_with_3_and_put_the_artifact_aside(self, model, tmp_path, monkeypatch):
        def spoiled(host):
            """Change an operator, as a wrong translation would."""
            for node in host.graph.all_nodes():
                node.op_type = {"Mul": "Add"}.get(node.op_type, node.op_type)

        monkeypatch.setattr("odelet_export.capture.capture.widen", spoiled)
        code, out, err = run(f"{model}:Scaled", *ONE, "-o", tmp_path / "out", "--json")
        data = json.loads(out)
        failed = tmp_path / "out.failed"
        line = err.splitlines()[-1]
        assert code == 3
        assert data["passed"] is False
        assert data["path"] == str(failed)
        assert data["parity"]["passed"] is False
        assert data["problems"][0] in line
        assert line.startswith("odelet: the exported model does not give torch's answers: sample 0, output 'output'")
        assert "the fault is odelet's or ONNX Runtime's, not the model's: please report it" in line
        assert f"It was left in {failed}, see parity.md there" in line
        assert os.listdir(tmp_path) == ["out.failed"]
        assert "FAILED" in (failed / "parity.md").read_text()

    def test_a_wrong_capture_exits_with_2_and_leaves_nothing(self, model, tmp_path):
        code, out, err = run(f"{model}:Sly", *ONE, "-o", tmp_path / "out")
        assert (code, out) == (2, "")
        assert "odelet: the capture is wrong" in err
        assert "something else while it is traced" in err
        assert os.listdir(tmp_path) == []

    def test_a_model_that_cannot_be_traced_is_reported_in_a_few_lines(self, model, tmp_path):
        code, out, err = run(f"{model}:Counting", *ONE, "-o", tmp_path / "out")
        lines = err.splitlines()
        start = next(i for i, line in enumerate(lines) if line.startswith("odelet: "))
        assert (code, out) == (2, "")
        assert (
            lines[start]
            == f"odelet: {model.name}:32: return odeint(lambda t, y: -y, x * int(x.sum()), torch.tensor([0.0, 1.0]))"
        )
        assert [line.split(":")[0].strip() for line in lines[start + 1 :]] == ["found", "do"]
        assert "depends on how large a dynamic axis is" in lines[start + 1]
        assert os.listdir(tmp_path) == []

    def test_a_model_that_decides_by_its_inputs_is_refused_with_strict(self, model, tmp_path):
        code, out, err = run(f"{model}:Branching", *ONE, "--strict", "-o", tmp_path / "out")
        assert (code, out) == (2, "")
        assert "x = x if x.sum() > 0 else -x" in err
        assert os.listdir(tmp_path) == []

    def test_a_form_that_no_solve_can_have_is_refused(self, model, tmp_path):
        line = refused(f"{model}:build", *INPUTS, "--form", "unrolled", "-o", tmp_path / "out")
        assert "no solve of this model can be unrolled" in line
        assert os.listdir(tmp_path) == []

    def test_a_failure_of_the_model_in_torch_is_reported_as_such(self, model, tmp_path):
        inputs = ("--input", "x=float32[batch,4]", *INPUTS[2:])
        line = refused(f"{model}:build", *inputs, "-o", tmp_path / "out")
        assert "the model fails on its example (x float32 [3, 4], t float32 [5]) in plain torch" in line
        assert "flow.py, line 12: RuntimeError: mat1 and mat2 shapes cannot be multiplied" in line
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            (("--form", "spiral"), "form='spiral' is not one of auto, unrolled"),
            (("--method", "magic"), "method='magic' is not one of"),
            (("--opset", "9"), "opset=9 is not supported; use 18"),
            (("--samples", "0"), "samples=0"),
            (("--max-steps", "0"), "max_steps=0"),
            (("--steps", "0", "--method", "rk4"), "steps"),
            (("--seed", "-1"), "--seed -1 must not be negative"),
            (("-w", "nowhere.pt"), "--weights nowhere.pt: there is no such file"),
            (("--input", "x=float32[3]"), "--input names 'x' twice"),
            (("--input", "z=float32[3]"), "--input z: forward of Flow takes x, t, scale"),
            (("--example", "nowhere.npz"), "nowhere.npz: it cannot be read"),
            (("--steps", "many"), "Invalid value for '--steps'"),
            (("--unknown", "1"), "No such option: --unknown"),
        ],
    )
    def test_bad_options_are_refused_in_one_line(self, model, tmp_path, args, message):
        assert message in refused(f"{model}:build", *INPUTS, *args, "-o", tmp_path / "out")
        assert os.listdir(tmp_path) == []

    def test_a_folder_that_is_not_an_artifact_is_never_replaced(self, model, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "thesis.tex").write_text("all of it")
        line = refused(f"{model}:build", *INPUTS, "-o", tmp_path / "out")
        assert "exists and is not an artifact" in line
        assert os.listdir(tmp_path / "out") == ["thesis.tex"]

    @pytest.mark.parametrize("out", [".", ".."])
    def test_the_current_folder_is_never_replaced(self, model, out):
        assert "give the artifact a folder of its own" in refused(f"{model}:build", *INPUTS, "-o", out)

    def test_a_folder_that_cannot_be_made_is_refused(self, model, tmp_path):
        (tmp_path / "file").touch()
        line = refused(f"{model}:build", *INPUTS, "-o", tmp_path / "file" / "out")
        assert "--out" in line
        assert "cannot be written" in line

    def test_a_command_without_inputs_is_refused(self, model, tmp_path):
        assert "--input" in refused(f"{model}:build", "-o", tmp_path / "out")

    def test_a_missing_package_of_the_model_is_not_blamed_on_an_extra(self, tmp_path):
        (tmp_path / "needy.py").write_text("import torch\nimport surely_not_installed\n")
        line = refused(f"{tmp_path / 'needy.py'}:build", *ONE, "-o", tmp_path / "out")
        assert "needy.py, line 2: No module named 'surely_not_installed'; install what provides" in line
        assert "odelet[" not in line

    @pytest.mark.parametrize("args", [(), ("--help",)])
    def test_without_torch_the_message_says_what_to_install(self, model, tmp_path, args):
        command = [sys.executable, "-c", WITHOUT_TORCH, "export", f"{model}:build", *INPUTS, "-o", tmp_path / "out"]
        done = subprocess.run([*command, *args], capture_output=True, text=True, check=False)
        if args:
            assert (done.returncode, done.stderr) == (0, "")
            assert "torch" in done.stdout
        else:
            assert (done.returncode, done.stdout) == (2, "")
            assert done.stderr.startswith("odelet: export: No module named")
            assert done.stderr.endswith('install what this command needs with: pip install "odelet[export]"\n')
            assert done.stderr.count("\n") == 1


class TestHelp:
    def test_help_names_every_form_and_warns_that_code_is_run(self):
        code, out, _ = run("--help")
        assert code == 0
        assert all(form in out for form in ("auto", *FORMS))
        assert "The code of the target is run" in out
        assert "x=float32[batch,64]" in out
        assert "linspace(0,1)" in out

    def test_the_package_registers_the_command(self):
        pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
        module, _, name = pyproject["project"]["entry-points"]["odelet.commands"]["export"].partition(":")
        assert callable(getattr(import_module(module), name))
