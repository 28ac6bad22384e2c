"""odelet's exporter: a PyTorch model that calls torchdiffeq, unchanged, or `mark`, to ONNX.

Importing this package imports no torch; using `export` does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from odelet_export.errors import CaptureError, ExportError, FormError, ParityError
    from odelet_export.explanation import Explanation
    from odelet_export.fixed_points import mark
    from odelet_export.pipeline import Exported, explain, export
    from odelet_export.tuning.result import TargetError, Tuning
    from odelet_export.tuning.tune import tune

__all__ = [
    "CaptureError",
    "Explanation",
    "ExportError",
    "Exported",
    "FormError",
    "ParityError",
    "TargetError",
    "Tuning",
    "explain",
    "export",
    "mark",
    "tune",
]


_HOMES = {
    "Explanation": "explanation",
    "Exported": "pipeline",
    "explain": "pipeline",
    "export": "pipeline",
    "mark": "fixed_points",
    "TargetError": "tuning.result",
    "Tuning": "tuning.result",
    "tune": "tuning.tune",
}


def __getattr__(name: str) -> Any:
    # The command line lists its commands without paying for torch.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
