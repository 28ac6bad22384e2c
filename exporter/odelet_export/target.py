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
from torch.utils import _pytree as pytree

from odelet.errors import InputError
from odelet_export.arguments import Target
from odelet_export.intercept import is_library
from odelet_export.trees import Tree


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


def call_arguments(model: nn.Module, arrays: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arrays as positional and keyword arguments of the model, in the order of its signature.

    Arrays with dotted names make a dict, or a tuple where the names are numbers. Raises InputError for an input that
    the model does not have, and for one that it lacks.
    """
    parameters = inspect.signature(model.forward).parameters.values()
    free = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    names = [p.name for p in parameters if p.kind not in free]
    tensors = nested({name: torch.from_numpy(array) for name, array in arrays.items()})
    unknown = [name for name in tensors if name not in names]
    if unknown and not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        takes = f"takes {', '.join(names)}" if names else "has no arguments with names"
        raise InputError(f"--input {unknown[0]}: forward of {type(model).__name__} {takes}")
    missing = [name for name in _needed(model.forward) if name not in tensors]
    if missing:
        raise InputError(f'forward of {type(model).__name__} needs {missing[0]!r} too; add --input "{missing[0]}=..."')
    tensors = {name: tensors[name] for name in [*names, *unknown] if name in tensors}
    first = [p.name for p in parameters if p.kind is inspect.Parameter.POSITIONAL_ONLY and p.name in tensors]
    return tuple(tensors.pop(name) for name in first), tensors


def nested(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Dicts and tuples from leaves with dotted names: {"a.x": 1, "b.0": 2} is {"a": {"x": 1}, "b": (2,)}."""
    groups: dict[str, dict[str, Any]] = {}
    for name, leaf in leaves.items():
        first, _, rest = name.partition(".")
        groups.setdefault(first, {})[rest] = leaf
    return {first: _structure(first, group) for first, group in groups.items()}


def _structure(name: str, group: dict[str, Any]) -> Any:
    """What the leaves below a name make; the leaf of the name itself is under ""."""
    if "" in group:
        other = next((key for key in group if key), None)
        if other is not None:
            raise InputError(f"the inputs {name!r} and '{name}.{other}' exclude each other; leave one out")
        return group[""]
    parts = nested(group)
    if not all(key.isdecimal() for key in parts):
        return parts
    missing = [i for i in range(len(parts)) if str(i) not in parts]
    if missing:
        raise InputError(
            f"the parts {', '.join(parts)} of the input {name!r} make no tuple; '{name}.{missing[0]}' lacks"
        )
    return tuple(parts[str(i)] for i in range(len(parts)))


def check_runs(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Run a model on its example. Raises InputError when that fails, so that there is nothing to export."""
    args, kwargs = pytree.tree_map_only(torch.Tensor, torch.clone, (tuple(args), dict(kwargs)))
    try:
        with torch.no_grad():
            model.eval()(*args, **kwargs)
    except Exception as error:  # the user's code may raise anything
        leaves = Tree([*("" for _ in args), *kwargs], [*args, *kwargs.values()]).leaves
        shapes = [
            f"{name} {str(leaf.dtype).removeprefix('torch.')} {list(leaf.shape)}".strip() for name, leaf in leaves
        ]
        # torchdiffeq's words
        times = "strictly increasing or decreasing" in str(error)
        raise InputError(
            f"the model fails on its example ({', '.join(shapes)}) in plain torch, {_where(error) or 'somewhere'}: "
            f"{type(error).__name__}: {error}"
            f"{'; an input of times is drawn in order by, say, float32[times]:linspace(0,1)' if times else ''}"
        ) from error
