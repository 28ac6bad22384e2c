"""The settings of the calibration of `bounded` solves. No torch: the command line reads defaults and help here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Annotated, Any

from odelet.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The data that the steps of `bounded` solves are found on, and how they are found.

    inputs: arrays by input name, as one call of the model with many samples along its batch axis; an array with one
    axis more than its input holds several calls. None where there are no data. quantile: the share of the samples
    whose estimated errors must stay within the tolerances. fallback: whether the runtime solves the other samples
    again with error control.

    Raises InputError for inputs that are no mapping, and for a quantile outside (0, 1].
    """

    inputs: Annotated[
        Mapping[str, Any] | None, "Calibration data of the form bounded: arrays of samples, by input name."
    ] = field(default=None, metadata={"keyword": "calibration"})
    quantile: Annotated[
        float,
        "Share of the calibration samples (--calibration) whose estimated errors must stay within --rtol, --atol.",
    ] = 1.0
    fallback: Annotated[
        bool, "Solve samples again, with error control, where the form bounded exceeds --rtol and --atol at run time."
    ] = False

    def __post_init__(self) -> None:
        number = isinstance(self.quantile, Real) and not isinstance(self.quantile, bool)
        if not number or not 0 < self.quantile <= 1:
            raise InputError(
                f"quantile={self.quantile!r} must be above 0 and at most 1, such as 0.99; 1 for all samples"
            )
        if self.inputs is not None and not isinstance(self.inputs, Mapping):
            raise InputError(
                f"calibration is a {type(self.inputs).__name__}; give a dict of arrays by input name, as numpy.load "
                "returns of an .npz"
            )
