"""What every method says of itself, and the one way in which fixed-step methods take a step."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, NamedTuple

from odelet.numerics.backend import Array
from odelet.numerics.rk import Field, towards_end, towards_start


@dataclass(frozen=True, kw_only=True)
class StepSettings:
    """What a step is told besides its ends.

    direction: 1 or -1, as time runs. perturb: whether the field is asked just inside the step at its two ends.
    rtol, atol: where the iterations of a corrector end, for the methods that use them.
    """

    direction: Array = 1.0
    perturb: bool = False
    rtol: float = 1e-7
    atol: float = 1e-9

    def evaluation_times(self, t: Array, t1: Array, y: Array, *, xp: Any) -> tuple[Array, Array]:
        """The times at which the field is asked at the start and at the end of a step."""
        if not self.perturb:
            return t, t1
        direction = xp.cast(self.direction, y)
        first = towards_end(xp.cast(t, y), direction, xp=xp, like=y)
        return first, towards_start(xp.cast(t1, y), direction, xp=xp, like=y)


class FixedStep(NamedTuple):
    """A step of a fixed-step method.

    y1: state at its end; k0: slope at its start (both (1, state)). memory: for the next step. calls: of the
    field. failed: whether an iteration did not converge, or None for a method that iterates nothing.
    """

    y1: Array
    k0: Array
    memory: tuple[Array, ...]
    evaluations: Array
    unconverged: Array | None


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way to solve an ODE, or to find a fixed point.

    name: as torchdiffeq spells it, if it has it. order: of the solution it propagates, or None where it varies. source:
    paper and section. The fields that a kind of method adds besides are options a caller may set, with their defaults.
    """

    name: str
    order: int | None
    source: str

    adaptive: ClassVar[bool] = False  # steps follow an error estimate
    fixed: ClassVar[bool] = True  # steps follow a grid
    iterates: ClassVar[bool] = False  # calls of the field follow the data
    uses_tolerances: ClassVar[bool] = False

    @property
    def evaluations(self) -> int | None:
        """How often a step calls the field (its first slope known, where the method is adaptive), or None
        where that varies."""
        return None

    @property
    def remembers(self) -> bool:
        """Whether a step depends on the slopes of those before it."""
        return False

    @property
    def stages(self) -> int | None:
        """Slopes that a step combines, or None where that varies."""
        return self.evaluations

    # The next four properties are what forms read. Each is a reason, the end of a sentence that begins with the name of
    # the method, or None where there is no such reason. No form is named here, so that a new form touches no method.

    @property
    def steps_outside(self) -> str | None:
        """Why no graph can hold the steps of the method."""
        return None

    @property
    def chooses_steps(self) -> str | None:
        """Why the steps of a solve are not known before it runs."""
        return "chooses its steps at run time" if self.adaptive else None

    @property
    def needs_loop(self) -> str | None:
        """Why the number of evaluations in one step is not known before it runs."""
        return "iterates as long as the data asks, which takes a loop" if self.iterates else None

    @property
    def no_error_estimate(self) -> str | None:
        """Why the error of a step is not known after it ran."""
        return None if self.adaptive else "has no error estimate"

    @classmethod
    def option_names(cls) -> tuple[str, ...]:
        """The options that this kind of method has besides those of its steps."""
        return tuple(field.name for field in fields(cls) if field.metadata.get("option"))

    def with_options(self, **options: Any) -> Any:
        """The method with some of its options set. Raises ValueError for a value it cannot have."""
        return replace(self, **options)

    def initial_memory(self, y: Array, *, xp: Any) -> tuple[Array, ...]:
        """What the first step remembers."""
        return ()

    def step(
        self, field: Field, t: Array, t1: Array, y: Array, memory: tuple[Array, ...], terms: StepSettings, *, xp: Any
    ) -> FixedStep:
        """Take one step from t to t1, scalars of one dtype. y: (1, state)."""
        raise NotImplementedError(f"{self.name} takes no steps of its own")
