"""Replay: the captured graph, run by torch, its solves by torchdiffeq.

Neither ONNX nor any solver of odelet takes part, so that what comes out tells a wrong capture from a wrong lowering.
The graph is the one that was translated to ONNX: it writes into nothing, and its markers are those of `mark`.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx import Node
from torch.fx.node import map_arg
from torch.onnx.ops._symbolic_impl import EncodedAttrs

from odelet_export.capture.captured import Captured
from odelet_export.capture.marker_format import EndInputs, end_inputs_of
from odelet_export.capture.markers import time_shape
from odelet_export.graphs.nodes import DOMAIN
from odelet_export.model.intercepted_run import torchdiffeq_solving
from odelet_export.model.overrides import Overrides
from odelet_export.model.reference import overridden, solved
from odelet_export.model.spec import SolveSpec
from odelet_intercept import fixed_point
from odelet_intercept.call import Call
from odelet_intercept.call_options import POINTS, Tolerance
from odelet_intercept.errors import CaptureError
from odelet_intercept.libraries.mark_calls import mark_arguments_of

aten = torch.ops.aten
_SYMBOLIC = (torch.ops.onnx_symbolic._symbolic.default, torch.ops.onnx_symbolic._symbolic_multi_out.default)
# Markers that stand for the arguments of a function of a solve.
_ARGUMENTS = ("Begin", "Event", "Norm")
# A solver's state need not lie in memory as the traced one did.
_RELAXED: dict[Any, Any] = {
    op: aten.reshape.default for op in (aten.view.default, aten._unsafe_view.default, aten._reshape_copy.default)
}
Values = ChainMap[Node, Any]


class Replay:
    """A captured graph that can be run."""

    def __init__(self, captured: Captured, overrides: Overrides) -> None:
        self._program = captured.program
        self._calls, self._solvers = captured.calls, captured.solvers
        self._specs = {spec.mark: spec for spec in (*captured.specs, *captured.nested)}
        self._overrides = overrides
        self._noise: Mapping[int, torch.Tensor] = {}
        self._nodes = list(self._program.graph_module.graph.nodes)
        self._markers = {node: _marker(node) for node in self._nodes if node.target in _SYMBOLIC}
        self._begins = {key: node for node, key in self._markers.items() if key[0] in _ARGUMENTS}
        self._inside = self._dependences()
        self._plans: dict[tuple[Node, ...], list[Node]] = {}

    def run(
        self, tensors: Sequence[torch.Tensor], *, noise: Mapping[int, torch.Tensor] | None = None
    ) -> list[torch.Tensor]:
        """All outputs of the graph for the inputs of the model.

        noise: the random draws that the graph takes as given, by their index. Raises CaptureError for a marker that
        cannot be replayed, and whatever torch raises where the graph does not fit the inputs.
        """
        self._noise = noise or {}
        values: Values = ChainMap(self._given(tensors))
        signature = self._program.graph_signature
        (output,) = (node for node in self._nodes if node.op == "output")
        wanted = [
            argument
            for argument, spec in zip(output.args[0], signature.output_specs, strict=True)
            if spec.kind is OutputKind.USER_OUTPUT
        ]
        nodes = [argument for argument in wanted if isinstance(argument, Node)]
        with torch.no_grad(), torchdiffeq_solving():
            self._evaluate(self._plan(nodes, frozenset()), values, frozenset())
        return [torch.as_tensor(values[argument] if isinstance(argument, Node) else argument) for argument in wanted]

    def _given(self, tensors: Sequence[torch.Tensor]) -> dict[Node, Any]:
        """What the graph is given: weights and constants as they are, inputs as copies."""
        program, inputs = self._program, iter(tensors)
        stored = {**program.constants, **program.state_dict}
        values = {}
        placeholders = (node for node in self._nodes if node.op == "placeholder")
        for node, spec in zip(placeholders, program.graph_signature.input_specs, strict=True):
            values[node] = next(inputs).clone() if spec.kind is InputKind.USER_INPUT else stored[str(spec.target)]
        return values

    def _dependences(self) -> dict[Node, frozenset[Node]]:
        """For each node, the markers of arguments that it depends on, those of the solves it lies inside of."""
        inside: dict[Node, frozenset[Node]] = {}
        for node in self._nodes:
            op, solve = self._markers.get(node, ("", 0))
            found = frozenset().union(*(inside[read] for read in node.all_input_nodes))
            if op in _ARGUMENTS:
                found = frozenset({node})
            elif op == "End":
                found = frozenset(marker for marker in found if self._markers[marker][1] != solve)
            inside[node] = found
        return inside

    def _plan(self, wanted: Sequence[Node], within: frozenset[Node], *, marker: Node | None = None) -> list[Node]:
        """The nodes that are to be computed, in order, for a function of which `marker` stands for the arguments.

        within: that marker and those of the functions around it. What depends on none is known already.
        """
        found: set[Node] = set()
        waiting = list(wanted)
        while waiting:
            node = waiting.pop()
            if node not in found:
                found.add(node)
                waiting += node.all_input_nodes if self._markers.get(node, ("", 0))[0] not in _ARGUMENTS else []
        return [
            node
            for node in self._nodes
            if node in found
            and node is not marker
            and node.op != "placeholder"
            and self._inside[node] <= within
            and (marker is None or marker in self._inside[node])
        ]

    def _evaluate(self, plan: Sequence[Node], values: Values, within: frozenset[Node]) -> None:
        for node in plan:
            if node in self._markers:
                values[node] = self._marked(node, values, within)
            elif node.op == "get_attr":
                values[node] = _attribute(self._program.graph_module, str(node.target))
            else:
                target: Any = _RELAXED.get(node.target, node.target)
                values[node] = target(
                    *map_arg(node.args, values.__getitem__), **map_arg(node.kwargs, values.__getitem__)
                )

    def _marked(self, node: Node, values: Values, within: frozenset[Node]) -> Any:
        op, number = self._markers[node]
        if op == "End":
            inputs: Any = node.args[0]
            return self._solve(number, end_inputs_of(self._specs[number], inputs), values, within)
        if op == "Noise":
            drawn = self._noise.get(number)
            if drawn is None:
                raise CaptureError(f"a replay of the captured graph needs the random draw {number}; give it in `noise`")
            return drawn if node.target is _SYMBOLIC[0] else [drawn]
        raise CaptureError(f"a replay of the captured graph met {op!r}, which it cannot run")

    def _solve(self, number: int, end: EndInputs[Node], values: Values, within: frozenset[Node]) -> list[torch.Tensor]:
        """One solve by torchdiffeq: the solution's parts, and the time of the event."""
        spec, call = self._specs[number], self._calls[number]
        single = not isinstance(call.y0, tuple)
        functions = {name: self._function(spec, name, results, values, within) for name, results in end.results.items()}

        def field(t: torch.Tensor, y: Any) -> Any:
            slopes = functions["field"](t, [y] if single else list(y))
            return slopes[0] if single else tuple(slopes)

        def event(t: torch.Tensor, y: Any) -> Any:
            return functions["event"](t, [y] if single else list(y))[0]

        def norm(y: Any) -> Any:
            state = [y] if single else list(y)
            return functions["norm"](torch.zeros((), dtype=state[0].dtype), state)[0]

        y0 = [values[part] for part in end.y0]
        given = {name: values[value] for name, value in end.extras.items()}
        replayed = replace(
            call,
            func=field,
            y0=y0[0] if single else tuple(y0),
            t=values[end.t],
            rtol=_tolerance(call.rtol, spec.rtol),
            atol=_tolerance(call.atol, spec.atol),
            options=_options(call, spec, given, norm),
            event_fn=event if spec.until_event else None,
        )
        if spec.timeless:
            found, _ = fixed_point.solve(lambda z: field(torch.zeros(()), z), replayed.y0, mark_arguments_of(replayed))
            return [found] if single else list(found)
        found = solved(overridden(replayed, self._overrides), self._solvers[number], self._overrides)
        event_time, solution = found if spec.until_event else (None, found)
        return [*([solution] if single else solution), *([] if event_time is None else [event_time])]

    def _function(
        self, spec: SolveSpec, name: str, results: Sequence[Node], outer: Values, within: frozenset[Node]
    ) -> Callable[[torch.Tensor, Sequence[torch.Tensor]], list[torch.Tensor]]:
        """A function of a solve, of a time and the parts of a state. It has no marker where it depends on neither."""
        marker = self._begins.get(("Begin" if name == "field" else name.capitalize(), spec.mark))
        if marker is None:
            return lambda _t, _parts: [outer[result] for result in results]
        key, inside = (marker, *results), within | {marker}
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = self._plan(results, inside, marker=marker)

        def function(t: torch.Tensor, parts: Sequence[torch.Tensor]) -> list[torch.Tensor]:
            values = outer.new_child({marker: [t.expand(time_shape(spec, parts)), *parts]})
            self._evaluate(plan, values, inside)
            return [values[result] for result in results]

        return function


