"""`odelet demo`: a family is exported, scored beside torch, and drawn."""

import pytest
import typer
from typer.testing import CliRunner

from odelet_models import FAMILIES
from odelet_train.demo_cli import demo_command

app = typer.Typer()
app.command()(demo_command)


def test_without_a_family_all_are_listed():
    result = CliRunner().invoke(app, [])
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert [line.split()[0] for line in lines[: len(FAMILIES)]] == list(FAMILIES)
    assert "odelet demo FAMILY" in lines[-1]


@pytest.mark.slow
def test_a_demo_scores_the_artifacts_as_torch_and_draws(tmp_path):
    result = CliRunner().invoke(app, ["odenet", "--out", str(tmp_path)], env={"COLUMNS": "120"})
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.output.splitlines() if "classify" in line]
    assert [row[:2] for row in rows] == [["odenet", "classify"], ["resnet", "classify"]]
    for row in rows:
        by_torch, by_artifact = (float(cell) for cell in row if cell.startswith("0.9"))
        assert by_torch == by_artifact > 0.97
    assert "score: accuracy; higher is better; the most frequent class: 0.1" in result.output
    assert (tmp_path / "odenet" / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_an_unknown_family_is_refused(tmp_path):
    result = CliRunner().invoke(app, ["alexnet", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "name='alexnet' is not a model family" in result.output
    assert not list(tmp_path.iterdir())
