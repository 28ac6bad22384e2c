"""Checks of what a caller gives to an export: a model, its example arguments, a folder. The law here: what is meant is
clear, or it is refused; nothing is taken apart that was meant as one argument."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils import _pytree as pytree

from odelet.errors import InputError

# Packages whose models are no torch models, even where they can be called.
_FOREIGN = ("jax", "flax", "equinox", "haiku", "diffrax", "keras", "tensorflow")
_ORDER = "the order is export(model, args, out)"


def check_model(model: Any, args: Any = None) -> None:
    """Raise InputError for a model that is a class, a module of another framework, or nothing that can be called."""
    if isinstance(model, type):
        raise InputError(
            f"the model is the class {model.__name__}; give an instance of it, such as {model.__name__}(...)"
        )
    if not callable(model):
        swapped = f"; {_ORDER}" if callable(args) else "; give a torch.nn.Module, or a function of tensors"
        raise InputError(f"the model is {_described(model)}{swapped}")
    for kind in () if isinstance(model, nn.Module) else type(model).__mro__:
        package = kind.__module__.split(".")[0]
        if package in _FOREIGN:
            raise InputError(
                f"the model is a {type(model).__name__}, which is a model of {package}, and odelet exports torch "
                "models; write it in torch, and copy the weights"
            )


def positional(args: Any) -> tuple[Any, ...]:
    """The positional arguments of the example call. A tensor in place of a tuple is one argument.

    Raises InputError for anything else that is no tuple or list of arguments.
    """
    if isinstance(args, torch.Tensor):
        return (args,)
    if isinstance(args, (tuple, list)):
        return tuple(args)
    if isinstance(args, (str, os.PathLike)):
        raise InputError(f"args is the path {os.fspath(args)!r}; {_ORDER}")
    if isinstance(args, Mapping):
        raise InputError("args is a dict; give kwargs= for arguments by name, or a tuple, (d,), for one dict")
    if _is_array(args):
        raise InputError(f"args is {_described(args)}; give a tuple of tensors, as in (torch.from_numpy(x),)")
    raise InputError(f"args is {_described(args)}; give a tuple of the model's arguments, such as (x,)")


def check_arguments(args: Sequence[Any], kwargs: Any) -> None:
    """Raise InputError for arguments that are arrays of another library than torch: as constants they would be baked
    in without a word."""
    if not isinstance(kwargs, Mapping):
        raise InputError(f"kwargs is {_described(kwargs)}; give a dict of arguments by name")
    for name, value in [*((f"argument {i}", value) for i, value in enumerate(args)), *kwargs.items()]:
        for leaf in pytree.tree_leaves(value):
            if _is_array(leaf):
                how = "torch.from_numpy(...)" if isinstance(leaf, np.ndarray) else "a tensor"
                verb = "is" if leaf is value else "holds"
                raise InputError(
                    f"{name} {verb} {_described(leaf)}; give {how} for an input of the artifact, "
                    "or bind it to the model (functools.partial) for a constant"
                )


def check_out(out: Any) -> None:
    """Raise InputError for a folder that is no path."""
    if not isinstance(out, (str, os.PathLike)):
        raise InputError(f"out is {_described(out)}; give the path of a folder: {_ORDER}")


def _is_array(value: Any) -> bool:
    """Whether a value is an array of another library than torch: of numpy, JAX, TensorFlow, pandas."""
    return not isinstance(value, (torch.Tensor, np.generic, type)) and hasattr(value, "__array__")


def _described(value: Any) -> str:
    """A value's class, with its package where it is no builtin, for a message."""
    kind = type(value)
    package = "" if kind.__module__ == "builtins" else kind.__module__.split(".")[0] + "."
    if isinstance(value, torch.Tensor):
        return f"a tensor {list(value.shape)}"
    return f"a {package}{kind.__qualname__}"
