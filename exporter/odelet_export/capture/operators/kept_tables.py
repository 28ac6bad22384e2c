"""Keeps torch's tables of translations and decompositions between exports; they depend on torch alone.

torch makes both tables at every export. For the first it reads and parses the source of each of its 500 translations,
for a name that it does not use; this takes a third of the time of a small model's export.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from onnxscript.function_libs.torch_lib import registration
from torch._export import utils
from torch.onnx._internal.exporter import _decomp, _registration

Registry = _registration.ONNXRegistry


@contextmanager
def kept_tables() -> Iterator[None]:
    """Let torch's translation to ONNX begin with a copy of a kept table, and list composite operators once, in place of
    once for each namespace of operators."""
    torchs, listing = Registry.__dict__["from_torchlib"], utils._materialize_cpp_cia_ops
    Registry.from_torchlib = staticmethod(_copied)  # type: ignore[assignment]  # torch has no option for a table of ours
    utils._materialize_cpp_cia_ops = cache(listing)
    try:
        yield
    finally:
        Registry.from_torchlib = torchs  # type: ignore[method-assign]  # as above
        utils._materialize_cpp_cia_ops = listing


def _copied(opset_version: int) -> Registry:
    """A new table with torch's translations, to which a caller may add its own."""
    kept, table = _translations(opset_version), Registry()
    table._opset_version = opset_version
    table.functions = {operator: list(found) for operator, found in kept.functions.items()}
    return table


_from_torchlib = Registry.from_torchlib


@cache
def _translations(opset_version: int) -> Registry:
    """torch's translations, none of which is parsed."""
    library = _registration.onnxscript_apis
    parsed = library.get_torchlib_ops
    library.get_torchlib_ops = _unparsed  # type: ignore[assignment]  # it has what torch reads
    try:
        return _from_torchlib(opset_version=opset_version)
    finally:
        library.get_torchlib_ops = parsed


@dataclass(frozen=True)
class _Translation:
    """What torch's table takes of one translation."""

    qualified_name: str
    function: Any
    is_complex: bool


def _unparsed() -> list[_Translation]:
    """onnxscript's translations, in the order of `onnxscript_apis.get_torchlib_ops`."""
    from onnxscript.function_libs.torch_lib import ops  # noqa: F401  # the import fills the registry

    return [
        _Translation(name, function, is_complex)
        for name, functions in registration.default_registry.items()
        if not name.startswith("internal::")
        for is_complex, group in ((False, functions.overloads), (True, functions.complex))
        for function in group
    ]


def decompositions(translated: Collection[Any]) -> dict[Any, Callable[..., Any]]:
    """torch's decompositions of operators that have no translation, as a new table. translated: those that have one."""
    # A program may register further decompositions between two exports.
    return {**_decompositions(frozenset(translated), len(torch._decomp.decomposition_table))}


@cache
def _decompositions(translated: frozenset[Any], count: int) -> dict[Any, Callable[..., Any]]:
    return _decomp.create_onnx_friendly_decomposition_table({*translated})
