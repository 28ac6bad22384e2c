"""Operators with Python numbers of both kinds, `y.clamp(-1.0, 1)`, given numbers of one kind.

torch's translation to ONNX makes tensors of the whole numbers beside fractions, and then finds no operator for them.
torch itself computes with fractions where one of the numbers is one.
"""

from __future__ import annotations

import torch

aten = torch.ops.aten
# The operators whose numbers are promoted together, with the places and the names of these.
_TOGETHER = {
    aten.clamp.default: (("min", 1), ("max", 2)),
    aten.clamp_.default: (("min", 1), ("max", 2)),
    aten.hardtanh.default: (("min_val", 1), ("max_val", 2)),
    aten.hardtanh_.default: (("min_val", 1), ("max_val", 2)),
    aten.where.Scalar: (("self", 1), ("other", 2)),
    aten.threshold.default: (("threshold", 1), ("value", 2)),
}


def unmix_numbers(program: torch.export.ExportedProgram) -> None:
    """Make fractions of the whole numbers that stand beside fractions in one operator, in place."""
    for node in program.graph.nodes:
        places = _TOGETHER.get(node.target, ()) if node.op == "call_function" else ()
        numbers = [node.args[at] if at < len(node.args) else node.kwargs.get(name) for name, at in places]
        if not any(isinstance(number, float) for number in numbers):
            continue
        for (name, at), number in zip(places, numbers, strict=True):
            if isinstance(number, int) and at < len(node.args):
                node.update_arg(at, float(number))
            elif isinstance(number, int):
                node.update_kwarg(name, float(number))
