"""Whatever an artifact calls its parts, a terminal shows it as text: on screens, in messages and on pictures."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from support.artifacts import (
    POSITIVE,
    affine_card,
    affine_model,
    affine_nodes,
    positive_nodes,
    value,
    write,
    write_card,
)
from support.command_line import call
from support.paths import ROOT

import odelet
from odelet.artifact.card import Tensor
from odelet.commands.plot import draw, record
from odelet.text import printable, screen

# The title of a terminal, a colour, a line of its own, a way back to the begin of the line, text from right to left,
# an 8-bit control, and what a terminal may take for the end of a line.
WILD = "\x1b]0;owned\x07\x1b[31m\nstatus OK\rpassed\u202e\x9b2J\u2028\u200b"
X = np.array([[1.0, 2.0, 3.0]], np.float32)


def wild_card():
    tensor = Tensor(name=f"x{WILD}", dtype="float32", shape=(f"batch{WILD}", 3))
    (solve,) = affine_card().solves
    return affine_card(
        name=f"Wild{WILD}",
        odelet=f"0.1.0{WILD}",
        inputs=(tensor,),
        outputs=(replace(tensor, name=f"y{WILD}"),),
        solves=(replace(solve, source=f"wild.py{WILD}:7", nested=(f"rk4{WILD}",)),),
        assumptions=(
            replace(
                POSITIVE,
                source=f"wild.py{WILD}:12",
                text=f"if x > 0:{WILD}",
                value=f"True{WILD}",
                inputs=(tensor.name,),
            ),
        ),
        versions={f"torch{WILD}": f"2.13.0{WILD}"},
        parity={f"passed{WILD}": f"yes{WILD}"},
    )


@pytest.fixture
def folder(tmp_path):
    card = wild_card()
    model = affine_model(card, nodes=[*affine_nodes(), *positive_nodes()])
    model.graph.output.append(value(POSITIVE.output, 9, []))
    names = {"x": card.inputs[0].name, "y": card.outputs[0].name}
    for node in model.graph.node:
        for field in (node.input, node.output):
            field[:] = [names.get(name, name) for name in field]
    for port in (*model.graph.input, *model.graph.output):
        port.name = names.get(port.name, port.name)
    samples = {f"0/in/x{WILD}": X, f"0/out/y{WILD}": 2 * X + 1, f"0/allowed/y{WILD}": np.float64(1e-5)}
    np.savez(tmp_path / "x.npz", **{f"x{WILD}": X})
    return write(tmp_path / "wild", card, {"model.onnx": model}, samples)


def shown(out):
    """Assert that a text is text, in whose lines no name begins a line."""
    assert out.isprintable() or all(line.isprintable() for line in out.split("\n")), repr(out)
    return [line for line in out.split("\n") if line.startswith("status OK")]


def test_every_screen(folder, tmp_path, capsys):
    source, target = tmp_path / "x.npz", tmp_path / "y.npz"
    for args, lines in (
        (("info", folder), 0),
        (("info", folder, "--json"), 0),
        (("verify", folder), 0),
        (("verify", folder, "--json"), 0),
        (("run", folder, "--input", source, "--output", target), 1),
        (("bench", folder, "--seconds", "0.01"), 0),
        (("bench", folder, "--seconds", "0.01", "--json"), 0),
    ):
        code, out, err = call(capsys, *args)
        assert code == 0, err
        assert "owned" in out
        assert len(shown(out)) == lines
        shown(err)


def test_an_output_that_differs(folder, capsys):
    card = odelet.load(folder).card
    samples = {f"0/in/x{WILD}": X, f"0/out/y{WILD}": X, f"0/allowed/y{WILD}": np.float64(1e-5)}
    with (folder / "samples.npz").open("wb") as file:
        np.savez(file, **samples)
    write_card(folder, card)
    code, out, _ = call(capsys, "verify", folder)
    assert code == 3
    assert "FAILED" in out
    assert not shown(out)


def test_every_message(folder, tmp_path, capsys):
    source, target = tmp_path / "z.npz", tmp_path / "y.npz"
    for arrays, message in (
        ({}, "missing input"),
        ({f"z{WILD}": X}, "there is no input"),
        ({f"x{WILD}": X.astype(np.float64)}, "has dtype float64"),
        ({f"x{WILD}": X[0]}, "has shape (3,); expected [batch"),
        ({f"x{WILD}": -X}, "the model was exported with an example for which"),
        ({f"x{WILD}": np.array([{}], object)}, "holds Python objects"),
    ):
        np.savez(source, **arrays)
        code, out, err = call(capsys, "run", folder, "--input", source, "--output", target)
        assert (code, out) == (2, "")
        assert message in err
        shown(err)
    code, _, err = call(capsys, "run", folder, "--input", tmp_path / "x.npz", "--output", target, "--max-steps", 1)
    assert code == 4
    assert "wild.py" in err
    shown(err)
    model = odelet.load(folder)
    shown(repr(model))
    with pytest.raises(odelet.SolveError) as failed:
        model(X, max_steps=1)
    assert shown(str(failed.value)) == []


def test_cards_that_are_refused(folder, capsys):
    text = (folder / "odelet.json").read_text()
    for changes in (
        {"form": WILD},
        {"files": {WILD: {"sha256": "0" * 64, "bytes": 1}}},
        {WILD: 1},
        {"name": [WILD]},
        {"format": 99, "odelet": WILD},
        {"program": [{"run": WILD}]},
    ):
        (folder / "odelet.json").write_text(json.dumps({**json.loads(text), **changes}))
        code, out, err = call(capsys, "info", folder)
        assert (code, out) == (2, "")
        shown(err)
        assert err.count("\n") == 1


def test_a_picture(tmp_path, capsys):
    folder = tmp_path / "driven"
    shutil.copytree(ROOT / "tests" / "whole" / "artifacts-0.1" / "driven", folder)
    data = json.loads((folder / "odelet.json").read_text())
    data["name"] = WILD
    for solve in data["solves"]:
        solve["source"] = WILD
    (folder / "odelet.json").write_text(json.dumps(data))
    y0 = np.array([3.0, 1.0], np.float32)
    np.save(tmp_path / "y0.npy", y0)
    args = ("--input", tmp_path / "y0.npy", "-o", tmp_path / "y.svg", "--solve", 1)
    code, out, err = call(capsys, "plot", folder, *args)
    assert code == 0, err
    shown(out)
    recorded = record(odelet.load(folder), {"y0": y0}, solve=1)
    assert draw(recorded)._suptitle.get_text().replace("\n", "").isprintable()
    code, _, err = call(capsys, "plot", folder, *args[:-1], 7)
    assert code == 2
    shown(err)


@pytest.mark.parametrize("char", [chr(code) for code in (*range(32), *range(127, 160), 0x202E, 0x2066, 0xD800, 0xFEFF)])
def test_characters_that_steer_are_written_out(char):
    assert printable(f"a{char}b").isprintable()
    assert screen([f"a{char}b", "c"]).count("\n") == 1
    assert printable(f"a{char}b", keep=char) == f"a{char}b"


def test_text_of_any_language_stays():
    text = "Zerfall y' = -λy, 減衰, затухание, ميل, café"
    assert printable(text) == text
