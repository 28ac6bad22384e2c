"""odelet: exported neural differential equations, with numpy and onnxruntime only."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

__all__ = [
    "ArtifactError",
    "CallSettings",
    "EngineError",
    "Event",
    "InputError",
    "Model",
    "OdeletError",
    "Solution",
    "SolveError",
    "SolveProgress",
    "Stats",
    "Status",
    "Stream",
    "__version__",
    "load",
    "odeint",
    "sdeint",
    "verify",
]

# A name is imported when it is first asked for: a device that runs an artifact needs neither `odeint` nor `verify`.
_HOMES = {
    **dict.fromkeys(("ArtifactError", "EngineError", "InputError", "OdeletError", "SolveError"), "errors"),
    "CallSettings": "model.settings",
    "Event": "numerics.events",
    "odeint": "loops.ivp",
    "sdeint": "loops.sde_ivp",
    "Model": "model.model",
    "load": "model.loading",
    "Solution": "loops.solution",
    "Stats": "loops.stats",
    "SolveProgress": "loops.progress",
    "Status": "status",
    "Stream": "model.stream",
    "verify": "commands.verify",
}


def __getattr__(name: str) -> Any:  # whatever the name stands for
    if name not in _HOMES:
        raise AttributeError(f"module 'odelet' has no attribute {name!r}")
    value = getattr(import_module(f"odelet.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
