"""Describes a captured model: its solves, the tensors that their fields read, and the nodes that are computed once."""

from __future__ import annotations

import linecache
from collections import Counter
from typing import Any

import numpy as np
import onnx_ir as ir
import torch

from odelet_export.capture.captured import Captured
from odelet_export.capture.noise_inputs import NoiseInput
from odelet_export.graphs.nodes import DOMAIN, read_by
from odelet_export.lowering.hole import Hole
from odelet_export.lowering.lift import ancestors
from odelet_export.lowering.region import Region
from odelet_export.model.callee import Callee
from odelet_export.model.spec import SolveSpec
from odelet_export.pipeline.explanation import Explanation, FieldExplained, Read, SolveExplained
from odelet_export.pipeline.prepare import Prepared
from odelet_intercept.solver_library import overtaken
from odelet_intercept.user_code import place_in_trace, short

# The results of these operators carry no numbers of their inputs.
_NO_VALUES = ("Shape", "Size")


def describe(ready: Prepared) -> Explanation:
    """The explanation of a captured model. Must be called before the model is lowered, which changes its graph."""
    captured, holes, callee = ready.captured, ready.holes, ready.judge.callee
    graph = captured.model.graph
    marked = {node for node in graph if node.domain == DOMAIN}
    inside = {node for hole in holes for region in hole.regions.values() for node in region.nodes}
    names = _names(captured, callee)
    solve_warnings = [warning for spec in (*captured.specs, *captured.nested) for warning in spec.warnings]
    library = [sentence] if (sentence := overtaken()) is not None else []
    assumed = [f"holds only while {one}" for one in captured.assumptions]
    return Explanation(
        tracer=captured.tracer,
        nodes=len(list(graph)) - len(marked),
        host=len([node for node in graph if node not in inside and node not in marked]),
        unused=captured.solve_count - len(captured.specs) - len([s for s in captured.stepped if not s.around]),
        solves=tuple(_solve(captured, hole, names, inside) for hole in holes),
        assumptions=captured.assumptions,
        noise=tuple(_noise(ready, one) for one in captured.noise),
        warnings=tuple(
            dict.fromkeys([*library, *solve_warnings, *callee.warnings, *captured.warnings, *ready.warnings, *assumed])
        ),
    )


def _noise(ready: Prepared, one: NoiseInput) -> Read:
    (tensor,) = (tensor for tensor in ready.inputs if tensor.name == one.name)
    return Read(one.name, tensor.dtype, tensor.shape, f"{one.draw.distribution}, {one.draw.source}")


def _solve(captured: Captured, hole: Hole, names: dict[str, str], inside: set[ir.Node]) -> SolveExplained:
    spec, call = hole.spec, captured.calls[hole.spec.mark]
    return SolveExplained(
        index=spec.index,
        entry=call.entry,
        method=spec.method,
        form="",
        rtol=spec.rtol,
        atol=spec.atol,
        options=_options(spec),
        file=call.file,
        line=call.line,
        text=linecache.getline(call.file, call.line).strip(),
        times=_times(hole),
        state=tuple(_read("", part) for part in hole.y0),
        functions=tuple(
            _function(captured, hole, "drift" if spec.sde and name == "field" else name, region, names, inside)
            for name, region in hole.regions.items()
        ),
        per_sample=spec.per_sample,
    )


def _options(spec: SolveSpec) -> dict[str, Any]:
    """The settings of a solve that differ from their defaults; for an SDE, its noise and its steps as well."""
    if spec.sde is None:
        return spec.options | {name: "computed by the model" for name in spec.extras}
    sde, steps = spec.sde, spec.grid.steps if spec.grid is not None else None
    given: dict[str, Any] = {"noise": sde.noise, "channels": sde.channels}
    given |= {"dt": sde.step_size} if steps is None else {"steps": steps}
    others = {name: value for name, value in spec.options.items() if name not in ("step_doubling", "steps")}
    return given | (dict(adaptive=True) if spec.chooses_steps else {}) | others


def _times(hole: Hole) -> str:
    until = ", until an event" if hole.spec.until_event else ""
    if hole.times is not None:
        return f"{len(hole.times)} constant, {hole.times[0]:g} to {hole.times[-1]:g}{until}"
    how = f"from input {hole.t.name}" if hole.t.is_graph_input() else "computed by the model"
    return f"{hole.count if hole.count is not None else 'any number'} {how}{until}"


