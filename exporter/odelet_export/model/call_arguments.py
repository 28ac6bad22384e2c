"""The arguments of a call of the model, made of arrays by name, and a check that the model runs on them.

The command line has inputs as arrays with names; here these become what `forward` takes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from odelet.errors import InputError
from odelet_export.model.first_run import failed_in_torch
from odelet_export.model.trees import Tree, map_tensors, nested

_ANY_NUMBER = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def required_parameters(function: Callable[..., Any]) -> list[str]:
    """The names of the parameters that have no default; none for a builtin that has no signature."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a builtin: an error of the call itself will name what is missing
        return []
    return [p.name for p in parameters if p.default is p.empty and p.kind not in _ANY_NUMBER]


def call_arguments(model: nn.Module, arrays: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The positional and the keyword arguments of a call of the model, in the order of its signature.

    arrays: NumPy arrays, and numbers, by the names of the inputs. Those with dotted names make one dict, or one tuple
    where the names end in numbers. Raises InputError for an input that the model does not have, and for one that is
    missing.
    """
    parameters = inspect.signature(model.forward).parameters.values()
    names = [p.name for p in parameters if p.kind not in _ANY_NUMBER]
    values = nested({name: x if isinstance(x, (int, float)) else torch.from_numpy(x) for name, x in arrays.items()})
    unknown = [name for name in values if name not in names]
    if unknown and not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        takes = f"takes {', '.join(names)}" if names else "has no arguments with names"
        raise InputError(f"--input {unknown[0]}: forward of {type(model).__name__} {takes}")
    missing = [name for name in required_parameters(model.forward) if name not in values]
    if missing:
        raise InputError(f'forward of {type(model).__name__} needs {missing[0]!r} too; add --input "{missing[0]}=..."')
    values = {name: values[name] for name in [*names, *unknown] if name in values}
    positional = [p.name for p in parameters if p.kind is inspect.Parameter.POSITIONAL_ONLY and p.name in values]
    return tuple(values.pop(name) for name in positional), values


def check_runs(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Run a model once on its example, in evaluation mode. Raises InputError, naming the user's line, if it fails."""
    args, kwargs = map_tensors(torch.clone, (tuple(args), dict(kwargs)))  # the model may write into its inputs
    try:
        with torch.no_grad():
            model.eval()(*args, **kwargs)
    except Exception as error:  # the user's code may raise anything
        leaves = Tree([*("" for _ in args), *kwargs], [*args, *kwargs.values()]).leaves
        raise failed_in_torch(error, leaves) from error
