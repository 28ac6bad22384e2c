"""Lets composite operators stay whole in a trace, by torch's own kernels; they are made once in a process.

torch gives 500 operators 20 kernels each for every trace, and takes them away again. For a small model this is the
longest part of taking a trace apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch._subclasses import fake_impls
from torch.export import exported_program as torchs


@dataclass(frozen=True)
class _Kernels:
    """The kernels of an operator. before: outside of such a trace. within: in it. rule: that for fake tensors in it."""

    before: dict[Any, Any]
    within: dict[Any, Any]
    rule: Any


_KEPT: dict[tuple[Any, Callable[..., Any]], _Kernels] = {}


@contextmanager
def preserved(composite: Mapping[Any, Callable[..., Any]]) -> Iterator[None]:
    """torch's `_override_composite_implicit_decomp`, which lets each operator do what its function says."""
    rules = fake_impls.op_implementations_dict
    known: dict[Any, _Kernels] = {}
    for op, function in composite.items():
        kept = _KEPT.get((op, function))
        if kept is not None and kept.before == op.py_kernels and op not in rules:
            known[op] = kept
    others = {op: function for op, function in composite.items() if op not in known}
    before = {op: dict(op.py_kernels) for op in others if op not in rules}
    with torchs._override_composite_implicit_decomp(others):
        for op, kernels in before.items():
            _KEPT[op, others[op]] = _Kernels(kernels, dict(op.py_kernels), rules[op])
        try:
            for op, kept in known.items():
                _put(op, kept.within)
                rules[op] = kept.rule
            yield
        finally:
            for op, kept in known.items():
                _put(op, kept.before)
                rules.pop(op, None)


def _put(op: Any, kernels: Mapping[Any, Any]) -> None:
    op.py_kernels.clear()
    op.py_kernels.update(kernels)
    op._dispatch_cache.clear()
