"""The runtime runs on Python 3.10, which images of devices have: its syntax, its imports, and old artifacts in it."""

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from support.paths import ROOT

RUNTIME = ROOT / "runtime" / "odelet"
# What Python 3.10 has not, by module; whole modules have no names.
NEW = {
    "tomllib": set(),
    "wsgiref.types": set(),
    "typing": {"Self", "Never", "Unpack", "TypeVarTuple", "LiteralString", "Required", "NotRequired", "assert_never"}
    | {"assert_type", "reveal_type", "dataclass_transform", "clear_overloads", "get_overloads", "override"},
    "enum": {"StrEnum", "ReprEnum", "EnumCheck", "verify", "member", "nonmember", "global_enum"},
    "datetime": {"UTC"},
    "contextlib": {"chdir"},
    "hashlib": {"file_digest"},
    "itertools": {"batched"},
    "math": {"cbrt", "exp2", "sumprod"},
    "operator": {"call"},
    "asyncio": {"timeout", "TaskGroup", "Runner", "Barrier"},
    "builtins": {"ExceptionGroup", "BaseExceptionGroup"},
}
# Verifies old artifacts; those whose graphs this onnxruntime is too old for say so.
WORKER = """
import sys, odelet
good = 0
for path in sys.argv[1:]:
    try:
        assert odelet.verify(path).passed, path
        good += 1
    except odelet.ArtifactError as error:
        assert "upgrade onnxruntime" in str(error), error
print(good)
"""


def missing(tree, only_types):
    """What a module uses that Python 3.10 has not. only_types: nodes that run under a type checker only."""
    found = set()
    for node in ast.walk(tree):
        if node in only_types:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in NEW and not NEW[alias.name]}
        elif isinstance(node, ast.ImportFrom) and node.module in NEW:
            found |= {alias.name for alias in node.names if alias.name in NEW[node.module] or not NEW[node.module]}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found |= {node.attr} & NEW.get(node.value.id, set())
        elif isinstance(node, ast.Attribute) and node.attr == "add_note":
            found.add(node.attr)
        elif isinstance(node, ast.Name):
            found |= {node.id} & NEW["builtins"]
    return found


def only_types(tree):
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    return {inner for block in blocks for node in block.body for inner in ast.walk(node)}


def test_files_use_nothing_newer():
    files = sorted(RUNTIME.rglob("*.py"))
    assert len(files) > 50
    for path in files:
        tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))
        assert not missing(tree, only_types(tree)), path


@pytest.mark.parametrize(
    "text",
    ["import tomllib", "from typing import Any, Self", "import hashlib\nhashlib.file_digest", "raise ExceptionGroup"],
)
def test_the_check_sees_what_is_newer(text):
    tree = ast.parse(text)
    assert missing(tree, only_types(tree))
    typed = ast.parse("if TYPE_CHECKING:\n    " + text.replace("\n", "\n    "))
    assert not missing(typed, only_types(typed))


def test_pip_and_the_tools_take_3_10():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["requires-python"] == ">=3.10"
    ruff = tomllib.loads((ROOT / "runtime" / "ruff.toml").read_text(encoding="utf-8"))
    assert ruff["target-version"] == "py310"
    assert "mypy --python-version 3.10 -p odelet" in (ROOT / "Makefile").read_text(encoding="utf-8")


def interpreter():
    """A Python 3.10 that has numpy and onnxruntime, or None: of ODELET_PYTHON310, or on the PATH."""
    for name in (os.environ.get("ODELET_PYTHON310"), "python3.10"):
        path = shutil.which(name) if name else None
        code = "import sys, numpy, onnxruntime; sys.exit(sys.version_info[:2] != (3, 10))"
        if path is not None and subprocess.run([path, "-c", code], capture_output=True, check=False).returncode == 0:
            return path
    return None


@pytest.mark.slow
def test_it_verifies_old_artifacts_there():
    python = interpreter()
    if python is None:
        pytest.skip("no Python 3.10 with numpy and onnxruntime; set ODELET_PYTHON310, see CONTRIBUTING.md")
    artifacts = sorted(path.parent for path in (ROOT / "tests/whole/artifacts-0.1").glob("*/odelet.json"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "runtime"), "OMP_NUM_THREADS": "1"}
    command = [python, "-c", WORKER, *map(str, artifacts)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 4


def test_the_exporter_says_what_it_needs_on_3_10(monkeypatch):
    from odelet_export.versions import check_libraries

    monkeypatch.setattr(sys, "version_info", (3, 10, 13, "final", 0))
    with pytest.raises(ImportError, match=r"odelet_export needs Python 3.11 or newer, and this is 3.10; export with"):
        check_libraries()


def test_what_says_so_can_be_read_by_3_10():
    for package, files in {"odelet_export": ["__init__", "versions"]}.items():
        for name in files:
            tree = ast.parse(Path(ROOT, "exporter", package, f"{name}.py").read_text(), feature_version=(3, 10))
            assert not missing(tree, only_types(tree)), (package, name)
