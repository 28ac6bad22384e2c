"""`odelet bench`: its numbers are those of the calls, and the calls that it compares do the same work."""

import json
import tomllib
from dataclasses import replace
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch
from support.artifacts import write_affine, write_noisy
from support.command_line import call, one_line
from support.paths import ROOT
from torch import nn
from torchdiffeq import odeint

import odelet
from odelet import cli
from odelet.artifact.card import Card
from odelet.commands import bench as benching
from odelet.commands.bench import bench
from odelet.commands.latency import Latency
from odelet.errors import InputError, OdeletError
from odelet_export import export

QUICK = {"seconds": 0.02}
SOURCE = """
import torch
from torch import nn
from torchdiffeq import odeint

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def forward(self, x):
        print("a model that talks")
        times = torch.tensor([0.0, 1.0])
        return odeint(lambda t, y: torch.tanh(self.inner(y)) * t, x, times, rtol=1e-3, atol=1e-3)

class Other(nn.Module):
    def forward(self, x):
        return {"elsewhere": x}

class Broken(nn.Module):
    def forward(self, x):
        raise RuntimeError("it broke")
"""


def points():
    """Let entry points be those of pyproject.toml, whatever is installed."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][benching.GROUP]
    return [EntryPoint(name, value, benching.GROUP) for name, value in declared.items()]


@pytest.fixture(autouse=True)
def extensions(monkeypatch):
    monkeypatch.setattr(benching, "entry_points", lambda group: points() if group == benching.GROUP else [])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model's source, its weights, and its artifacts by form."""
    folder = tmp_path_factory.mktemp("bench")
    (folder / "net.py").write_text(SOURCE)
    scope = {"__name__": "net"}
    exec(SOURCE, scope)
    torch.manual_seed(0)
    model = scope["Net"]()
    torch.save(model.state_dict(), folder / "net.pt")
    for form in ("adaptive", "driven"):
        export(model, (torch.randn(4, 3),), folder / form, form=form, dynamic={"x": {0: "batch"}}, samples=2)
    return folder


@pytest.mark.parametrize("form", ["adaptive", "driven"])
def test_figures_are_those_of_the_calls(form, made):
    report = bench(made / form, batch=6, **QUICK)
    assert report.inputs == {"x": (6, 3)}
    assert len(report.odelet.seconds) == len(report.floor.seconds) >= 5
    data = json.loads(json.dumps(report.to_dict()))
    for times in (data["latency_ms"], data["floor"]["latency_ms"]):
        assert 0 < times["p50"] <= times["p90"] <= times["p99"]
    assert data["latency_ms"]["p50"] == 1e3 * np.median(report.odelet.seconds)
    x = np.resize(benching.samples_of(report.card, made / form)[0][0]["x"], (6, 3))
    stats = odelet.load(made / form).solve(x).stats
    assert (data["steps"], data["evaluations"]) == (stats.steps, stats.evaluations)
    assert data["evaluation_ms"] == pytest.approx(data["latency_ms"]["p50"] / stats.evaluations)
    assert data["floor"]["over"] == pytest.approx(np.median(np.divide(report.odelet.seconds, report.floor.seconds)))
    assert data["torch"] is None


def test_the_floor_is_of_as_many_evaluations_as_the_solve(made, monkeypatch):
    asked = []

    def floor(path, evaluations, values, **options):
        asked.append((evaluations, {name: value.shape for name, value in values.items()}, options))
        return lambda: None

    monkeypatch.setattr(benching, "_extension", lambda name, advice: floor)
    report = bench(made / "adaptive", threads=2, **QUICK)
    assert asked == [({0: report.evaluations}, report.inputs, {"device": "cpu", "threads": 2})]
    assert report.scale == 1


def test_a_long_chain_is_shortened_and_its_time_scaled(made, monkeypatch):
    monkeypatch.setattr(benching, "LONGEST_CHAIN", 4)
    report = bench(made / "adaptive", **QUICK)
    assert report.scale == report.evaluations / 4
    one = replace(report, odelet=Latency((6.0, 6.0)), floor=Latency((1.0, 1.0)))
    assert one.over_floor == pytest.approx(6 / report.scale)
    assert one.to_dict()["floor"]["latency_ms"]["p50"] == pytest.approx(1e3 * report.scale)
    assert f"estimated from a chain {report.scale:.3g} times shorter" in one.summary()


def test_the_torch_model_gets_the_same_inputs(made, capsys):
    np.savez(made / "x.npz", x=np.linspace(-1, 1, 15, dtype=np.float32).reshape(5, 3))
    threads = torch.get_num_threads()
    told = {"source": made / "x.npz", "against": f"{made}/net.py:Net", "weights": made / "net.pt"}
    report = bench(made / "driven", **told, **QUICK)
    assert torch.get_num_threads() == threads
    assert report.inputs == {"x": (5, 3)}
    (check,) = report.checks
    assert 0 <= check.max_abs < 1e-5
    assert report.speed_up == pytest.approx(np.median(np.divide(report.torch.seconds, report.odelet.seconds)))
    out, err = capsys.readouterr()
    assert out == ""
    assert "a model that talks" in err  # not on stdout, where the result goes
    assert f"odelet is {report.speed_up:.2f} times as fast" in report.summary()
    assert "another model" not in report.summary()


def test_times_are_told_in_the_unit_that_fits(made):
    report = bench(made / "adaptive", **QUICK)
    told = replace(report, odelet=Latency((1.5, 1.5)), torch=Latency((0.0123, 0.0123)), floor=Latency((2e-6, 2e-6)))
    lines = told.summary().splitlines()
    assert "latency     p50 1.5 s, p90 1.5 s, p99 1.5 s" in lines
    assert any(line.startswith("torch       p50 12.3 ms, ") for line in lines)
    assert any(line.startswith("floor       2 us; ") for line in lines)


