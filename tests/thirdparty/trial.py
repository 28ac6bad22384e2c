"""What a trial is: a model built as its authors' example builds it, and how to call it."""

from __future__ import annotations

import importlib.util
import random
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from typing import Any

import numpy as np
import torch

Forms = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Trial:
    """One model to export. model, args, dynamic, kwargs: as `odelet_export.export` takes them."""

    model: Callable[..., Any]
    args: Sequence[Any]
    dynamic: Mapping[str, Mapping[int, str]] | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """exercises: for people. build: makes the trial. forms: to try, each with the other options of its export."""

    exercises: str
    build: Callable[[], Trial]
    forms: Forms


@dataclass(frozen=True)
class Source:
    """Where models come from.

    name, tried: for people; what the cases were written for. option: of the command, that says where the source is.
    """

    name: str
    tried: str
    option: str
    cases: dict[str, Case] = field(default_factory=dict)

    def case(
        self, exercises: str, *, forms: Forms | None = None
    ) -> Callable[[Callable[[], Trial]], Callable[[], Trial]]:
        """Enter a function that builds a trial, under its own name."""

        def enter(build: Callable[[], Trial]) -> Callable[[], Trial]:
            self.cases[build.__name__.replace("_", "-")] = Case(exercises, build, forms or {"auto": {}})
            return build

        return enter


def seed() -> None:
    """Make what is drawn from here on the same each time."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


class Script(torch.nn.Module):
    """Lines of an example's script as a module: a function, and the modules that it uses."""

    def __init__(self, forward: Callable[..., Any], *modules: torch.nn.Module) -> None:
        super().__init__()
        self.parts = torch.nn.ModuleList(modules)
        self.forward = forward


class _Anything:
    """An object that takes every use that a script makes of it while it is imported."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self


class _Stub(types.ModuleType):
    __path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything


def stub(*names: str) -> None:
    """Put empty modules in the place of those that a script imports only to plot, to load data or to train.

    Those that are installed stay as they are.
    """
    for whole in names:
        parts = whole.split(".")
        if parts[0] not in sys.modules and importlib.util.find_spec(parts[0]) is not None:
            continue
        for i in range(1, len(parts) + 1):
            name = ".".join(parts[:i])
            if name not in sys.modules:
                sys.modules[name] = _Stub(name)
                sys.modules[name].__spec__ = ModuleSpec(name, None)  # what is asked of all modules


def with_arguments(*arguments: str) -> None:
    """The command line that a script parses while it is imported."""
    sys.argv = ["example.py", *arguments]


def fresh_weights(module: torch.nn.Module) -> torch.nn.Module:
    """Draw all weights anew, also those that start as zeros, so that every part of the model matters."""
    for parameter in module.parameters():
        fan = parameter[0].numel() if parameter.ndim > 1 else 4
        parameter.data.normal_(0.0, fan**-0.5)
    return module
