"""odelet's exporter: it turns an unchanged PyTorch model that calls torchdiffeq or `mark` into ONNX.

Importing this package imports no torch; using `export` does.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from odelet_export.versions import check_libraries

check_libraries()

__all__ = [
    "BuildError",
    "BuildResult",
    "CaptureError",
    "CompilerError",
    "Explanation",
    "ExportError",
    "ExportSettings",
    "Exported",
    "FormError",
    "OutputError",
    "ParityError",
    "TargetError",
    "Tuning",
    "WrongBuildError",
    "build",
    "explain",
    "export",
    "mark",
    "tune",
]

_HOMES = {
    "BuildError": "odelet_export.targets.build.built",
    "BuildResult": "odelet_export.pipeline.build",
    "CompilerError": "odelet_export.targets.build.built",
    "WrongBuildError": "odelet_export.targets.build.built",
    "build": "odelet_export.pipeline.build",
    "CaptureError": "odelet_intercept.errors",
    "ExportError": "odelet_intercept.errors",
    "ExportSettings": "odelet_export.pipeline.settings",
    "FormError": "odelet_export.errors",
    "OutputError": "odelet_export.errors",
    "ParityError": "odelet_export.errors",
    "Explanation": "odelet_export.pipeline.explanation",
    "Exported": "odelet_export.pipeline.export",
    "explain": "odelet_export.pipeline.explain",
    "export": "odelet_export.pipeline.export",
    "mark": "odelet_intercept.mark",
    "TargetError": "odelet_export.tuning.result",
    "Tuning": "odelet_export.tuning.result",
    "tune": "odelet_export.tuning.tune",
}


def __getattr__(name: str) -> Any:
    # The command line must list its commands without the seconds that importing torch takes.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
