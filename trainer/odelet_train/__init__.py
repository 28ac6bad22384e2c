"""Training of the models in `odelet_models`: reproducible from a seed, and resumable.

Importing this package loads neither torch nor lightning. The first use of one of its names does.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "SolveCallback": "odelet_train.callback",
    "Settings": "odelet_train.fitting",
    "WeightsCard": "odelet_train.checkpoint",
    "fit": "odelet_train.fitting",
    "load_checkpoint": "odelet_train.checkpoint",
    "save_checkpoint": "odelet_train.checkpoint",
    "train_member": "odelet_train.zoo",
    "watched": "odelet_train.watch.watched",
}

__all__ = [
    "Settings",
    "SolveCallback",
    "WeightsCard",
    "fit",
    "load_checkpoint",
    "save_checkpoint",
    "train_member",
    "watched",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
