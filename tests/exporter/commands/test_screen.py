"""`odelet export` shows its stages on a terminal as they pass, and then the result."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from odelet_export.commands import screen
from odelet_export.pipeline.explanation import Explanation
from odelet_export.pipeline.export import STAGES, Exported
from odelet_export.proof.report import Report


def terminal(width=60, **options):
    return Console(file=io.StringIO(), force_terminal=True, width=width, **options)


def test_the_checklist_has_a_line_for_every_stage():
    console = terminal()
    with screen.Checklist(console) as checklist:
        for stage in screen.STAGES:
            checklist(stage)
    text = console.file.getvalue()
    assert list(checklist.seconds) == list(screen.STAGES) == ["load", *STAGES]
    assert text.count("✓") >= len(screen.STAGES)


def test_a_stage_that_fails_is_marked():
    console = terminal(no_color=True)
    with pytest.raises(ZeroDivisionError), screen.Checklist(console) as checklist:
        checklist("load")
        checklist("look")
        raise ZeroDivisionError
    drawn_last = console.file.getvalue().rsplit("import torch", 1)[1].splitlines()
    last = next(line for line in drawn_last if "look" in line)
    assert "x" in last.split("look")[0]
    assert list(checklist.seconds) == ["load"]


def test_the_result_is_wrapped_on_a_narrow_terminal_only(tmp_path, monkeypatch, capsys):
    long = "something of many words, " * 5
    card = SimpleNamespace(
        name="Flow", form="plain", solves=(), inputs=[SimpleNamespace(name="x")], outputs=[], noise=()
    )
    explanation = Explanation("make_fx", 3, 2, 0, (), warnings=(long.strip(),))
    exported = Exported(tmp_path, card, Report(0, 0, False, []), explanation)
    console = terminal(width=50)
    monkeypatch.setattr(screen, "Console", lambda **_: console)
    screen.show(exported, tmp_path)
    warned = console.file.getvalue().split("warning")[1].split("Next")[0].splitlines()
    assert len(warned) > 2
    assert all(len(line) < 60 for line in warned)
    monkeypatch.setattr(screen, "Console", Console)
    screen.show(exported, tmp_path)
    out = capsys.readouterr().out
    assert f"warning   {long.strip()}\n" in out
    assert "traced    below autograd (make_fx), as torch.export could not trace it\n" in out
