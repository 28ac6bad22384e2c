"""The model that the command line names: imported as `python FILE.py` would import it, and built.

The law here: an error in the user's code is reported by the user's file and line; it is never blamed on odelet or its
extras.
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
from odelet_export.commands.weights import load_weights
from odelet_export.model.call_arguments import required_parameters
from odelet_intercept.solver_library import name_left_to_the_model
from odelet_intercept.user_code import as_typed, place_of_error


@contextmanager
def loaded(target: Target, *, weights: Path | None = None) -> Iterator[nn.Module]:
    """Import and build a model, with the weights of a file; yields the model.

    Raises InputError for a module that is not there, for one without a model of that name, and for weights that do not
    fit.
    """
    with importing(target) as module:
        model = _build(module, target.place, target.name)
        if weights is not None:
            load_weights(model, weights)
        yield model


@contextmanager
def importing(target: Target) -> Iterator[ModuleType]:
    """Import a module or a file; yields the module.

    The folder of the file stays on sys.path meanwhile, for imports that run later; a copy of torchdiffeq in it is what
    the model imports. Raises InputError for a module that
    is not there, and for any error that its code raises.
    """
    place, file = target.place, target.file
    before = list(sys.path)
    sys.path.insert(0, str(file.resolve().parent) if file is not None else os.getcwd())
    try:
        with name_left_to_the_model():
            with _blamed(place):
                module = _run_file(file) if file is not None else _import(place)
            yield module
    finally:
        sys.path[:] = before


def _run_file(file: Path) -> ModuleType:
    # The module gets the name by which a file beside it would import it, unless that name is taken.
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
        # This is for the module itself; a module that it imports is the user's to install.
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise InputError(
                f"there is no module {error.name!r} in this folder or among the installed packages; "
                "for a file, write FILE.py:NAME"
            ) from None
        raise


def _build(module: ModuleType, place: str, name: str) -> nn.Module:
    """The model that the module has under `name`, or that `name` returns when called."""
    if not hasattr(module, name):
        offers = [key for key, value in vars(module).items() if _offers(value, module) and not key.startswith("_")]
        raise InputError(f"{place} has no {name!r}" + ("; it has " + ", ".join(offers) if offers else ""))
    builder = getattr(module, name)
    if isinstance(builder, nn.Module):
        return builder
    if not callable(builder):
        raise InputError(
            f"{place}:{name} is a {type(builder).__name__}; it must be a torch.nn.Module, "
            "or a function without arguments that returns one"
        )
    needed = required_parameters(builder)
    if needed:
        raise InputError(
            f"{place}:{name} cannot be called without arguments (it needs {', '.join(needed)}); "
            f"name a function that can, such as: def build(): return {name}(...)"
        )
    with _blamed(place):
        model = builder()
    if not isinstance(model, nn.Module):
        raise InputError(f"{place}:{name} returned a {type(model).__name__}; it must return a torch.nn.Module")
    return model


def _offers(value: Any, module: ModuleType) -> bool:
    """Whether a value of the module may be the model that the user means."""
    defined_here = callable(value) and getattr(value, "__module__", None) == module.__name__
    return defined_here or isinstance(value, nn.Module)


@contextmanager
def _blamed(place: str) -> Iterator[None]:
    """Turn an error of the user's code into an InputError of one line with its place."""
    try:
        yield
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        user_line = place_of_error(error, causes=False)
        where = place if user_line is None else as_typed(user_line)
        if isinstance(error, ModuleNotFoundError):
            advice = f"install what provides {error.name!r}, which this model needs"
            raise InputError(f"{where}: {error}; {advice}") from error
        raise InputError(f"{where}: {type(error).__name__}: {error}") from error
