"""odelet: exported neural differential equations, with numpy and onnxruntime only."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from odelet.errors import ArtifactError, InputError, OdeletError, SolveError
    from odelet.events import Event
    from odelet.ivp import odeint
    from odelet.model import Model, load
    from odelet.solution import Solution, Stats, Status
    from odelet.stream import Stream
    from odelet.verification import verify

__version__ = "0.1.0"

__all__ = [
    "ArtifactError",
    "Event",
    "InputError",
    "Model",
    "OdeletError",
    "Solution",
    "SolveError",
    "Stats",
    "Status",
    "Stream",
    "__version__",
    "load",
    "odeint",
    "verify",
]

# Read when they are first asked for: who runs an artifact on a device needs neither `odeint` nor `verify`.
_HOMES = {
    **dict.fromkeys(("ArtifactError", "InputError", "OdeletError", "SolveError"), "errors"),
    "Event": "events",
    "odeint": "ivp",
    **dict.fromkeys(("Model", "load"), "model"),
    **dict.fromkeys(("Solution", "Stats", "Status"), "solution"),
    "Stream": "stream",
    "verify": "verification",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'odelet' has no attribute {name!r}")
    value = getattr(import_module(f"odelet.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
