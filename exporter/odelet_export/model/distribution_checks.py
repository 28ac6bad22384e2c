"""The process's setting whether torch.distributions checks its parameters, put back after a block of code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch.distributions import Distribution


@contextmanager
def distribution_checks_restored() -> Iterator[None]:
    """Restore, on leaving, whether torch.distributions checks its parameters.

    torch turns the checks off for good when a process compiles for the first time (TorchPatcher.patch in
    torch/_dynamo/eval_frame.py), as a recurrent layer does that is traced as a loop.
    """
    checked = Distribution._validate_args
    try:
        yield
    finally:
        Distribution.set_default_validate_args(checked)
