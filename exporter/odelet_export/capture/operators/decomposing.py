"""Takes a traced program apart into the operators that torch's translation to ONNX knows, within that translation.

torch's own table of decompositions lacks operators, and has some that write into views, which no program may do after
it. Within `decomposing` our decompositions come first, and constants whose operators have no translation are folded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.onnx._internal.exporter import _decomp, _fx_passes

from odelet_export.capture.operators import complex_numbers, fourier
from odelet_export.capture.operators.constants import fold_constants
from odelet_export.capture.operators.decompositions import gradient_decompositions
from odelet_export.capture.operators.kept_tables import decompositions
from odelet_export.capture.operators.piecewise import NotPiecewise, decompose_piecewise
from odelet_export.capture.operators.small_sigmoids import keep_small_sigmoids
from odelet_export.model.trees import tensors_in


class Untranslated(Exception):
    """Raised for a program with an operator that has no translation to ONNX.

    operator: the operator's name, as in aten.linalg_eigh. trace: the stack trace of the model's code, as text.
    """

    def __init__(self, operator: str, trace: str) -> None:
        super().__init__(f"No ONNX function found for {operator}")
        self.operator, self.trace = operator, trace


@contextmanager
def decomposing() -> Iterator[None]:
    """Let torch.onnx.export decompose with our table first, and fold constants; raises Untranslated from within it."""
    torchs = _fx_passes.decompose_with_registry
    _fx_passes.decompose_with_registry = _decompose  # type: ignore[assignment]  # torch has no option for another table
    try:
        yield
    finally:
        _fx_passes.decompose_with_registry = torchs


def _decompose(program: ExportedProgram, registry: Any) -> ExportedProgram:
    """The program in operators that have a translation. registry: torch's translations, with ours among them."""
    translated = {*_decomp.get_onnx_implemented_overloads(registry)}
    table: dict[Any, Callable[..., Any]] = {
        **decompositions(translated),
        **gradient_decompositions(),
    }
    if any(_is_complex(node.meta.get("val")) for node in program.graph.nodes):
        ours = complex_numbers.DECOMPOSITIONS | fourier.DECOMPOSITIONS
        table |= {op: _in_turn(decomposition, table.get(op)) for op, decomposition in ours.items()}
    try:
        decompose_piecewise(program, table)
    except NotPiecewise:
        program = program.run_decompositions(table)
    # torch.export asserts dtypes and sizes; nothing reads these nodes, and torch's translation removes them, too.
    _fx_passes.remove_assertion_nodes(program.graph_module)
    keep_small_sigmoids(program)
    left = fold_constants(program, translated)
    if left:
        raise Untranslated(_name(left[0].target), left[0].meta.get("stack_trace") or "")
    return program


def _is_complex(value: Any) -> bool:
    return any(x.is_complex() for x in tensors_in(value))


def _in_turn(first: Callable[..., Any], second: Callable[..., Any] | None) -> Callable[..., Any]:
    """A decomposition by the first of two functions that has one."""

    def decomposed(*args: Any, **kwargs: Any) -> Any:
        result = first(*args, **kwargs)
        return result if result is not NotImplemented or second is None else second(*args, **kwargs)

    return decomposed


def _name(target: Any) -> str:
    """The name of an operator, without its overload where that is the default one: aten.linalg_eigh."""
    return str(target).removesuffix(".default") if isinstance(target, torch._ops.OpOverload) else str(target)
