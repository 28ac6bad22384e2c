"""Models as people write them, one idiom a file; `tests/whole/test_idioms.py` exports each in every form that suits it.

To add one, write a file: a docstring of one line that names the idiom, the model, and a function `case`, or several
`case_*`, that returns a `Case`. Two constants are optional. FORMS: the forms to export to after `auto`, instead of
those that the methods of the solves allow. NOT_YET: where the exporter cannot do it yet, a part of what it says.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

BATCH = {"x": {0: "batch"}}


@dataclass(frozen=True)
class Case:
    """model: any callable. args, kwargs: an example call. dynamic: as `export` takes it."""

    model: Callable[..., Any]
    args: tuple[Any, ...]
    dynamic: Mapping[str, Mapping[int, str]] = field(default_factory=lambda: BATCH)
    kwargs: Mapping[str, Any] = field(default_factory=dict)
