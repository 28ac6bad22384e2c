"""Which versions of ONNX Runtime run artifacts: the oldest that is right, and those that odelet was tested with.

The law here: both bounds are measured, by benchmarks/engines.py; a version outside them is never taken on trust.
"""

from __future__ import annotations

import re

import onnxruntime as ort

from odelet.errors import EngineError

# Below 1.20, models are silently wrong (1.18: 3.4% in a model of digits), or do not load.
OLDEST, NEWEST_TESTED = (1, 20), (1, 32)


def check_engine_version(*, version: str | None = None, needed: tuple[int, int] | None = None) -> None:
    """Raise EngineError for an ONNX Runtime that is too old.

    version: as text; None is the installed one. needed: the lowest version that an artifact needs, where it says so. A
    version that cannot be read is not refused here, but it is not `tested` either.
    """
    version = ort.__version__ if version is None else version
    numbers = _numbers(version)
    if numbers is not None and numbers < OLDEST:
        bound = ".".join(map(str, OLDEST))
        raise EngineError(
            f"onnxruntime {version} is installed, and versions below {bound} compute wrong answers without an error; "
            f'upgrade it with: pip install --upgrade "onnxruntime>={bound}"'
        )
    if numbers is not None and needed is not None and numbers < needed:
        bound = ".".join(map(str, needed))
        raise EngineError(
            f"onnxruntime {version} is installed, and the artifact's graphs need {bound} or newer; upgrade it with: "
            f'pip install --upgrade "onnxruntime>={bound}", or export the model again with a lower opset'
        )


def tested(*, version: str | None = None) -> bool:
    """Return whether this is a released version that odelet was tested with. version: None is the installed one."""
    version = ort.__version__ if version is None else version
    numbers = _numbers(version)
    # Builds of vendors and of days between releases have more in their version than numbers.
    released = re.fullmatch(r"\d+(\.\d+)*", version) is not None
    return numbers is not None and released and OLDEST <= numbers <= NEWEST_TESTED


def _numbers(version: str) -> tuple[int, int] | None:
    """Return the first two numbers of a version, or None where it does not begin with two numbers."""
    match = re.match(r"(\d{1,9})\.(\d{1,9})(?!\d)", version)
    return None if match is None else (int(match[1]), int(match[2]))
