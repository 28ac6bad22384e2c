"""Replay: torch runs the captured graph, and torchdiffeq runs its solves.

Neither ONNX nor a solver of odelet takes part, so the answers tell a wrong capture from a wrong lowering. The graph is
the one that was translated to ONNX: it changes no tensor in place, and its solves lie between markers.
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
from odelet_export.capture.marker_format import ARGUMENTS, EndInputs, end_inputs_of, marker_of
from odelet_export.capture.markers import time_shape
from odelet_export.graphs.nodes import DOMAIN
from odelet_export.model.intercepted_run import torchdiffeq_solving
from odelet_export.model.number_inputs import stand_in
from odelet_export.model.overrides import Overrides
from odelet_export.model.reference import overridden, solved
from odelet_export.model.sde_reference import replaced, solved_sde
from odelet_export.model.sde_spec import MEMORY
from odelet_export.model.spec import SolveSpec
from odelet_intercept import fixed_point
from odelet_intercept.call import Call
from odelet_intercept.call_options import POINTS, Tolerance
from odelet_intercept.errors import CaptureError
from odelet_intercept.libraries.mark_calls import mark_arguments_of
from odelet_intercept.libraries.torchsde_calls import SdeCall

aten = torch.ops.aten
_SYMBOLIC = (torch.ops.onnx_symbolic._symbolic.default, torch.ops.onnx_symbolic._symbolic_multi_out.default)
# A view fails where the state of a solver lies in memory in another way than the traced state, so reshape runs instead.
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
        self._begins = {key: node for node, key in self._markers.items() if key[0] in ARGUMENTS}
        self._inside = self._dependences()
        self._plans: dict[tuple[Node, ...], list[Node]] = {}

    def run(
        self, tensors: Sequence[torch.Tensor], *, noise: Mapping[int, torch.Tensor] | None = None, first: int = 0
    ) -> list[torch.Tensor]:
        """Run the graph on the model's inputs and return its outputs.

        noise: the base draws that the graph takes as inputs, by index. first: the number of the first output that is
        computed; guards come after the outputs of the model. Raises CaptureError for a marker that cannot be
        replayed, and whatever torch raises where the graph does not fit the inputs.
        """
        self._noise = noise or {}
        values: Values = ChainMap(self._placeholders(tensors))
        signature = self._program.graph_signature
        (output,) = (node for node in self._nodes if node.op == "output")
        wanted = [
            argument
            for argument, spec in zip(output.args[0], signature.output_specs, strict=True)
            if spec.kind is OutputKind.USER_OUTPUT
        ][first:]
        nodes = [argument for argument in wanted if isinstance(argument, Node)]
        with torch.no_grad(), torchdiffeq_solving():
            self._evaluate(self._plan(nodes, frozenset()), values, frozenset())
        # An output may be one of the weights.
        found = [values[argument] if isinstance(argument, Node) else argument for argument in wanted]
        return [torch.as_tensor(output).detach() for output in found]

    def _placeholders(self, tensors: Sequence[torch.Tensor]) -> dict[Node, Any]:
        """The values of the graph's placeholders: weights and constants as they are, inputs as copies."""
        program, inputs = self._program, iter(tensors)
        stored = {**program.constants, **program.state_dict}
        values = {}
        placeholders = (node for node in self._nodes if node.op == "placeholder")
        for node, spec in zip(placeholders, program.graph_signature.input_specs, strict=True):
            values[node] = _given(node, next(inputs)) if spec.kind is InputKind.USER_INPUT else stored[str(spec.target)]
        return values

    def _dependences(self) -> dict[Node, frozenset[Node]]:
        """The argument markers that each node depends on, by node: the markers of the functions in which it lies."""
        inside: dict[Node, frozenset[Node]] = {}
        for node in self._nodes:
            op, solve = self._markers.get(node, ("", 0))
            markers = frozenset().union(*(inside[read] for read in node.all_input_nodes))
            if op in ARGUMENTS:
                markers = frozenset({node})
            elif op == "End":
                markers = frozenset(marker for marker in markers if self._markers[marker][1] != solve)
            inside[node] = markers
        return inside

    def _plan(self, wanted: Sequence[Node], within: frozenset[Node], *, marker: Node | None = None) -> list[Node]:
        """The nodes to compute for the wanted nodes, in order.

        marker: the marker of the function in which the nodes lie, or None for the whole graph. within: that marker and
        the markers of the functions around it. In a function, nodes that do not depend on its marker have values
        already.
        """
        needed: set[Node] = set()
        waiting = list(wanted)
        while waiting:
            node = waiting.pop()
            if node not in needed:
                needed.add(node)
                waiting += node.all_input_nodes if self._markers.get(node, ("", 0))[0] not in ARGUMENTS else []
        return [
            node
            for node in self._nodes
            if node in needed
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
        """Solve by torchdiffeq. Returns the parts of the solution and, where there is one, the time of the event."""
        spec, call = self._specs[number], self._calls[number]
        single = not isinstance(call.y0, tuple)
        functions = {name: self._function(spec, name, results, values, within) for name, results in end.results.items()}
        if isinstance(call, SdeCall):
            return self._solve_sde(
                call, spec, functions, {name: values[x] for name, x in end.extras.items()}, values, end
            )

        def field(t: torch.Tensor, y: Any) -> Any:
            slopes = functions["field"](t, [y] if single else list(y))
            return slopes[0] if single else tuple(slopes)

        def event(t: torch.Tensor, y: Any) -> Any:
            return functions["event"](t, [y] if single else list(y))[0]

        def norm(y: Any) -> Any:
            state = [y] if single else list(y)
            return functions["norm"](torch.zeros((), dtype=state[0].dtype), state)[0]

        y0 = [values[part] for part in end.y0]
        extras = {name: values[value] for name, value in end.extras.items()}
        replayed = replace(
            call,
            func=field,
            y0=y0[0] if single else tuple(y0),
            t=values[end.t],
            rtol=_tolerance(call.rtol, spec.rtol),
            atol=_tolerance(call.atol, spec.atol),
            options=_options(call, spec, extras, norm),
            event_fn=event if spec.until_event else None,
        )
        if spec.timeless:
            point, _ = fixed_point.solve(lambda z: field(torch.zeros(()), z), replayed.y0, mark_arguments_of(replayed))
            return [point] if single else list(point)
        answer = solved(overridden(replayed, self._overrides), self._solvers[number], self._overrides)
        event_time, solution = answer if spec.until_event else (None, answer)
        return [*([solution] if single else solution), *([] if event_time is None else [event_time])]

    def _solve_sde(
        self,
        call: SdeCall,
        spec: SolveSpec,
        functions: Mapping[str, Callable[..., list[torch.Tensor]]],
        extras: Mapping[str, torch.Tensor],
        values: Values,
        end: EndInputs[Node],
    ) -> list[torch.Tensor]:
        """Solve an SDE by torchsde."""

        def plain(function: Callable[..., list[torch.Tensor]]) -> Callable[..., torch.Tensor]:
            return lambda t, *state: function(t, state)[0]

        memory = tuple(x for name, x in extras.items() if name.startswith(MEMORY))
        replayed = replaced(call, spec, {n: plain(f) for n, f in functions.items()}, values[end.y0[0]], values[end.t])
        replayed = replace(replayed, memory=memory)
        return [solved_sde(replayed, self._solvers[spec.mark], spec, extras).states]

    def _function(
        self, spec: SolveSpec, name: str, results: Sequence[Node], outer: Values, within: frozenset[Node]
    ) -> Callable[[torch.Tensor, Sequence[torch.Tensor]], list[torch.Tensor]]:
        """A function of a solve, from a time and the parts of a state to its results.

        A function that reads neither time nor state has no marker; its results are values of the graph around it.
        """
        marker = self._begins.get((marker_of(name), spec.mark))
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


def _given(placeholder: Node, tensor: torch.Tensor) -> torch.Tensor:
    """The value of an input's placeholder: a copy of the input; for a whole number, its stand-in in the trace."""
    return stand_in(tensor) if tensor.ndim < placeholder.meta["val"].ndim else tensor.clone()


def _marker(node: Node) -> tuple[str, int]:
    """The operator of a symbolic node, and the number of its solve or random draw."""
    arguments: dict[str, Any] = {name: node.kwargs[name] for name in EncodedAttrs.__dataclass_fields__}
    attributes: Mapping[str, Any] = EncodedAttrs(**arguments).to_dict()
    domain, op = str(node.kwargs.get("domain")), str(node.args[1])
    return (op if domain == DOMAIN else f"{domain}::{op}"), int(attributes.get("solve", attributes.get("index", -1)))


def _attribute(module: Any, path: str) -> Any:
    for name in path.split("."):
        module = getattr(module, name)
    return module


def _tolerance(from_call: Any, from_spec: Tolerance) -> Any:
    """A tolerance as the call has it; or as the spec has it, where the call's has tensors, which may be a tracer's."""
    row = from_call if isinstance(from_call, (tuple, list)) else [from_call]
    if not any(isinstance(number, torch.Tensor) for number in row):
        return from_call
    return (
        [torch.tensor(number, dtype=torch.float64) for number in from_spec]
        if isinstance(from_spec, tuple)
        else from_spec
    )


def _options(call: Call, spec: SolveSpec, extras: Mapping[str, Any], norm: Callable[..., Any]) -> dict[str, Any]:
    """The options of a call. Options that the model computes come from the graph, as `extras` and `norm`."""
    read = vars(spec.control or spec.grid or spec.solver)
    options: dict[str, Any] = {}
    for name, value in (call.options or {}).items():
        if name in extras:
            options[name] = extras[name]
        elif name == "grid_constructor":
            if "grid" in extras:
                options[name] = lambda _func, _y0, _t: extras["grid"]
        elif name == "norm":
            if "norm" in spec.functions:
                options[name] = norm
        elif name not in POINTS:
            options[name] = read.get(name, value) if isinstance(value, torch.Tensor) else value
    return options
