"""The changes that an export makes to a model's solves. No torch: the command line reads defaults and help here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from odelet.methods.roster import METHODS
from odelet.numerics.control import CONTROLLERS
from odelet.numerics.grid import Grid
from odelet_export.errors import FormError

TIME_DTYPES = ("float32", "float64")


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """The changes that an export makes to every solve that they apply to; None leaves the model's own choice.

    Raises FormError for a value that no solve can have.
    """

    method: Annotated[str | None, "Solver of all solves, by its torchdiffeq name, in place of the model's own."] = None
    steps: Annotated[int | None, "Number of steps of a fixed-step method, from the first time to the last."] = None
    step_size: Annotated[float | None, "Length of a step of a fixed-step method, in place of --steps."] = None
    rtol: Annotated[float | None, "Relative tolerance of an adaptive method."] = None
    atol: Annotated[float | None, "Absolute tolerance of an adaptive method."] = None
    controller: Annotated[str | None, f"Step-size controller of an adaptive method: {', '.join(CONTROLLERS)}."] = None
    time_dtype: Annotated[
        str | None, "Type of the times inside an adaptive method: float32 or float64, in place of the model's own."
    ] = None
    per_sample: Annotated[bool, "Give each sample of a batch adaptive steps of its own."] = False

    def __post_init__(self) -> None:
        if self.method is not None and self.method not in METHODS:
            raise FormError(f"method={self.method!r} is not one of {', '.join(METHODS)}")
        if self.controller is not None and self.controller not in CONTROLLERS:
            raise FormError(f"controller={self.controller!r} is not one of {', '.join(CONTROLLERS)}")
        if self.time_dtype not in (None, *TIME_DTYPES):
            raise FormError(f"time_dtype={self.time_dtype!r} is not one of {', '.join(TIME_DTYPES)}")
        try:
            Grid(step_size=self.step_size, steps=self.steps)
        except ValueError as error:
            raise FormError(str(error)) from None
        for name in ("rtol", "atol"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise FormError(f"{name}={value!r} must be a finite number, not negative")
