"""`--explain` describes the capture of a model as data, text and JSON."""

import io
import json
from dataclasses import replace

import pytest
import torch
from rich.console import Console
from support.export_command import run
from torch import nn

import odelet_export
from odelet_export.commands import explanation_screen, screen
from odelet_export.pipeline.explanation import Explanation, FieldExplained, Read, SolveExplained

MODEL = """
import torch
from torch import nn
from torchdiffeq import odeint, odeint_adjoint

class Pulled(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(5, 4)
        self.energy = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))
        self.decay = nn.Linear(2, 2, bias=False)

    def forward(self, x, z, scale, t):
        context = torch.tanh(self.encoder(z))

        def field(t, y):
            with torch.enable_grad():
                y = y.requires_grad_(True)
                energy = self.energy(torch.cat([y, context], -1)).sum()
                return -torch.autograd.grad(energy, y)[0] * torch.sin(t) + (context[:, :2] * 2).exp() * scale

        path = odeint_adjoint(field, x, t, rtol=1e-4, atol=1e-5, adjoint_params=())
        once = odeint(lambda t, y: -y, x, torch.tensor([0.0, 1.0]), method="rk4")
        options = {"step_size": 0.1}
        return odeint(lambda t, y: self.decay(y), path[-1], torch.tensor([0.0, 1.0]), method="rk4", options=options)[-1]
"""
INPUTS = ("x=float32[batch,2]", "z=float32[batch,5]", "scale=float32[batch,2]", "t=float32[times]:linspace(0,1)")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "pulled.py"
    path.write_text(MODEL)
    return path


@pytest.fixture(scope="module")
def printed_json(file):
    """The JSON that `--explain --json` prints without an artifact folder."""
    inputs = [part for spec in INPUTS for part in ("--input", spec)]
    code, out, err = run(f"{file}:Pulled", *inputs, "--explain", "--json")
    assert code == 0, err
    assert [line.split()[0] for line in err.splitlines()] == ["load", "look", "capture", "lift", "replay"]
    return json.loads(out)


def reads(read_values):
    return {read["name"]: read["shape"] for read in read_values}


def test_the_json_has_what_each_field_reads_and_the_nodes_computed_once(printed_json):
    assert set(printed_json) == {"explanation", "seconds"}
    explanation = printed_json["explanation"]
    assert explanation["tracer"] == "make_fx"
    assert explanation["unused"] == 1
    first, second = explanation["solves"]
    assert (first["entry"], first["method"], first["form"]) == ("odeint_adjoint", "dopri5", "adaptive")
    assert (first["rtol"], first["atol"], first["times"]) == (1e-4, 1e-5, "any number from input t")
    assert first["file"].endswith("pulled.py")
    assert MODEL.splitlines()[first["line"] - 1].strip() == first["text"]
    assert first["text"].startswith("path = odeint_adjoint(field")
    (field,) = first["functions"]
    assert field["uses_time"] is True
    # The exponential and the product with 2 depend on the context alone.
    assert field["hoisted"] >= 2
    assert field["nodes"] == sum(field["operators"].values())
    assert field["operators"]["Tanh"] == 1
    weights = reads(field["weights"])
    assert sorted(weights["energy.0.weight"]) == [6, 8]
    assert {"energy.0.bias", "energy.2.weight"} <= set(weights)
    contexts = [(read["shape"], read["source"]) for read in field["contexts"]]
    assert (["batch", 4], "Tanh, pulled.py:14") in contexts
    assert second["form"] == "unrolled"
    assert second["options"] == {"step_size": 0.1}
    assert second["state"][0]["source"].startswith("Gather")
    (field,) = second["functions"]
    assert field["uses_time"] is False
    assert set(reads(field["weights"])) == {"decay.weight"}
    assert explanation["nodes"] == explanation["host"] + sum(
        solve["functions"][0]["nodes"] for solve in explanation["solves"]
    )


@pytest.mark.parametrize("width", [None, 80])
def test_the_text_is_wrapped_on_a_terminal_only(width, monkeypatch, capsys):
    field = FieldExplained("field", 30, {"Gemm": 20, "Tanh": 10}, 4, False, numbers=2)
    weights = tuple(Read(f"layers.{i}.weight", "float32", (8, 8)) for i in range(20))
    solve = SolveExplained(
        *(0, "odeint", "dopri5", "adaptive", 1e-3, (1e-4, 1e-5), {}, "model.py", 7, "return odeint(f, y, t)"),
        times="2 constant, 0 to 1",
        state=(Read("", "float32", ("batch", 2)),),
        functions=(replace(field, weights=weights),),
    )
    explanation = Explanation("make_fx", 40, 10, 0, (solve,), noise=(Read("eps", "float32", ("batch", 2)),))
    console = Console(file=io.StringIO(), force_terminal=True, width=width or 80, no_color=True)
    if width:
        monkeypatch.setattr(screen, "Console", lambda **_: console)
    explanation_screen.show_explanation(explanation, name="Flow")
    text = console.file.getvalue() if width else capsys.readouterr().out
    assert "Flow below autograd (make_fx), as torch.export could not trace it" in text
    assert "40 nodes, 10 of them in the host, around the 1 solve" in text
    assert "dopri5, rtol 0.001, atol 0.0001/1e-05, to be adaptive" in text
    assert 'odeint in File "model.py", line 7' in text
    assert "30 nodes (20 Gemm, 10 Tanh); 4 more computed once; does not use t" in text
    assert "and 8 more" in " ".join(text.split())
    assert "noise     " in text
    assert "eps float32 [batch, 2]" in text
    assert "assumed" not in text
    assert (max(map(len, text.splitlines())) <= 90) == bool(width)


def test_an_export_can_be_explained_and_needs_a_folder(tmp_path):
    (tmp_path / "flow.py").write_text(
        "import torch\nfrom torchdiffeq import odeint\n\n\nclass Flow(torch.nn.Module):\n    def forward(self, x):\n"
        "        return odeint(lambda t, y: -y, x, torch.tensor([0.0, 1.0]), method='euler')[-1]\n"
    )
    target = (f"{tmp_path / 'flow.py'}:Flow", "--input", "x=float32[batch,3]", "--samples", 1)
    code, out, _ = run(*target, "--explain", "-o", tmp_path / "out")
    assert code == 0
    assert "Captured Flow by torch.export" in out
    assert "solve 0   euler, to be unrolled\n" in out
    assert 'odeint in File "' in out
    assert "field     1 node (1 Neg); does not use t" in out
    assert "Exported Flow to " in out
    assert (tmp_path / "out" / "odelet.json").exists()
    code, out, err = run(*target)
    assert (code, out) == (2, "")
    assert err == ("odelet: --out is missing; name a folder for the artifact, or give --explain to write nothing\n")


def test_explain_returns_the_record_in_python():
    class Flow(nn.Module):
        def __init__(self):
            super().__init__()
            self.rate = nn.Parameter(torch.ones(3))

        def forward(self, x):
            from torchdiffeq import odeint

            return odeint(lambda t, y: -y * self.rate, x, torch.tensor([0.0, 2.0]), method="rk4")[-1]

    explanation = odelet_export.explain(Flow(), (torch.rand(2, 3),), form="rolled", method="euler", steps=4)
    (solve,) = explanation.solves
    assert (solve.method, solve.form, solve.options) == ("euler", "rolled", {"steps": 4})
    assert [str(read) for read in solve.functions[0].weights] == ["rate float32 [3]"]
    with pytest.raises(odelet_export.FormError):
        odelet_export.explain(Flow(), (torch.rand(2, 3),), form="adaptive")
