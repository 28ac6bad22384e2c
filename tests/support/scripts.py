"""Importing a script of the repository that is in no package."""

import importlib.util
import sys


def script(path):
    """A script as a module. path: of the script; what it adds to sys.path is taken off again."""
    spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    search_path = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = search_path
    return module
