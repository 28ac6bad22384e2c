"""The settings of an export: one object or flat keywords, the same in Python and on the command line."""

import ast
import hashlib
import inspect
from dataclasses import fields, is_dataclass
from typing import get_type_hints

import numpy as np
import pytest
import torch
import typer
from support.paths import ROOT
from torchdiffeq import odeint
from typer.main import get_command

import odelet_export
from odelet.errors import InputError
from odelet_export import FormError, explain, export, tune
from odelet_export.calibration.settings import Calibration
from odelet_export.commands.export_cli import export_command
from odelet_export.commands.tune_cli import tune_command
from odelet_export.model.overrides import Overrides
from odelet_export.pipeline.export import Exported
from odelet_export.pipeline.settings import ExportChanges, ExportSettings, ProofSettings, SharedChanges
from odelet_export.tuning.settings import TuneChanges, TuneSettings

FLAT = {
    "form": "rolled",
    "method": "rk4",
    "steps": 3,
    "max_steps": 50,
    "opset": 19,
    "keep_debug_info": True,
    "strict": True,
    "samples": 2,
    "seed": 5,
    "tolerance": (1e-3, 1e-4),
}
WHOLE = ExportSettings(
    form="rolled",
    solves=Overrides(method="rk4", steps=3),
    max_steps=50,
    opset=19,
    keep_debug_info=True,
    strict=True,
    proof=ProofSettings(samples=2, seed=5, tolerance=(1e-3, 1e-4)),
)


def decay(x):
    return odeint(lambda t, y: -y, x, torch.tensor([0.0, 1.0]))[-1]


