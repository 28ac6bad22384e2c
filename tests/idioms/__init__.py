"""Models as people write them, one idiom in each file; `tests/whole/test_idioms.py` exports each in suitable forms.

To add an idiom, write a file with a docstring of one line that names the idiom, with the model, and with a function
`case`, or several functions `case_*`, that return a `Case`. Three constants are optional. FORMS: the forms to export to
after `auto`, instead of those that the methods of the solves allow. NOT_YET: a part of the exporter's message, if it
cannot export the idiom yet. NEEDS: the packages that the idiom imports and that need not be installed; without them it
is left out.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

BATCH = {"x": {0: "batch"}}


@dataclass(frozen=True)
class Case:
    """A model and an example call. model: any callable. args, kwargs: those of the call. dynamic: as for `export`."""

    model: Callable[..., Any]
    args: tuple[Any, ...]
    dynamic: Mapping[str, Mapping[int, str] | str] = field(default_factory=lambda: BATCH)
    kwargs: Mapping[str, Any] = field(default_factory=dict)


def modules() -> dict[str, ModuleType]:
    """The modules of the idioms, by name; an idiom imports what it needs in its functions."""
    found = {one.name: import_module(f"{__name__}.{one.name}") for one in iter_modules(__path__)}
    return {name: module for name, module in found.items() if all(map(find_spec, getattr(module, "NEEDS", ())))}


def case_names(module: ModuleType) -> list[str]:
    """The names of the functions of an idiom that return a case."""
    return [name for name in vars(module) if name == "case" or name.startswith("case_")]


def cases() -> Iterator[tuple[str, Callable[[], Case]]]:
    """A name and a function that returns a case, for each case that can be exported."""
    for idiom, module in modules().items():
        if not hasattr(module, "NOT_YET"):
            for name in case_names(module):
                yield idiom + name.removeprefix("case"), getattr(module, name)
