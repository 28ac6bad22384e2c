"""`scipy.integrate.solve_ivp` as a method: its name, its options and what they may be. SciPy is not imported here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from odelet.methods.method import Method

SOLVERS = ("RK45", "RK23", "DOP853", "Radau", "BDF", "LSODA")


def _option(default: Any) -> Any:
    return field(default=default, metadata={"option": True})


@dataclass(frozen=True, kw_only=True)
class SciPy(Method):
    """SciPy's solve_ivp. solver: which of its methods. min_step, max_step: as SciPy has them, the first for
    LSODA alone. Raises ValueError for what SciPy does not have."""

    order: int | None = None
    solver: str = _option("LSODA")
    min_step: float = _option(0.0)
    max_step: float = _option(float("inf"))

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