def test_another_model_is_told_by_its_outputs(made):
    torch.manual_seed(1)
    report = bench(made / "adaptive", against=f"{made}/net.py:Net", **QUICK)
    assert "is it the model that was exported? --weights names its weights" in report.summary()
    with pytest.raises(InputError, match="the torch model gives elsewhere, and the artifact output"):
        bench(made / "adaptive", against=f"{made}/net.py:Other", **QUICK)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seconds": 0.0}, "seconds=0.0 must be a positive number"),
        ({"seconds": float("nan")}, "seconds=nan must be"),
        ({"batch": 0}, "batch=0 must be at least 1"),
        ({"weights": Path("w.pt")}, "weights w.pt are of the torch model; name that model, too"),
        ({"source": Path("no.npz")}, "no.npz: it cannot be read"),
        ({"threads": 0}, "threads=0 must be"),
        ({"against": "no.py:Net"}, "no.py"),
        ({"against": "{made}/net.py:Nothing"}, "has no 'Nothing'; it has Net"),
        ({"against": "{made}/net.py:Broken"}, "RuntimeError: it broke"),
        ({"against": "{made}/net.py:Net", "weights": Path("no.pt")}, "there is no such file"),
    ],
)
def test_bad_input_is_refused_by_name(made, options, message):
    if "against" in options:
        options = options | {"against": options["against"].format(made=made)}
    with pytest.raises(InputError, match=message):
        bench(made / "adaptive", **QUICK | options)


def test_a_batch_that_nobody_can_resize(tmp_path):
    export(Steady(), (torch.ones(2, 3),), tmp_path / "fixed")
    with pytest.raises(InputError, match="no batch to resize .all its axes are fixed.; give the inputs"):
        bench(tmp_path / "fixed", batch=4, **QUICK)
    dynamic = {"x": {0: "rows", 1: "columns"}}
    export(Steady(), (torch.ones(2, 3),), tmp_path / "two", dynamic=dynamic)
    with pytest.raises(InputError, match="its dynamic axes are rows, columns, and none is called batch"):
        bench(tmp_path / "two", batch=4, **QUICK)


class Steady(nn.Module):
    def forward(self, x):
        return odeint(lambda t, y: -y, x, torch.tensor([0.0, 1.0]), method="rk4")


def test_a_lone_file_needs_inputs(tmp_path):
    lone = write_affine(tmp_path / "out") / "model.onnx"
    with pytest.raises(InputError, match="carries no samples; give its inputs with --input"):
        bench(lone, **QUICK)
    np.save(tmp_path / "x.npy", np.ones((2, 3), np.float32))
    assert bench(lone, source=tmp_path / "x.npy", **QUICK).inputs == {"x": (2, 3)}


def test_without_a_copy_of_the_field_it_says_so(tmp_path):
    report = bench(write_affine(tmp_path), **QUICK)
    assert report.floor is None
    assert "its card names no copy of its field" in report.summary()
    assert report.evaluations == 32


@pytest.mark.parametrize("entry", [None, EntryPoint("floor", "surely_not_installed:floor", benching.GROUP)])
def test_the_runtime_alone_times_the_calls_and_says_what_to_install(entry, made, monkeypatch):
    monkeypatch.setattr(benching, "entry_points", lambda group: [] if entry is None else [entry])
    report = bench(made / "adaptive", **QUICK)
    assert report.floor is None and report.odelet.median > 0
    assert "floor       none: it needs onnx-ir; install it with: pip install onnx-ir" in report.summary()
    with pytest.raises(OdeletError, match=r"it needs torch; install it with: pip install 'odelet\[export\]'"):
        bench(made / "adaptive", against="net.py:Net", **QUICK)


def test_drawn_numbers_are_drawn_once_and_not_compared(tmp_path):
    folder = write_noisy(tmp_path)
    np.savez(tmp_path / "x.npz", x=np.ones((2, 3), np.float32))
    report = bench(folder, source=tmp_path / "x.npz", **QUICK)
    assert set(report.inputs) == {tensor.name for tensor in report.card.inputs}
    assert "not compared" in replace(report, torch=report.odelet).summary()
    assert bench(folder, source=tmp_path / "x.npz", batch=5, **QUICK).inputs["x"] == (5, 3)


def test_a_card_keeps_its_piece(made):
    card = odelet.load(made / "adaptive").card
    assert card.solves[0].piece.graph == "model.onnx"
    assert Card.from_json(card.to_json()) == card


class TestCommand:
    @pytest.fixture
    def command(self, capsys, monkeypatch):
        monkeypatch.setattr(cli, "entry_points", lambda group: [])
        return partial(call, capsys, "bench", "--seconds", 0.02)

    def test_screen(self, command, made):
        code, out, err = command(made / "driven", "--batch", 2)
        assert (code, err) == (0, "")
        lines = out.splitlines()
        assert lines[:2] == ["Net: form driven, on cpu, 1 thread", "inputs      x [2, 3]"]
        heads = ["calls", "latency", "solve", "evaluation", "floor", "native"]
        assert [line.split()[0] for line in lines[2:]] == heads

    def test_json(self, command, made):
        code, out, _ = command(made / "driven", "--json", "--against", f"{made}/net.py:Net", "-w", made / "net.pt")
        told = json.loads(out)
        assert code == 0
        assert told["torch"]["differences"]["output"] < 1e-5
        assert told["solves"][0]["method"] == "dopri5"

    def test_errors_are_one_line(self, command, made, tmp_path):
        assert command(made / "driven", "--batch", 0)[0] == 2
        code, _, err = command(tmp_path / "nowhere")
        assert code == 2
        assert "there is no such folder" in one_line(err)