def _marker(node: Node) -> tuple[str, int]:
    """The operator that a symbolic node stands for, and the number of its solve or draw."""
    arguments = {name: node.kwargs[name] for name in EncodedAttrs.__dataclass_fields__}
    attributes: Mapping[str, Any] = EncodedAttrs(**arguments).to_dict()  # type: ignore[arg-type]
    domain, op = str(node.kwargs.get("domain")), str(node.args[1])
    return (op if domain == DOMAIN else f"{domain}::{op}"), int(attributes.get("solve", attributes.get("index", -1)))


def _attribute(module: Any, path: str) -> Any:
    for name in path.split("."):
        module = getattr(module, name)
    return module


def _tolerance(asked: Any, read: Tolerance) -> Any:
    """A tolerance as the model gave it; where it holds tensors, which may be a tracer's, as it was read."""
    row = asked if isinstance(asked, (tuple, list)) else [asked]
    if not any(isinstance(number, torch.Tensor) for number in row):
        return asked
    return [torch.tensor(number, dtype=torch.float64) for number in read] if isinstance(read, tuple) else read


def _options(call: Call, spec: SolveSpec, given: Mapping[str, Any], norm: Callable[..., Any]) -> dict[str, Any]:
    """The options of a call, those that are values or functions of the model taken from the graph."""
    read = vars(spec.control or spec.grid or spec.solver)
    options: dict[str, Any] = {}
    for name, value in (call.options or {}).items():
        if name in given:
            options[name] = given[name]
        elif name == "grid_constructor":
            if "grid" in given:
                options[name] = lambda _func, _y0, _t: given["grid"]
        elif name == "norm":
            if "norm" in spec.functions:
                options[name] = norm
        elif name not in POINTS:
            options[name] = read.get(name, value) if isinstance(value, torch.Tensor) else value
    return options
