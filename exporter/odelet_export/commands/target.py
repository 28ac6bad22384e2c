"""The model that the command line names: imported as `python FILE.py` would do, and built.

The law here: what goes wrong in the user's code is told as such, by its file and line; it is never blamed
on odelet or its extras.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from odelet.errors import InputError
from odelet_export.commands.arguments import Target
from odelet_export.model.call_arguments import required_parameters
from odelet_intercept.user_code import as_typed, place_of_error


@contextmanager
def loaded(target: Target) -> Iterator[nn.Module]:
    """Import and build a model; its folder stays on sys.path for what it imports later.

    Raises InputError for a module that is not there, or that offers no model under that name.
    """
    with importing(target) as module:
        yield _build(module, target.place, target.name)


@contextmanager
def importing(target: Target) -> Iterator[ModuleType]:
    """Import a module or file; its folder stays on sys.path for what it imports later. Raises InputError."""
    place, file = target.place, target.file
    before = list(sys.path)
    sys.path.insert(0, str(file.resolve().parent) if file is not None else os.getcwd())
    try:
        with _blamed(place):
            module = _run_file(file) if file is not None else _import(place)
        yield module
    finally:
        sys.path[:] = before


def _run_file(file: Path) -> ModuleType:
    # By its own name, as a file beside it would import it, unless that name is taken.
    name = file.stem if file.stem not in sys.modules else f"odelet_target_{file.stem}"
    spec = spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None, "it ends in .py"
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _import(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        # Only the module itself: one that it imports is the user's to install.
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise InputError(
                f"there is no module {error.name!r} in this folder or among the installed packages; "
                "for a file, write FILE.py:NAME"
            ) from None
        raise


def _build(module: ModuleType, place: str, name: str) -> nn.Module:
    """The model that `name` is or makes."""
    if not hasattr(module, name):
        known = [key for key, value in vars(module).items() if _offers(value, module) and not key.startswith("_")]
        raise InputError(f"{place} has no {name!r}" + ("; it has " + ", ".join(known) if known else ""))
    found = getattr(module, name)
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        raise InputError(
            f"{place}:{name} is a {type(found).__name__}; it must be a torch.nn.Module, "
            "or a function without arguments that returns one"
        )
    needed = required_parameters(found)
    if needed:
        raise InputError(
            f"{place}:{name} cannot be called without arguments (it needs {', '.join(needed)}); "
            f"name a function that can, such as: def build(): return {name}(...)"
        )
    with _blamed(place):
        model = found()
    if not isinstance(model, nn.Module):
        raise InputError(f"{place}:{name} returned a {type(model).__name__}; it must return a torch.nn.Module")
    return model


def _offers(value: Any, module: ModuleType) -> bool:
    own = callable(value) and getattr(value, "__module__", None) == module.__name__
    return own or isinstance(value, nn.Module)


@contextmanager
def _blamed(place: str) -> Iterator[None]:
    """Turn what the user's code raises into one line with its place."""
    try:
        yield
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        found = place_of_error(error, causes=False)
        where = place if found is None else as_typed(found)
        if isinstance(error, ModuleNotFoundError):
            advice = f"install what provides {error.name!r}, which this model needs"
            raise InputError(f"{where}: {error}; {advice}") from error
        raise InputError(f"{where}: {type(error).__name__}: {error}") from error
