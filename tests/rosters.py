"""The methods that tests go over, whatever kind each is of."""

from __future__ import annotations

from typing import Any

from odelet.tableau import TABLEAUS

try:
    from odelet.methods import METHODS
except ImportError:
    METHODS: dict[str, Any] = dict(TABLEAUS)

ADAPTIVE = [name for name, method in METHODS.items() if method.adaptive]
# Those that march along a grid. What is neither leaves its steps to others.
MARCHING = [name for name, method in METHODS.items() if not method.adaptive and getattr(method, "fixed", True)]
STEPPING = [name for name in METHODS if name in {*ADAPTIVE, *MARCHING}]


def steps_of(method: str, h: float) -> dict[str, float]:
    """The options that make all steps of a solve h long."""
    if method in ADAPTIVE:
        return {"first_step": h, "min_step": h, "max_step": h}
    return {"step_size": h}
