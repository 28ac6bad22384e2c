"""The user's metric, loaded from the place that the command line names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from odelet.errors import InputError
from odelet_export.commands.arguments import read_target
from odelet_export.commands.target import importing
from odelet_export.tuning.metric import Metric


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
