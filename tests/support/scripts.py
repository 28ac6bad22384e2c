"""Scripts of the repository, imported as modules."""

import importlib.util
import sys


def script(path):
    """A script of the repository, as a module."""
    spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module