def _function(
    captured: Captured, hole: Hole, name: str, region: Region, names: dict[str, str], inside: set[ir.Node]
) -> FieldExplained:
    counts = Counter(node.op_type for node in region.nodes)
    reads: dict[str, dict[str, Read]] = {"weights": {}, "inputs": {}, "contexts": {}}
    numbers = 0
    host = {node for node in captured.model.graph if node not in inside}
    for value in region.captured:
        if _stored(value) and str(value.name) not in names and _size(value) == 1:
            numbers += 1
            continue
        sources = _sources(value, host)
        if not _stored(value) and sources and all(_stored(source) for source in sources):
            # The host transposes or combines weights first; the field reads the result.
            for source in sources:
                if str(source.name) in names:
                    reads["weights"][names[str(source.name)]] = _read(names[str(source.name)], source)
        elif sources:
            kind = "weights" if _stored(value) else "inputs" if value.is_graph_input() else "contexts"
            label = names.get(str(value.name), str(value.name)) if kind != "contexts" else ""
            reads[kind][label or str(value.name)] = _read(label, value)
    return FieldExplained(
        name=name,
        nodes=len(region.nodes),
        operators=dict(counts.most_common()),
        hoisted=_hoisted(captured.model.graph, hole, region, host),
        uses_time=any(value is region.inputs[0] for node in region.nodes for value in read_by(node))
        or any(result is region.inputs[0] for result in region.results),
        numbers=numbers,
        nested=hole.nested if name in ("field", "drift") else (),
        **{kind: tuple(tensors.values()) for kind, tensors in reads.items()},
    )


def _hoisted(graph: ir.Graph, hole: Hole, region: Region, host: set[ir.Node]) -> int:
    """The number of nodes that come from the function's code and are computed once.

    The code ran between the markers of its inputs and the End marker of the solve.
    """
    markers = {value.producer() for value in region.inputs}
    (end,) = {value.producer() for value in hole.results}
    host_nodes: set[ir.Node] = set()
    begun = False
    for node in graph:
        if node is end:
            break
        begun |= node in markers
        if begun and node in host and node.domain != DOMAIN:
            host_nodes.add(node)
    return len(ancestors(region.captured, host_nodes))


def _sources(value: ir.Value, host: set[ir.Node]) -> list[ir.Value]:
    """The stored values, inputs and solutions that a value of the host graph is computed from; sizes do not count."""
    sources: dict[ir.Value, None] = {}
    waiting, seen = [value], {value}
    while waiting:
        current = waiting.pop()
        node = current.producer()
        if node is None or node not in host or node.domain == DOMAIN:
            sources[current] = None
        elif node.op_type not in _NO_VALUES:
            more = [read for read in read_by(node) if read not in seen]
            seen.update(more)
            waiting += more
    return list(sources)


def _names(captured: Captured, callee: Callee) -> dict[str, str]:
    """The user's names of stored tensors, by their names in the graph.

    A stored value is recognised by the tensor itself, or by its numbers where constant folding transposed or cast it.
    """
    named = {
        name.removeprefix("model."): tensor
        for tensors in (callee.named_parameters(), callee.named_buffers())
        for name, tensor in tensors
    }
    by_identity = {id(tensor): name for name, tensor in named.items()}
    stored = {**captured.program.constants, **captured.program.state_dict}
    names = {name: by_identity[id(tensor)] for name, tensor in stored.items() if id(tensor) in by_identity}
    for label, value in captured.model.graph.initializers.items():
        if label not in names and (_size(value) or 0) > 1:
            same = next((name for name, tensor in named.items() if _same(value, tensor)), None)
            if same is not None:
                names[label] = same
    return names


def _same(value: ir.Value, tensor: torch.Tensor) -> bool:
    """Whether a stored value has the numbers of a tensor, or of its transpose."""
    assert value.const_value is not None
    shape = tuple(value.const_value.shape)
    if shape not in (tuple(tensor.shape), tuple(tensor.shape[::-1])) or not tensor.is_floating_point():
        return False
    ours, theirs = value.const_value.numpy(), tensor.detach().double().numpy()
    transposed = theirs.T if theirs.ndim == 2 else theirs
    return any(one.shape == shape and np.array_equal(ours, one) for one in (theirs, transposed))


def _stored(value: ir.Value) -> bool:
    return value.const_value is not None and not value.is_graph_input()


def _size(value: ir.Value) -> int | None:
    return value.const_value.size if value.const_value is not None else None


def _read(name: str, value: ir.Value) -> Read:
    shape = value.shape if value.shape is not None else ()
    dims = tuple(dim if isinstance(dim, int) else str(dim.value) for dim in shape)
    node = value.producer()
    trace = node.metadata_props.get("pkg.torch.onnx.stack_trace") if node is not None else None
    source = "" if node is None or name else ", ".join([_maker(node), *filter(None, [short(place_in_trace(trace))])])
    return Read(name, value.dtype.numpy().name if value.dtype is not None else "?", dims, source)


def _maker(node: ir.Node) -> str:
    """The operation that computes a value, in a word or two."""
    if node.domain == DOMAIN and node.op_type == "End":
        return f"from solve {node.attributes['solve'].as_int()}"
    return node.op_type
