"""The user's own metric of a model: a function of the model's outputs and of the data.

The law here: an error of the function is reported with its name.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

from odelet.errors import InputError
from odelet.numerics.backend import NumpyArray

MetricFunction = Callable[[dict[str, NumpyArray], dict[str, NumpyArray]], Any]


@dataclass(frozen=True)
class Metric:
    """A metric with a name for messages.

    function: takes the outputs and the arrays of the data, both dicts by name, for the same samples in the same order;
    returns a number.
    """

    name: str
    function: MetricFunction

    def __call__(self, outputs: Mapping[str, NumpyArray], arrays: Mapping[str, NumpyArray]) -> float:
        """The number that the function returns. Raises InputError, with the metric's name, where it raises anything or
        returns no number."""
        try:
            with redirect_stdout(sys.stderr):
                value = self.function(dict(outputs), dict(arrays))
        except Exception as error:  # the user's code may raise anything
            raise InputError(
                f"--metric {self.name}: {type(error).__name__}: {error}; it is called as metric(outputs, data), both "
                f"dicts of arrays by name: outputs {', '.join(outputs)}; data {', '.join(arrays)}"
            ) from error
        try:
            return float(value)
        except (TypeError, ValueError):
            raise InputError(f"--metric {self.name}: it returned a {type(value).__name__}; expected a number") from None
