"""The settings of weights that are stored in fewer bits. No torch: the command line makes its options from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Annotated, Any

from odelet.artifact.weights import STORED
from odelet.errors import InputError
from odelet_export.proof.metric import MetricFunction

AS_THEY_ARE = "as-they-are"


@dataclass(frozen=True, kw_only=True)
class WeightsSettings:
    """How an export stores the weights, and how far its answers may be from torch's for that.

    weights: one of `STORED`, or AS_THEY_ARE. max_error: the largest error that an output may have at any sample,
    relative to its largest element. data: arrays by name, of the model's inputs and of what else the metric takes, on
    which the error is measured, too. metric: a function of the outputs and of the data, both dicts of arrays by name,
    which returns a number. max_change: the largest change of the metric.

    Raises InputError where something is missing or does not go together.
    """

    weights: Annotated[
        str, f"How weights are stored: {'; '.join(f'{name}: {does}' for name, does in STORED.items())}."
    ] = AS_THEY_ARE
    max_error: Annotated[
        float | None, "With --weights-as: the largest error of an output, relative to its largest element."
    ] = None
    data: Annotated[
        Mapping[str, Any] | None, "With --weights-as: arrays by input name to measure errors on, and any for --metric."
    ] = None
    metric: MetricFunction | None = None
    max_change: Annotated[float | None, "With --metric: the largest change of the metric."] = None

    @property
    def reduced(self) -> bool:
        """Whether weights are stored in fewer bits."""
        return self.weights != AS_THEY_ARE

    def __post_init__(self) -> None:
        if self.weights not in (AS_THEY_ARE, *STORED):
            raise InputError(f"weights={self.weights!r} is not one of {AS_THEY_ARE}, {', '.join(STORED)}")
        for name in ("max_error", "max_change"):
            number = getattr(self, name)
            if number is not None and not 0 < number < inf:
                raise InputError(f"{name}={number!r} must be a positive number")
        if not self.reduced:
            for name in ("max_error", "data", "metric", "max_change"):
                if getattr(self, name) is not None:
                    raise InputError(
                        f"{name} is for weights that are stored in fewer bits; give weights= (--weights-as), one of "
                        f"{', '.join(STORED)}, or leave {name} out"
                    )
            return
        if self.max_error is None:
            raise InputError(
                f"weights={self.weights!r} changes the model's answers; give max_error= (--max-error), the largest "
                "error of an output that is good enough, relative to its largest element, such as 0.01"
            )
        if self.metric is not None and self.data is None:
            raise InputError("metric is measured on data, and there are none; give data= (--data FILE.npz)")
        if self.max_change is not None and self.metric is None:
            raise InputError("max_change is of a metric, and there is none; give metric= (--metric), or leave it out")
