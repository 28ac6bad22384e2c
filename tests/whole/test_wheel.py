"""A wheel holds everything that a package reads: files that are not Python are named in pyproject.toml."""

import tomllib
from fnmatch import fnmatch

import pytest
from support.paths import ROOT

SETUP = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
PACKAGES = {
    path.name: path
    for folder in SETUP["packages"]["find"]["where"]
    for path in (ROOT / folder).iterdir()
    if (path / "__init__.py").exists()
}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_file_of_a_package_is_in_the_wheel(package):
    patterns = SETUP["package-data"].get(package, [])
    for path in PACKAGES[package].rglob("*"):
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts:
            name = path.relative_to(PACKAGES[package]).as_posix()
            assert any(fnmatch(name, pattern) for pattern in patterns), f"{name} is in no pattern of package-data"
