"""SciPy's `solve_ivp` as a method: its options and the values that they may have. SciPy is not imported here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from odelet.methods.method import Method, option

SOLVERS = ("RK45", "RK23", "DOP853", "Radau", "BDF", "LSODA")


@dataclass(frozen=True, kw_only=True)
class SciPy(Method):
    """SciPy's solve_ivp as a method.

    solver: the name of one of its methods. min_step, max_step: bounds of its step lengths; only LSODA reads min_step.
    Raises ValueError for a solver or bounds that SciPy does not accept.
    """

    order: int | None = None
    solver: str = option("LSODA")
    min_step: float = option(0.0)
    max_step: float = option(float("inf"))

    fixed: ClassVar[bool] = False
    uses_tolerances: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.solver not in SOLVERS:
            raise ValueError(f"solver={self.solver!r} must be one of {', '.join(map(repr, SOLVERS))}")
        if not 0 <= self.min_step < float("inf"):
            raise ValueError(f"min_step={self.min_step!r} must be finite and not negative")
        if not self.max_step > 0:
            raise ValueError(f"max_step={self.max_step!r} must be positive")

    @property
    def steps_outside(self) -> str:
        return "has its steps taken by SciPy, outside any graph"
