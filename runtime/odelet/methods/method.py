"""The properties that every method states, and the one signature by which fixed-step methods take a step."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from odelet.numerics.backend import Array, Backend, Scalar
from odelet.numerics.rk import Field, towards_end, towards_start

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11 on


@dataclass(frozen=True, kw_only=True)
class StepSettings:
    """The settings of a solve that a fixed step takes into account.

    direction: 1 or -1, as time runs. perturb: whether the field is evaluated just inside the step at the step's two
    ends. rtol, atol: the tolerances at which the iteration of a corrector ends, for methods with `uses_tolerances`.
    """

    direction: Scalar = 1.0
    perturb: bool = False
    rtol: float = 1e-7
    atol: float = 1e-9

    def evaluation_times(self, t: Scalar, t1: Scalar, y: Array, *, xp: Backend) -> tuple[Scalar, Scalar]:
        """The times at which the field is evaluated for the start t and the end t1 of a step."""
        if not self.perturb:
            return t, t1
        direction = xp.cast(self.direction, y)
        first = towards_end(xp.cast(t, y), direction, xp=xp, like=y)
        return first, towards_start(xp.cast(t1, y), direction, xp=xp, like=y)


class FixedStep(NamedTuple):
    """A step that a fixed-step method took.

    y1: the state at its end. k0: the slope at its start. Both are (1, n). memory: the values of this step and earlier
    steps that the next step needs. evaluations: the number of evaluations of the field. unconverged: whether an
    iteration inside the step failed to converge, or None for a method without one.
    """

    y1: Array
    k0: Array
    memory: tuple[Array, ...]
    evaluations: Scalar
    unconverged: Scalar | None


def option(default: Any) -> Any:
    """A dataclass field that is an option of a method, which callers may set."""
    return field(default=default, metadata={"option": True})


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way to solve an ODE or an SDE, or to find a fixed point.

    name: the name as torchdiffeq spells it, if it has the method. order: the order of the solution that is propagated,
    or None where it varies. source: paper and section. Fields that a subclass declares by `option` are options that a
    caller may set.
    """

    name: str
    order: int | None
    source: str

    adaptive: ClassVar[bool] = False  # whether step lengths follow an error estimate
    fixed: ClassVar[bool] = True  # whether steps follow a grid
    iterates: ClassVar[bool] = False  # whether the number of evaluations in a step follows the data
    stochastic: ClassVar[bool] = False  # whether it solves SDEs, by an `advance` of its own in the place of `step`
    uses_tolerances: ClassVar[bool] = False  # whether a method that is not adaptive reads rtol and atol

    @property
    def evaluations(self) -> int | None:
        """The number of evaluations of the field in a step, or None where it varies. The first slope of a step counts
        only for methods that are not adaptive; an adaptive step has it from the step before."""
        return None

    @property
    def remembers(self) -> bool:
        """Whether a step depends on the slopes of the steps before it."""
        return False

    @property
    def stages(self) -> int | None:
        """The number of slopes that a step combines, or None where it varies."""
        return self.evaluations

    # Forms read the next four properties to tell which methods they can have. Each is a reason, the end of a sentence
    # that begins with the method's name, or None. No form is named here, so that a new form touches no method.

    @property
    def steps_outside(self) -> str | None:
        """The reason why no graph can hold the steps of the method, or None."""
        return None

    @property
    def chooses_steps(self) -> str | None:
        """The reason why the steps of a solve are not known before it runs, or None."""
        return "chooses its steps at run time" if self.adaptive else None

    @property
    def needs_loop(self) -> str | None:
        """The reason why the number of evaluations in a step is not known before the step runs, or None."""
        return "iterates as long as the data asks, which takes a loop" if self.iterates else None

    @property
    def no_error_estimate(self) -> str | None:
        """The reason why the error of a step is not estimated, or None."""
        return None if self.adaptive else "has no error estimate"

    @classmethod
    def option_names(cls) -> tuple[str, ...]:
        """The options of this kind of method, besides the settings of its steps."""
        return tuple(field.name for field in fields(cls) if field.metadata.get("option"))

    def with_options(self, **options: Any) -> Self:
        """The method with some of its options set. Raises ValueError for a value that an option cannot have."""
        return replace(self, **options)

    def initial_memory(self, y: Array, *, xp: Backend) -> tuple[Array, ...]:
        """The memory that the first step receives. y: the initial state, (1, n)."""
        return ()

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
        """Take one step from the state y, (1, n), at t to t1, scalars of one dtype. memory: that of the last step."""
        raise NotImplementedError(f"{self.name} takes no steps of its own")

    def times(self, t: Scalar, t1: Scalar, y: Array, settings: StepSettings, *, xp: Backend) -> list[Scalar] | None:
        """The times at which a fixed step from t to t1 evaluates the field, one after the other; None where they are
        not known before the step.

        t, t1: scalars, or the starts and ends of many steps, (steps,). y: an array of the state's dtype.
        """
        return None
