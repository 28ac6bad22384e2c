"""A user's metric, loaded from the place that the command line names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from odelet.errors import InputError
from odelet_export.commands.arguments import read_target
from odelet_export.commands.target import importing
from odelet_export.tuning.metric import Metric


@contextmanager
def loaded_metric(text: str) -> Iterator[Metric]:
    """A metric, as module:function or FILE.py:function; what it imports later is found beside it.

    Raises InputError for what is not there.
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
