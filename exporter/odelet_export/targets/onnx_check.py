"""Has ONNX's own checker read a graph that was written, and says in the user's terms what it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import onnx_ir as ir

from odelet_intercept.errors import ExportError
from odelet_intercept.user_code import place_in_trace, with_source

_OPERATOR = re.compile(r"op_type: ?(\w+)")


def check_graph(file: Path, model: ir.Model) -> None:
    """Raise ExportError for a graph that ONNX's checker or its inference of types refuses.

    file: the graph as written. model: the same graph, whose nodes may still have the stack traces of the model's code.
    """
    try:
        onnx.checker.check_model(str(file), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        text = " ".join(str(error).split())[:300]
        operator = next(iter(_OPERATOR.findall(text)), "")
        traces = (
            node.metadata_props.get("pkg.torch.onnx.stack_trace")
            for node in model.graph.all_nodes()
            if node.op_type == operator
        )
        place = next(filter(None, map(place_in_trace, traces)), None)
        where = f"a line that becomes ONNX's {operator or 'operators'}" if place is None else with_source(place)
        raise ExportError(
            f"{where}\n  found: tensors of dtypes or shapes that ONNX's {operator or 'operators'} cannot take\n"
            "  do: convert them where they are made, as by x.float() or index.long(); export with keep_debug_info=True "
            f"to see the line\n  cause: {type(error).__name__}: {text}"
        ) from None
