"""The examples in docstrings run in a folder that has the artifacts `out` and `series`."""

import doctest
import importlib
import shutil

import numpy as np
import pytest
from support.paths import ROOT

import odelet
import odelet_export

FOLDERS = {
    "odelet": "runtime",
    "odelet_export": "exporter",
    "odelet_intercept": "exporter",
    "odelet_models": "models",
    "odelet_train": "trainer",
}
ARTIFACTS = {"out": "adaptive", "series": "fixed-point"}
# The public classes of the exporter are errors, and results of its functions.
PUBLIC = [(odelet, name) for name in odelet.__all__ if name != "__version__"]
PUBLIC += [(odelet_export, name) for name in odelet_export.__all__ if name.islower()]


def modules(package):
    """The names of the modules of a package that have an example."""
    folder = ROOT / FOLDERS[package]
    for path in sorted((folder / package).rglob("*.py")):
        if ">>> " in path.read_text(encoding="utf-8"):
            yield ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name, source in ARTIFACTS.items():
        shutil.copytree(ROOT / "tests" / "whole" / "artifacts-0.1" / source, tmp_path / name)
    monkeypatch.chdir(tmp_path)


def run(test, failures):
    """Run the examples of one docstring and return their number. failures: a list that gets a text for each failure."""
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    return runner.run(test, out=failures.append).attempted


@pytest.mark.usefixtures("folder", "short_timings")
@pytest.mark.parametrize("module", [module for package in FOLDERS for module in modules(package)])
def test_the_examples_of_a_module_run(module):
    failures, count = [], 0
    namespace = {"np": np, "odelet": odelet}
    for test in doctest.DocTestFinder().find(importlib.import_module(module), extraglobs=namespace):
        count += run(test, failures)
    assert not failures, "".join(failures)
    assert count, f"{module} has >>> where no docstring is"


@pytest.mark.parametrize("package", FOLDERS)
def test_a_package_has_examples(package):
    assert list(modules(package))


@pytest.mark.parametrize(("package", "name"), PUBLIC, ids=[name for _, name in PUBLIC])
def test_a_public_name_has_an_example(package, name):
    assert ">>> " in (getattr(package, name).__doc__ or "")


def test_a_wrong_example_is_reported():
    failures = []
    test = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, 0)
    assert run(test, failures) == 1
    assert "Expected:\n    3\nGot:\n    2" in "".join(failures)
