"""The model that the command line names: imported as `python FILE.py` would do, and built.

The law here: what goes wrong in the user's code is told as such, by its file and line; it is never blamed
on odelet or its extras.
"""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from odelet.errors import InputError
from odelet_export.arguments import Target
from odelet_export.intercept import is_library


@contextmanager
def loaded(target: Target) -> Iterator[nn.Module]:
    """Import and build a model; its folder stays on sys.path for what it imports later.

    Raises InputError for a module that is not there, or that offers no model under that name.
    """
    place, file = target.place, target.file
    before = list(sys.path)
    sys.path.insert(0, str(file.resolve().parent) if file is not None else os.getcwd())
    try:
        with _blamed(place):
            module = _run_file(file) if file is not None else _import(place)
        yield _build(module, place, target.name)
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
    needed = _needed(found)
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


def _needed(function: Any) -> list[str]:
    """Names of the parameters without a default."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a builtin; calling it will tell
        return []
    free = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in free]


@contextmanager
def _blamed(place: str) -> Iterator[None]:
    """Turn what the user's code raises into one line with its place."""
    try:
        yield
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        where = _where(error) or place
        if isinstance(error, ModuleNotFoundError):
            advice = f"install what provides {error.name!r}, which this model needs"
            raise InputError(f"{where}: {error}; {advice}") from error
        raise InputError(f"{where}: {type(error).__name__}: {error}") from error


def _where(error: BaseException) -> str | None:
    """File and line in the user's code that an error passed through, as they would type the file."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        file, line = error.filename, error.lineno
    else:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if not f.filename.startswith("<") and not is_library(f.filename)]
        own = [f for f in own if "site-packages" not in f.filename] or own
        if not own:
            return None
        file, line = own[-1].filename, own[-1].lineno
    shown = os.path.relpath(file)
    return f"{file if shown.startswith(os.pardir) else shown}, line {line}"


def call_arguments(
    model: nn.Module, arrays: Mapping[str, Any]
) -> tuple[tuple[torch.Tensor, ...], dict[str, torch.Tensor]]:
    """The arrays as positional and keyword arguments of the model, in the order of its signature.

    Raises InputError for an input that the model does not have, and for one that it lacks.
    """
    parameters = inspect.signature(model.forward).parameters.values()
    free = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    names = [p.name for p in parameters if p.kind not in free]
    unknown = [name for name in arrays if name not in names]
    if unknown and not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        takes = f"takes {', '.join(names)}" if names else "has no arguments with names"
        raise InputError(f"--input {unknown[0]}: forward of {type(model).__name__} {takes}")
    missing = [name for name in _needed(model.forward) if name not in arrays]
    if missing:
        raise InputError(f'forward of {type(model).__name__} needs {missing[0]!r} too; add --input "{missing[0]}=..."')
    tensors = {name: torch.from_numpy(arrays[name]) for name in [*names, *unknown] if name in arrays}
    first = [p.name for p in parameters if p.kind is inspect.Parameter.POSITIONAL_ONLY and p.name in tensors]
    return tuple(tensors.pop(name) for name in first), tensors


def check_runs(model: nn.Module, args: Sequence[torch.Tensor], kwargs: Mapping[str, torch.Tensor]) -> None:
    """Run a model on its example. Raises InputError when that fails, so that there is nothing to export."""
    try:
        with torch.no_grad():
            model.eval()(*(arg.clone() for arg in args), **{name: arg.clone() for name, arg in kwargs.items()})
    except Exception as error:  # the user's code may raise anything
        shapes = [f"{str(arg.dtype).removeprefix('torch.')} {list(arg.shape)}" for arg in args]
        shapes += [f"{name} {str(arg.dtype).removeprefix('torch.')} {list(arg.shape)}" for name, arg in kwargs.items()]
        # torchdiffeq's words
        times = "strictly increasing or decreasing" in str(error)
        raise InputError(
            f"the model fails on its example ({', '.join(shapes)}) in plain torch, {_where(error) or 'somewhere'}: "
            f"{type(error).__name__}: {error}"
            f"{'; an input of times is drawn in order by, say, float32[times]:linspace(0,1)' if times else ''}"
        ) from error
