"""The installed torchdiffeq, also where a copy of it beside the user's script has its name.

Repositories carry old copies of torchdiffeq at their top. Python finds such a copy first, and so does the model, whose
calls are then those of a copy. References and stand-ins for methods need the installed library: it is imported under
its own name where that is free, and under a private name where a copy has it. The model's imports never change.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module, metadata
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote, urlparse

NAME = "torchdiffeq"
_PRIVATE = "odelet_intercept.installed_torchdiffeq"
_NEEDED = ("_impl.misc", "_impl.odeint", "_impl.rk_common", "_impl.solvers")


def _installed_folder() -> Path | None:
    """The folder of the installed package; None where no metadata say where it is."""
    try:
        distribution = metadata.distribution(NAME)
    except metadata.PackageNotFoundError:
        return None
    folder = Path(str(distribution.locate_file(NAME)))
    if (folder / "__init__.py").exists():
        return folder.resolve()
    origin = json.loads(distribution.read_text("direct_url.json") or "{}").get("url", "")
    folder = Path(unquote(urlparse(origin).path)) / NAME  # of an editable installation
    return folder.resolve() if origin and (folder / "__init__.py").exists() else None


def _folder_found() -> Path | None:
    """The folder of the package that `import torchdiffeq` gives now."""
    try:
        spec = find_spec(NAME)
    except ValueError:  # a module without a spec, made by hand
        return None
    return Path(spec.origin).resolve().parent if spec is not None and spec.origin is not None else None


def _imported() -> ModuleType:
    installed, found = _installed_folder(), _folder_found()
    if installed is None or installed == found:
        try:
            return import_module(NAME)
        except ImportError:
            raise ImportError("odelet_export needs torchdiffeq; install it: pip install torchdiffeq") from None
    spec = spec_from_file_location(_PRIVATE, installed / "__init__.py", submodule_search_locations=[str(installed)])
    assert spec is not None and spec.loader is not None, "it is a package"
    module = module_from_spec(spec)
    sys.modules[_PRIVATE] = module
    spec.loader.exec_module(module)
    return module


def _parts(library: ModuleType) -> list[Any]:
    try:
        return [import_module(f"{library.__name__}.{name}") for name in _NEEDED]
    except ImportError as error:
        raise ImportError(
            f"{os.path.dirname(str(library.__file__))} is an old or changed copy of torchdiffeq ({error}), and no "
            "other is installed; install it: pip install torchdiffeq"
        ) from None


torchdiffeq: Any = _imported()
FOLDER = os.path.dirname(os.path.abspath(str(torchdiffeq.__file__)))
misc, odeint, rk_common, solvers = _parts(torchdiffeq)


def overtaken() -> str | None:
    """A sentence where Python would now import another torchdiffeq than the one that was imported before; else None.

    A script may put the folder of its own copy on sys.path after odelet is imported: `import torchdiffeq` then gives
    what is there already.
    """
    loaded, spec = sys.modules.get(NAME), PathFinder.find_spec(NAME)
    if loaded is None or spec is None or spec.origin is None or not getattr(loaded, "__file__", None):
        return None
    if os.path.realpath(spec.origin) == os.path.realpath(str(loaded.__file__)):
        return None
    return (
        f"the model uses the torchdiffeq of {os.path.dirname(str(loaded.__file__))}, which was imported before "
        f"{os.path.dirname(spec.origin)} came to the front of sys.path; import the model before odelet_export to use "
        "that one"
    )


@contextmanager
def name_left_to_the_model() -> Iterator[None]:
    """Let `import torchdiffeq` find what Python finds now, as in a process of the model's own; put back on leaving."""
    if overtaken() is None:
        yield
        return
    before = {name: module for name, module in sys.modules.items() if name == NAME or name.startswith(f"{NAME}.")}
    for name in before:
        del sys.modules[name]
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name == NAME or name.startswith(f"{NAME}.")]:
            del sys.modules[name]
        sys.modules.update(before)
