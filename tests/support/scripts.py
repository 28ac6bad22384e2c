"""Import scripts of the repository that are in no package."""

import importlib.util
import sys


def script(path):
    """The script at `path` as a module. The folders that it adds to sys.path are removed again."""
    spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    search_path = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = search_path
    return module
