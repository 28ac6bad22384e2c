"""Explicit Runge-Kutta methods: a tableau each, and the one step of `numerics.rk`."""

from __future__ import annotations

from dataclasses import dataclass

from odelet.methods.method import FixedStep, Method, StepSettings
from odelet.numerics.backend import Array, Backend, Scalar
from odelet.numerics.rk import Field, erk_step, stage_times
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
    def adaptive(self) -> bool:  # type: ignore[override]  # a class variable elsewhere, as it is one for each class
        return self.tableau.adaptive

    @property
    def fixed(self) -> bool:  # type: ignore[override]  # as `adaptive`
        return not self.tableau.adaptive

    @property
    def evaluations(self) -> int:
        return self.tableau.stages - self.adaptive

    @property
    def stages(self) -> int:
        return self.tableau.stages

    def step(
        self,
        field: Field,
        t: Scalar,
        t1: Scalar,
        y: Array,
        memory: tuple[Array, ...],
        settings: StepSettings,
        *,
        xp: Backend,
    ) -> FixedStep:
        times = self.times(t, t1, y, settings, xp=xp)
        y1, slopes = erk_step(field, self.tableau, times, y, t1 - t, None, xp=xp)
        return FixedStep(y1, slopes[0], (), self.evaluations, None)

    def times(self, t: Scalar, t1: Scalar, y: Array, settings: StepSettings, *, xp: Backend) -> list[Scalar]:
        first, last = settings.evaluation_times(t, t1, y, xp=xp)
        return [first, *stage_times(self.tableau, t, last, t1 - t)[1:]]
