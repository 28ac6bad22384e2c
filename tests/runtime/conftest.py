"""Leaves out the files whose imports are not installed: the runtime is also tested where it alone is."""

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
# torchdiffeq and the exporter need torch, which a folder on the path does not bring.
NEEDS = {"odelet_export": "torch", "odelet_models": "torch", "odelet_intercept": "torch"}


@cache
def runs_here(file):
    """Whether all that a file imports is installed, also what it imports from the support of the tests."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names = [node.module for node in tree.body if isinstance(node, ast.ImportFrom)]
    names += [alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names]
    for name in names:
        top = name.partition(".")[0]
        if top == "support":
            if not runs_here(HERE.parent.joinpath(*name.split(".")).with_suffix(".py")):
                return False
        elif find_spec(NEEDS.get(top, top)) is None:
            return False
    return True


collect_ignore = [str(file) for file in sorted(HERE.rglob("test_*.py")) if not runs_here(file)]
