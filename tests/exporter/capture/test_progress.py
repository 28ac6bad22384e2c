"""A capture that takes long says what it does, in lines with the seconds of its parts."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torchdiffeq import odeint

from odelet_export import export
from odelet_export.capture import progress


def _clock(*readings: float) -> Iterator[float]:
    yield from readings


def test_a_short_capture_tells_nothing() -> None:
    lines: list[str] = []
    now = _clock(0.0, 0.0, 0.5, 1.9)
    with progress.told(lines.append, now=now.__next__):
        with progress.part("trace by torch.export"):
            pass
        progress.field_called("the solve at model.py:7")
        with progress.part("translate to ONNX"):
            pass
    assert lines == []


def test_a_part_is_told_with_the_seconds_of_those_before() -> None:
    lines: list[str] = []
    now = iter((0.0, 0.0, 3.0, 3.0, 7.5, 7.5))
    with progress.told(lines.append, now=now.__next__):
        with progress.part("trace by torch.export"):
            pass
        with progress.part("trace by make_fx"):
            pass
        with progress.part("translate to ONNX"):
            pass
    assert lines == [
        "trace by make_fx; trace by torch.export took 3.0 s",
        "translate to ONNX; trace by torch.export took 3.0 s; trace by make_fx took 4.5 s",
    ]


def test_calls_are_told_every_few_seconds() -> None:
    lines: list[str] = []
    now = iter((0.0, 0.0, 1.0, 6.0, 6.0, 7.0))
    with progress.told(lines.append, now=now.__next__):
        with progress.part("trace by torch.export"):
            pass
        for _ in range(3):
            progress.field_called("the solve at model.py:7")
    assert lines == ["trace by torch.export: 2 calls of functions of solves, now the solve at model.py:7; 6 s"]


def test_nothing_is_told_outside() -> None:
    with progress.part("trace by torch.export"):
        pass
    progress.field_called("the solve at model.py:7")


def test_an_export_tells_its_parts(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(progress, "_QUIET_FOR", 0.0)
    monkeypatch.setattr(progress, "_TELL_EVERY", 0.0)

    class Stages:
        lines: list[str] = []

        def __call__(self, stage: str) -> None:
            self.lines.append(stage)

        def progress(self, line: str) -> None:
            self.lines.append(line)

    def model(x: torch.Tensor) -> torch.Tensor:
        return odeint(lambda t, y: -y, x, torch.tensor([0.0, 1.0]), method="euler")[-1]

    stages = Stages()
    export(model, (torch.ones(2, 3),), tmp_path / "out", on_stage=stages, samples=1, quick=True)
    told = stages.lines[stages.lines.index("capture") : stages.lines.index("lift")]
    assert told[1] == "trace by torch.export"
    assert "1 calls of functions of solves, now the solve at test_progress.py" in told[2]
    assert told[-1].startswith("translate to ONNX; trace by torch.export took ")
