"""Libraries in `odelet tune`: the best candidates are built and measured beside ONNX Runtime; the faster ones win."""

import json
import shutil
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from support.command_line import call
from torchdiffeq import odeint

import odelet
from odelet import cli
from odelet_export import tune
from odelet_export.lowering.forms import FORMS
from odelet_export.tuning import measure, native
from odelet_export.tuning.candidates import Candidate
from odelet_export.tuning.record import Row, read_record

needs_compiler = [
    pytest.mark.skipif(find_spec("emx_onnx_cgen") is None, reason="emx-onnx-cgen is not installed"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler is installed"),
]
MODEL = """
import torch
from torchdiffeq import odeint

class Swing(torch.nn.Module):
    def forward(self, x, pace):
        def field(t, y):
            return torch.stack([y[:, 1], -torch.sin(y[:, 0])], 1) * pace[:, None]

        return odeint(field, x, torch.tensor([0.0, 2.0], dtype=x.dtype), method="dopri5", rtol=1e-4, atol=1e-5)[-1]
"""


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(measure, "QUICK", (0.0, 2))
    monkeypatch.setattr(measure, "LONG", (0.2, 2))


def data(count=6):
    generator = np.random.default_rng(0)
    return {"x": generator.normal(size=(count, 2)), "pace": generator.uniform(0.5, 2, count)}


def row(milliseconds, error=1e-5, **settings):
    return Row(candidate=Candidate(**settings), calls=6, samples=6, error=error, milliseconds=milliseconds)


def test_every_form_has_a_library_with_its_answers():
    for form in [name for name, form in FORMS.items() if form.solves]:
        built = native.twin(Candidate(form=form, method="rk4", steps=4))
        assert built.native and (built.method, built.steps) == ("rk4", 4)
        # No graph of a library holds a loop.
        assert built.form == (form if form in ("unrolled", "bounded") else "loop_free")
        assert built.options["profile"] == "c" and "--profile c" in " ".join(built.flags)
        assert str(built).endswith(f"{built.form}, native")
        assert native.twin(built) == built


def test_the_fastest_that_are_accurate_enough_are_built():
    rows = [
        row(3.0, form="adaptive", method="dopri5", rtol=1e-5, atol=1e-5),
        row(2.0, form="driven", method="dopri5", rtol=1e-5, atol=1e-5),
        row(0.1, 1e-2, form="unrolled", method="euler", steps=1),
        row(0.2, form="unrolled", method="rk4", steps=8, native=True),
        *(row(4.0 + steps, form="unrolled", method="rk4", steps=steps) for steps in range(20, 0, -1)),
    ]
    found = native.promising(rows, 1e-3)
    # Two forms with the same library count once; what misses the target is not built; the fastest come first.
    assert found[0] == Candidate(form="loop_free", method="dopri5", rtol=1e-5, atol=1e-5, native=True)
    assert [one.steps for one in found[1:]] == list(range(1, native.MOST))
    assert native.promising(rows[2:3], 1e-3) == []


@pytest.fixture
def swing():
    names = {}
    exec(compile(MODEL, "swing.py", "exec"), names)
    return names["Swing"]()


TRIED = {"methods": ["rk4"], "forms": ["unrolled"], "steps": [4, 16]}


@pytest.mark.parametrize(
    "compiler, said",
    [("", "no C compiler is installed"), ("no-such-cc", "CC='no-such-cc': there is no program 'no-such-cc'")],
)
def test_without_a_compiler_the_tuning_says_so_once(compiler, said, swing, tmp_path, monkeypatch):
    monkeypatch.setenv("CC", compiler)
    monkeypatch.setattr("odelet_export.targets.build.c.compiler.shutil.which", lambda name: None)
    tuning = tune(swing, data(), tmp_path / "tune", target=1e-2, **TRIED)
    assert tuning.choice is not None and not any(one.candidate.native for one in tuning.rows)
    assert said in tuning.record.native
    assert (tmp_path / "tune" / "tune.md").read_text().count(said) == 1


def test_nobody_is_told_of_libraries_that_nobody_wants(swing, tmp_path):
    tuning = tune(swing, data(), tmp_path / "tune", target=1e-2, no_native=True, **TRIED)
    assert tuning.record.native == "" and "native" not in (tmp_path / "tune" / "tune.md").read_text()


class TestMeasured:
    pytestmark = [*needs_compiler, pytest.mark.slow]

    @pytest.fixture
    def run(self, capsys, monkeypatch, tmp_path):
        points = {name: f"odelet_export.commands.{name}_cli:{name}_command" for name in ("export", "tune", "build")}
        monkeypatch.setattr(cli, "entry_points", lambda group: [EntryPoint(*one, group) for one in points.items()])
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.chdir(tmp_path)
        (tmp_path / "swing.py").write_text(MODEL)
        np.savez("data.npz", **data())
        # Other tests of this process have commands of their own.
        monkeypatch.setattr(cli.app, "registered_commands", list(cli.app.registered_commands))
        return lambda *words: call(capsys, *words)

    def test_a_library_has_the_error_of_its_graphs_and_wins_where_it_is_faster(self, run, monkeypatch):
        words = ["--data", "data.npz", "--target", "0.1", "--method", "bosh3", "--tolerance", "1e-3"]
        words += ["--form", "adaptive", "--form", "bounded"]
        code, out, err = run("tune", "swing.py:Swing", *words, "--export")
        assert code == 0, err
        record = read_record(Path("tune"))
        libraries = {one.candidate: one for one in record.rows if one.candidate.native}
        assert {one.form for one in libraries} == {"loop_free", "bounded"} and record.native == ""
        others = {native.twin(one.candidate): one for one in record.latest().values() if not one.candidate.native}
        for candidate, found in libraries.items():
            if candidate.form != "bounded":  # whose steps are found on calls of one sample here
                twin = others[candidate]
                assert found.error == pytest.approx(twin.error, rel=1e-3, abs=1e-6), str(candidate)
                assert found.evaluations == pytest.approx(twin.evaluations)
            assert found.calls == 6 and found.milliseconds > 0 and found.bytes > 1000
        # The choice is by time, and a call of graphs this small takes many times as long as one of their library.
        good = [one for one in record.latest().values() if one.worst <= 0.1 and one.calls == 6]
        assert record.chosen == min(good, key=lambda one: one.time).candidate
        assert record.chosen.native
        page = Path("tune/tune.md").read_text()
        for words in (record.command, record.build):
            assert words in out and words in page
        assert "--example tune/one-call.npz" in record.command and "--profile c" in record.command
        assert "--input" not in record.command
        assert record.build == "odelet build tune/artifact --target native"
        assert "odelet.load('tune/artifact', engine='native')" in out
        arrays = data()
        one = odelet.load("tune/artifact", engine="native").solve(arrays["x"][:1], arrays["pace"][:1])
        torch_y = odeint(
            lambda t, y: torch.stack([y[:, 1], -torch.sin(y[:, 0])], 1) * torch.tensor(arrays["pace"][:1, None]),
            torch.tensor(arrays["x"][:1]),
            torch.tensor([0.0, 2.0], dtype=torch.float64),
            rtol=1e-9,
            atol=1e-9,
        )[-1]
        assert np.abs(next(iter(one.outputs.values())) - torch_y.numpy()).max() <= 0.2

    def test_no_build_begins_after_the_time_of_builds(self, swing, tmp_path, monkeypatch):
        monkeypatch.setattr(native, "SECONDS", 0.0)
        tuning = tune(swing, data(), tmp_path / "tune", target=1e-1, **TRIED)
        built = [one for one in tuning.rows if one.candidate.native]
        assert len(built) == 1
        assert "candidates were left out, as builds took" in tuning.record.native
        assert json.loads((tmp_path / "tune" / "tune.json").read_text())["native"] == tuning.record.native
        # A later run takes the row from the record.
        assert tune(swing, data(), tmp_path / "tune", target=1e-1, **TRIED).fresh == 0
