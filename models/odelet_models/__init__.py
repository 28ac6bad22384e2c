"""Models worth exporting, written as their users write them: torch and torchdiffeq, nothing else.

One file a family. A family file offers its module class, which builds without arguments, and
`example_inputs(batch)`, a tuple of tensors for its `forward`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

# name -> module:class; a string, so that listing the families imports none of them
FAMILIES: dict[str, str] = {
    "odenet": "odelet_models.odenet:ODENet",
}

__all__ = ["FAMILIES", "example_inputs", "load_family"]


def load_family(name: str) -> type[Any]:
    """Import the module class of a family; `name` is a key of FAMILIES."""
    module, attribute = _address(name)
    return getattr(import_module(module), attribute)


def example_inputs(name: str, batch: int, *, seed: int = 0) -> tuple[Any, ...]:
    """Make a family's random inputs: a tuple of tensors whose first dimension is `batch`."""
    module, _ = _address(name)
    return import_module(module).example_inputs(batch, seed=seed)


def _address(name: str) -> tuple[str, str]:
    if name not in FAMILIES:
        raise ValueError(f"name={name!r} is not a model family; choose one of {', '.join(sorted(FAMILIES))}")
    module, _, attribute = FAMILIES[name].partition(":")
    return module, attribute
