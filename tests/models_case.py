"""What a model of the roster is: how to build it, an example call, and the axes that may change."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

BATCH = {"x": {0: "batch"}}


@dataclass(frozen=True)
class Case:
    """model: any callable. args, kwargs: an example call. dynamic: as `export` takes it."""

    model: Callable[..., Any]
    args: tuple[Any, ...]
    dynamic: Mapping[str, Mapping[int, str]] = field(default_factory=lambda: BATCH)
    kwargs: Mapping[str, Any] = field(default_factory=dict)
