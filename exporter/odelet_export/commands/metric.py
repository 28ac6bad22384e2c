"""The user's metric, loaded from the place that the command line names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from odelet.errors import InputError
from odelet_export.commands.arguments import read_target
from odelet_export.commands.running import switch_off_script
from odelet_export.commands.target import importing
from odelet_export.proof.metric import Metric, MetricFunction


@contextmanager
def loaded_metric(text: str) -> Iterator[Metric]:
    """Load a metric; yields the metric.

    text: module:function or FILE.py:function. The folder of the file stays on sys.path meanwhile. Raises InputError for
    a module or function that is not there.
    """
    try:
        target = read_target(text)
    except InputError as error:
        raise InputError(f"--metric {error}") from None
    with importing(target) as module:
        function = getattr(module, target.name, None)
        if not callable(function):
            raise InputError(f"--metric {text}: {target.place} has no function {target.name!r}")
        yield Metric(text, function)


@contextmanager
def metric_given(text: str | None) -> Iterator[MetricFunction | None]:
    """Load the function of a metric where one is named; yields the function, or None. Raises what `loaded_metric`
    raises."""
    if text is None:
        yield None
        return
    switch_off_script()  # the file may import torch
    with loaded_metric(text) as metric:
        yield metric.function
