"""The generator of C, asked once for the same operators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from odelet_export.targets.build.c import kernels


@contextmanager
def generated_once() -> Iterator[None]:
    """Within the block, the generator writes the text for the same operators once."""
    texts, generate = {}, kernels._generated

    def remembered(operators):
        key = tuple(operators.items())
        return texts[key] if key in texts else texts.setdefault(key, generate(operators))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "_generated", remembered)
        yield
