"""The surroundings that measured rows depend on, besides the model and the data: machine, versions, metric.

The law here: rows for which any of these differ are not compared.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from odelet import __version__


def source_of(function: Callable[..., Any]) -> str:
    """A hash of the source code of a function, or of its repr where there is no source."""
    try:
        text = inspect.getsource(function)
    except (OSError, TypeError):
        text = repr(function)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def machine() -> dict[str, Any]:
    """The system, the processor and the number of cores of this machine."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(errors="replace").splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    return {"system": platform.system(), "processor": name, "cores": os.cpu_count()}


def versions() -> dict[str, str]:
    """The versions of Python, of odelet, and of the packages that results depend on, by name."""
    packages = ("torch", "torchdiffeq", "onnxruntime", "numpy")
    installed = {name: version(name).split("+")[0] for name in packages}
    return {"odelet": __version__, "python": platform.python_version(), **installed}
