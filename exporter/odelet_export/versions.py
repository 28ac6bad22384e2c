"""Which versions of Python, torch and torchdiffeq the exporter works with; all others are refused in one line.

The exporter stands on private modules of torch and torchdiffeq, so that a version which was not tried may fail
anywhere. The law here: both bounds of each range are measured, by benchmarks/libraries.py, and nothing is imported.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata

OLDEST_PYTHON = (3, 11)
# From the first version on, and below the second; pyproject.toml says the same.
RANGES = {"torch": ("2.13", "2.14"), "torchdiffeq": ("0.2.4", "0.2.6")}


def check_libraries() -> None:
    """Raise ImportError where Python, or a library that is installed, is a version that the exporter does not support.

    A library that is not installed raises where it is imported.
    """
    if sys.version_info < OLDEST_PYTHON:
        raise ImportError(
            f"odelet_export needs Python {_text(OLDEST_PYTHON)} or newer, and this is {_text(sys.version_info[:2])}; "
            "export with a newer Python: the artifact runs here, with the package odelet alone"
        )
    for name, bounds in RANGES.items():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        reason = refusal(name, version, *bounds)
        if reason is not None:
            raise ImportError(reason)


def refusal(name: str, version: str, oldest: str, below: str) -> str | None:
    """A sentence that says why a version of a library is not supported; None where it is.

    Of a version only the numbers at its start count: builds and pre-releases are as the release itself.
    """
    numbers = _numbers(version)
    if numbers and _numbers(oldest) <= numbers < _numbers(below):
        return None
    return (
        f"{name} {version} is installed, and odelet_export supports {name} from {oldest} to below {below}, as it uses "
        f'parts of {name} that change between versions; install one with: pip install "{name}>={oldest},<{below}"'
    )


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers at the start of a version, (2, 13, 0) of 2.13.0+cpu."""
    match = re.match(r"\d{1,9}(\.\d{1,9})*", version)
    return tuple(int(number) for number in match[0].split(".")) if match else ()


def _text(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))
