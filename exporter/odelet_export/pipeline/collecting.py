"""Leaves what a process has loaded out of the garbage collection during an export, as torch alone is a million objects.

An export makes many objects, so that Python collects often, and each full collection looks at all that there are.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def old_objects_left_out() -> Iterator[None]:
    """Collect garbage among new objects only. Where a caller has done the same already, nothing changes."""
    if gc.get_freeze_count():  # this counts what was left out, one by one, and is quick where nothing was
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
