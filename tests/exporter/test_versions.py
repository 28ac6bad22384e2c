"""Versions of torch and torchdiffeq outside the measured bounds are refused at import, in one line with the way out."""

import subprocess
import sys
import tomllib
from importlib import metadata

import pytest
from support.command_line import call
from support.paths import ROOT

from odelet_export import versions
from odelet_export.versions import RANGES, check_libraries, refusal


def set_version(monkeypatch, library, text):
    def version(name):
        if name == library and text is None:
            raise metadata.PackageNotFoundError(name)
        return text if name == library else installed(name)

    installed = metadata.version
    monkeypatch.setattr(versions.metadata, "version", version)


def test_the_installed_versions_are_supported():
    check_libraries()


@pytest.mark.parametrize("library", RANGES)
def test_bounds_are_those_of_pip(library):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    oldest, below = RANGES[library]
    for extra in ("export", "train"):
        assert f"{library}>={oldest},<{below}" in extras[extra]


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("2.13.0", True),
        ("2.13.0+cpu", True),
        ("2.13", True),
        ("2.13.4a0+git12", True),
        ("2.12.1", False),
        ("2.14.0", False),
        ("2.14.0.dev20260101", False),
        ("2.2.0", False),
        ("21.13.0", False),
        ("3", False),
        ("unknown", False),
    ],
)
def test_numbers_are_compared_as_numbers(text, good):
    assert (refusal("torch", text, "2.13", "2.14") is None) == good


@pytest.mark.parametrize(("library", "text"), [("torch", "2.12.1"), ("torch", "2.14.0"), ("torchdiffeq", "0.1.1")])
def test_others_are_refused_in_one_line(library, text, monkeypatch):
    set_version(monkeypatch, library, text)
    oldest, below = RANGES[library]
    with pytest.raises(ImportError) as caught:
        check_libraries()
    said = str(caught.value)
    assert "\n" not in said and said.startswith(f"{library} {text} is installed, and odelet_export supports {library}")
    assert said.endswith(f'pip install "{library}>={oldest},<{below}"')


def test_what_is_not_installed_is_left_to_its_import(monkeypatch):
    set_version(monkeypatch, "torchdiffeq", None)
    check_libraries()


def test_import_and_the_command_line_say_it(tmp_path, monkeypatch, capsys):
    info = tmp_path / "torch-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 1.0\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import odelet_export"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ImportError: torch 1.0 is installed, and odelet_export supports torch from" in done.stderr
    for name in [name for name in sys.modules if name.split(".")[0] == "odelet_export"]:
        monkeypatch.delitem(sys.modules, name)
    set_version(monkeypatch, "torch", "1.0")
    code, _, err = call(capsys, "export", "model.py:Model", "-o", "out")
    assert code == 2 and err.startswith("odelet: export: torch 1.0 is installed, and odelet_export supports torch")
    assert err.count("pip install") == 1 and err.count("\n") == 1
