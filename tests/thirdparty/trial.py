"""Trials: a model built as in its authors' example, with an example call, and functions that import such examples."""

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
    """One model to export: the arguments `model`, `args`, `dynamic` and `kwargs` of `odelet_export.export`."""

    model: Callable[..., Any]
    args: Sequence[Any]
    dynamic: Mapping[str, Mapping[int, str]] | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """A model in the table.

    exercises: a phrase for the table that says what the model tests. build: makes the trial. forms: by the name of each
    form to try, further settings of its export.
    """

    exercises: str
    build: Callable[[], Trial]
    forms: Forms


@dataclass(frozen=True)
class Source:
    """A repository or package that models come from.

    name, tried: phrases for the table: the source, and which of its code is tried. folder: the folder under
    --repositories that goes on the path, or None for a package, which is looked for under --site. package: its name.
    """

    name: str
    tried: str
    folder: str | None = None
    package: str | None = None
    cases: dict[str, Case] = field(default_factory=dict)

    def case(
        self, exercises: str, *, forms: Forms | None = None
    ) -> Callable[[Callable[[], Trial]], Callable[[], Trial]]:
        """A decorator that adds a function that builds a trial to `cases`, under the name of the function."""

        def enter(build: Callable[[], Trial]) -> Callable[[], Trial]:
            self.cases[build.__name__.replace("_", "-")] = Case(exercises, build, forms or {"auto": {}})
            return build

        return enter


def seed() -> None:
    """Seed all generators of random numbers."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


class Script(torch.nn.Module):
    """A torch module made of some lines of a script: a function as its forward, and the modules that it uses."""

    def __init__(self, forward: Callable[..., Any], *modules: torch.nn.Module) -> None:
        super().__init__()
        self.parts = torch.nn.ModuleList(modules)
        self.forward = forward


class _AnyMember(type):
    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return cls


class _Anything(metaclass=_AnyMember):
    """A class that allows everything that a script does with it and its objects while it is imported."""

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
    """Replace modules that a script imports only to plot, to load data or to train by empty ones.

    Installed modules are not replaced.
    """
    for whole in names:
        parts = whole.split(".")
        if parts[0] not in sys.modules and importlib.util.find_spec(parts[0]) is not None:
            continue
        for i in range(1, len(parts) + 1):
            name = ".".join(parts[:i])
            if name not in sys.modules:
                sys.modules[name] = _Stub(name)
                sys.modules[name].__spec__ = ModuleSpec(name, None)  # every module must have a spec


def with_arguments(*arguments: str) -> None:
    """Set the command line that a script parses while it is imported."""
    sys.argv = ["example.py", *arguments]


def fresh_weights(module: torch.nn.Module) -> torch.nn.Module:
    """Draw all weights anew, including those that start as zeros, so that every part of the model matters."""
    for parameter in module.parameters():
        fan = parameter[0].numel() if parameter.ndim > 1 else 4
        parameter.data.normal_(0.0, fan**-0.5)
    return module


def stub_timm() -> None:
    """Let timm.models.vision_transformer be the layers of timm alone: its other parts need torchvision."""
    found = importlib.util.find_spec("timm")
    if found is None or "timm.models.vision_transformer" in sys.modules:
        return
    stub("torchvision.ops.misc")
    timm = types.ModuleType("timm")
    timm.__path__ = list(found.submodule_search_locations or ())
    models, transformer = types.ModuleType("timm.models"), types.ModuleType("timm.models.vision_transformer")
    sys.modules |= {"timm": timm, models.__name__: models, transformer.__name__: transformer}
    from timm.layers import Attention, Mlp, PatchEmbed

    vars(transformer).update(Attention=Attention, Mlp=Mlp, PatchEmbed=PatchEmbed)
