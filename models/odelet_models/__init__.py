"""Models worth exporting, written as a user would write them: they import torch and torchdiffeq, and nothing else.

Each family is one file. It has a module class that builds without arguments, and `example_inputs(batch)`, which returns
a tuple of tensors for its `forward`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

# The address `module:class` of each family, by name. Addresses are strings, so that listing imports no family.
FAMILIES: dict[str, str] = {
    "odenet": "odelet_models.odenet:ODENet",
}

__all__ = ["FAMILIES", "example_inputs", "load_family"]


def load_family(name: str) -> type[Any]:
    """Import and return the module class of a family. Raises ValueError where `name` is not a key of FAMILIES.

    >>> load_family("odenet").__name__
    'ODENet'
    """
    module, attribute = _address(name)
    return getattr(import_module(module), attribute)


def example_inputs(name: str, batch: int, *, seed: int = 0) -> tuple[Any, ...]:
    """Random inputs of a family: a tuple of tensors whose first axis has `batch` rows.

    Equal seeds give equal inputs. Raises ValueError where `name` is not a key of FAMILIES.

    >>> [tuple(x.shape) for x in example_inputs("odenet", 3)]
    [(3, 64)]
    """
    module, _ = _address(name)
    return import_module(module).example_inputs(batch, seed=seed)


def _address(name: str) -> tuple[str, str]:
    if name not in FAMILIES:
        raise ValueError(f"name={name!r} is not a model family; choose one of {', '.join(sorted(FAMILIES))}")
    module, _, attribute = FAMILIES[name].partition(":")
    return module, attribute
