"""Training for the models of `odelet_models`, reproducible from a seed and resumable.

Importing this package loads neither torch nor lightning; its names do, when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "Card": "odelet_train.checkpoint",
    "Settings": "odelet_train.fit",
    "Split": "odelet_train.data",
    "accuracy": "odelet_train.fit",
    "fit": "odelet_train.fit",
    "load_checkpoint": "odelet_train.checkpoint",
    "save_checkpoint": "odelet_train.checkpoint",
    "train_odenet_digits": "odelet_train.fit",
}

__all__ = [
    "Card",
    "Settings",
    "Split",
    "accuracy",
    "fit",
    "load_checkpoint",
    "save_checkpoint",
    "train_odenet_digits",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
