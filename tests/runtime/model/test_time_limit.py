"""One deadline for the samples of an artifact: in `verify`, in the trial of an engine, and on the command line."""

import json
from time import perf_counter

import numpy as np
import pytest
from support.artifacts import write_affine, write_pair
from support.endless import write_loop

import odelet
from odelet import EngineError, InputError, SolveError, Status, cli
from odelet.model import engine_check, model

X = np.zeros(3, np.float32)


@pytest.fixture
def endless(tmp_path):
    """An artifact whose sample takes for ever."""
    return write_loop(tmp_path / "out")


def untested(monkeypatch):
    monkeypatch.setattr(model, "tested", lambda: False)
    monkeypatch.setattr(engine_check, "tested", lambda: False)


def test_verify_ends_at_its_deadline(endless):
    loaded = odelet.load(endless)
    for target in (endless, loaded):
        start = perf_counter()
        with pytest.raises(SolveError, match="^the run of the samples was ended: the deadline passed") as ended:
            odelet.verify(target, deadline=0.2)
        assert 0.2 <= perf_counter() - start < 3
        assert ended.value.status is Status.DEADLINE
    assert loaded(X, 2).tolist() == np.cos(np.cos(X)).tolist()


def test_the_trial_of_an_engine_ends_at_its_deadline(endless, monkeypatch):
    untested(monkeypatch)
    with pytest.raises(EngineError, match=r"the trial of Loop with it did not end in 0.2 s .*try_engine=False"):
        odelet.load(endless, deadline=0.2)
    assert odelet.load(endless, try_engine=False, deadline=0.2)(X, 1).tolist() == np.cos(X).tolist()


@pytest.mark.parametrize("deadline", [0, -1, float("nan"), float("inf"), "1", True])
def test_a_deadline_that_is_no_number_of_seconds(tmp_path, deadline):
    folder = write_affine(tmp_path / "out")
    for call in (odelet.load, odelet.verify):
        with pytest.raises(InputError, match="deadline=.* must be a positive and finite number of seconds"):
            call(folder, deadline=deadline)


def test_a_deadline_that_is_long_enough_changes_nothing(tmp_path, monkeypatch):
    untested(monkeypatch)
    for folder in (write_affine(tmp_path / "out"), write_pair(tmp_path / "pair")):
        assert odelet.verify(odelet.load(folder, deadline=60), deadline=60).passed


def run(capsys, *args):
    with pytest.raises(SystemExit) as ended:
        cli.main(list(map(str, args)))
    return ended.value.code, capsys.readouterr()


@pytest.mark.parametrize("command", ["verify", "bench"])
def test_commands_end_at_their_deadline(endless, capsys, command):
    code, text = run(capsys, command, endless, "--deadline", "0.2")
    assert code == 4
    assert "was ended: the deadline passed" in text.err


@pytest.mark.parametrize("command", ["run", "verify", "bench", "plot"])
def test_commands_take_a_cap_on_memory(endless, tmp_path, capsys, command):
    np.savez(tmp_path / "in.npz", x=X, turns=np.array(3))
    files = ["--input", tmp_path / "in.npz"] if command != "verify" else []
    files += (
        ["--output", tmp_path / f"out.{'png' if command == 'plot' else 'npz'}"] if command in ("run", "plot") else []
    )
    code, text = run(capsys, command, endless, *files, "--memory", 1000, "--deadline", "5")
    assert code == 2
    assert "memory=1000 must be a whole number of bytes" in text.err


def test_a_bench_under_a_cap_has_no_floor(tmp_path, capsys):
    folder = write_affine(tmp_path / "out")
    code, text = run(capsys, "bench", folder, "--seconds", "0.05", "--memory", 10_000_000, "--json")
    assert code == 0
    report = json.loads(text.out)
    assert "beyond the cap" in report["floor"]["missing"]
    assert run(capsys, "verify", folder, "--memory", 10_000_000)[0] == 0