def files_of(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


class TestSignatures:
    @pytest.mark.parametrize("function", [export, explain])
    def test_export_and_explain_have_few_parameters_and_short_bodies(self, function):
        source = ROOT / "exporter" / "odelet_export" / "pipeline" / f"{function.__name__}.py"
        (node,) = [
            node
            for node in ast.parse(source.read_text(encoding="utf-8")).body
            if isinstance(node, ast.FunctionDef) and node.name == function.__name__
        ]
        assert len(inspect.signature(function).parameters) <= 8
        assert node.end_lineno - node.body[0].lineno + 1 <= 60

    def test_the_keywords_of_an_export_are_those_of_its_fields(self):
        """The fields are collected here without the module that changes settings."""
        flat = []
        for field in fields(ExportSettings):
            part = get_type_hints(ExportSettings)[field.name]
            flat += [inner.name for inner in fields(part)] if is_dataclass(part) else [field.name]
        assert sorted(ExportChanges.__annotations__) == sorted(
            "calibration" if name == "inputs" else name for name in flat
        )

    def test_the_keywords_of_a_tuning_are_those_of_its_fields(self):
        flat = {field.name for field in fields(TuneSettings)} - {"tried"}
        assert set(TuneChanges.__annotations__) == flat | {"methods", "forms", "steps", "tolerances", "weights"}
        assert set(SharedChanges.__annotations__) < set(TuneChanges.__annotations__) & set(
            ExportChanges.__annotations__
        )

    @pytest.mark.parametrize(
        ("command", "changes", "without"),
        [(export_command, ExportChanges, {"tolerance"}), (tune_command, TuneChanges, set())],
    )
    def test_each_keyword_is_an_option_with_the_default_of_its_field(self, command, changes, without):
        app = typer.Typer()
        app.command()(command)
        options = {option.name: option for option in get_command(app).params}
        assert not without & set(options)
        settings = TuneSettings(target=1.0) if changes is TuneChanges else ExportSettings()
        parts = [settings, *(getattr(settings, field.name) for field in fields(settings))]
        for name in set(changes.__annotations__) - without - {"target"}:
            field = "inputs" if name == "calibration" else name
            (default,) = [getattr(part, field) for part in parts if is_dataclass(part) and hasattr(part, field)]
            assert options[name].help.endswith(".")
            assert (options[name].default or None) == (default or None), name
        assert set(options) > set(changes.__annotations__) - without


class TestChanges:
    def test_keywords_and_the_object_give_the_same_settings(self):
        assert ExportSettings.of(**FLAT) == WHOLE
        assert ExportSettings().having(**FLAT) == WHOLE

    def test_keywords_change_the_object(self):
        changed = WHOLE.having(steps=7, seed=1, freeze=["n"])
        assert changed.solves == Overrides(method="rk4", steps=7)
        assert changed.proof == ProofSettings(samples=2, seed=1, tolerance=(1e-3, 1e-4))
        assert changed.freeze == ("n",)
        assert WHOLE.solves.steps == 3

    def test_both_give_the_same_artifact(self, tmp_path, captured_once):
        x = (torch.rand(2, 3),)
        first = export(decay, x, tmp_path / "flat" / "out", **FLAT)
        export(decay, x, tmp_path / "whole" / "out", settings=WHOLE)
        export(decay, x, tmp_path / "mixed" / "out", settings=WHOLE.having(steps=9), steps=3)
        assert first.card.solves[0].steps == 3
        files = [files_of(tmp_path / name / "out") for name in ("flat", "whole", "mixed")]
        assert files[0] == files[1] == files[2]
        assert len(files[0]) > 3

    @pytest.mark.parametrize(
        "call",
        [
            lambda **changes: export(decay, (torch.ones(2),), "nowhere", **changes),
            lambda **changes: explain(decay, (torch.ones(2),), **changes),
            lambda **changes: tune(decay, {"x": np.ones((4, 2))}, "nowhere", target=1e-3, **changes),
            ExportSettings.of,
        ],
    )
    def test_an_unknown_keyword_is_named_with_the_nearest(self, call):
        with pytest.raises(TypeError, match=r"no setting 'max_step'; did you mean max_steps"):
            call(max_step=1)
        with pytest.raises(TypeError, match=r"no setting 'zzz'; did you mean .* or max_steps"):
            call(zzz=1)

    def test_a_tuning_needs_a_target(self):
        with pytest.raises(TypeError, match="target is missing"):
            tune(decay, {"x": np.ones((4, 2))}, "nowhere", threads=1)

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"form": "spiral"}, FormError, "form='spiral' is not one of auto, unrolled"),
            ({"method": "magic"}, FormError, "method='magic' is not one of"),
            ({"rtol": -1.0}, FormError, r"rtol=-1\.0 must be a finite number"),
            ({"opset": 9}, InputError, "opset=9 is not supported; use 18 to 23"),
            ({"samples": 0}, InputError, "samples=0 must be at least 1"),
            ({"max_steps": 0}, InputError, "max_steps=0 must be at least 1"),
            ({"quantile": 0}, InputError, "quantile=0 must be above 0"),
        ],
    )
    def test_a_value_that_no_export_can_have_is_refused_at_once(self, changes, error, message):
        with pytest.raises(error, match=message):
            ExportSettings.of(**changes)

    def test_calibration_is_only_for_the_forms_that_need_it(self):
        data = {"x": np.ones((4, 2))}
        ExportSettings.of(form="bounded", calibration=data, quantile=0.9).check_calibration()
        ExportSettings().check_calibration()
        with pytest.raises(FormError, match="fallback is for the form bounded, and form='auto'"):
            ExportSettings(calibration=Calibration(fallback=True)).check_calibration()
        with pytest.raises(FormError, match="give calibration="):
            ExportSettings(form="bounded").check_calibration()
        with pytest.raises(FormError, match="per_sample gives each sample its own steps"):
            ExportSettings.of(form="bounded", calibration=data, per_sample=True).check_calibration()


@pytest.mark.parametrize("name", ["ExportSettings", "Explanation", "Exported", "Tuning", "explain", "export", "tune"])
def test_each_public_name_has_an_example(name):
    """tests/whole/test_doctests.py runs the examples."""
    assert ">>> " in getattr(odelet_export, name).__doc__


def test_the_public_names_are_sorted_and_exist():
    assert odelet_export.__all__ == sorted(odelet_export.__all__)
    assert all(getattr(odelet_export, name).__doc__ for name in odelet_export.__all__)
    assert odelet_export.Exported is Exported
    assert odelet_export.ExportSettings is ExportSettings
