"""Explicit Runge-Kutta methods as methods: a tableau, and the one step of `rk`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from odelet.methods.method import FixedStep, Method, StepSettings
from odelet.numerics.backend import Array
from odelet.numerics.rk import Field, erk_step
from odelet.numerics.tableau import Tableau


@dataclass(frozen=True, kw_only=True)
class ExplicitRK(Method):
    """An explicit Runge-Kutta method, adaptive when its tableau estimates the error."""

    tableau: Tableau

    @classmethod
    def of(cls, tableau: Tableau) -> ExplicitRK:
        """The method of a tableau."""
        return cls(name=tableau.name, order=tableau.order, source=tableau.source, tableau=tableau)

    @property
    def adaptive(self) -> bool:  # type: ignore[override]
        return self.tableau.adaptive

    @property
    def fixed(self) -> bool:  # type: ignore[override]
        return not self.tableau.adaptive

    @property
    def evaluations(self) -> int:
        return self.tableau.stages - self.adaptive

    @property
    def stages(self) -> int:
        return self.tableau.stages

    def step(
        self, field: Field, t: Array, t1: Array, y: Array, memory: tuple[Array, ...], terms: StepSettings, *, xp: Any
    ) -> FixedStep:
        first, last = terms.evaluation_times(t, t1, y, xp=xp)
        k0 = field(first, y)
        y1, _ = erk_step(field, self.tableau, t, last, y, t1 - t, k0, xp=xp)
        return FixedStep(y1, k0, (), self.evaluations, None)
