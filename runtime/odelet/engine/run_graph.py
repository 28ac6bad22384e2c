"""Graphs that the program runs, joined with the values that they take and give.

The law here: after `plan_run`, every name that a graph looks up is there, with its dtype and its number of axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from odelet.artifact.card import Card, Tensor
from odelet.artifact.input_cards import AssumptionCard
from odelet.engine.session import Graph, Port
from odelet.errors import ArtifactError, AssumptionError
from odelet.numerics.backend import NumpyArray

Arrays = Mapping[str, NumpyArray]

# A graph without float64 takes tolerances in float32.
_SETTING_TYPES = {"rtol": ("float64", "float32"), "atol": ("float64", "float32"), "max_steps": ("int64",)}


@dataclass(frozen=True)
class RunGraph:
    """Run a graph.

    feeds: names of the values that the graph takes. settings: the graph inputs that take each setting. required: the
    values as exported of those without a default in the graph, by name. guards: the assumptions that the graph checks.
    """

    graph: Graph
    feeds: tuple[str, ...]
    settings: dict[str, tuple[str, ...]] = field(default_factory=dict)
    required: Arrays = field(default_factory=dict)
    guards: tuple[AssumptionCard, ...] = ()

    def __call__(self, values: Mapping[str, NumpyArray], settings: Mapping[str, NumpyArray]) -> dict[str, NumpyArray]:
        """Return the outputs of the graph, by name. Raises AssumptionError for an assumption that does not hold: the
        outputs are then not what the model would have given."""
        feeds = {name: values[name] for name in self.feeds}
        feeds.update(self.required)
        for key, value in settings.items():
            for name in self.settings.get(key, ()):
                port = self.graph.inputs.get(name) or self.graph.defaults[name]
                feeds[name] = np.broadcast_to(value, [size or 0 for size in port.shape]).astype(port.dtype, copy=False)
        outputs = self.graph.run(feeds)
        for guard in self.guards:
            # A graph may state no rank, and give more than one number.
            if not outputs[guard.output].all():
                raise AssumptionError(guard.refusal, guard)
        return outputs


def plan_run(card: Card, graph: Graph, available: Mapping[str, Port]) -> RunGraph:
    """Join a graph with the values that are there. Raises ArtifactError for one that is missing or does not fit."""
    taken, inputs = graph.inputs | graph.defaults, {tensor.name for tensor in card.inputs}
    settings, required = _settings(card, graph, available)
    for name in graph.inputs:
        if name not in available and name not in required:
            raise ArtifactError(
                f"{graph.file}: it needs {name!r}, which is neither an input in the card nor made by an earlier step"
            )
    feeds = tuple(name for name in (*graph.inputs, *graph.defaults) if name in available)
    for tensor in card.inputs:
        if tensor.name in feeds:
            check_port_of(f"{graph.file}: input", tensor, taken[tensor.name], dynamic=False)
    for name in (name for name in feeds if name not in inputs):
        port, given = taken[name], available[name]
        if port.dtype != given.dtype or (port.shape and given.shape and len(port.shape) != len(given.shape)):
            raise ArtifactError(f"{graph.file}: input {name!r} is {port}, and what an earlier step makes is {given}")
    return RunGraph(graph, feeds, settings, required)


def _settings(
    card: Card, graph: Graph, available: Mapping[str, Port]
) -> tuple[dict[str, tuple[str, ...]], dict[str, NumpyArray]]:
    """The inputs of a graph that take each setting, and the card's values of those without a default in the graph."""
    settings: dict[str, tuple[str, ...]] = {}
    required: dict[str, NumpyArray] = {}
    ports = {name: port for name, port in (graph.inputs | graph.defaults).items() if name not in available}
    for solve in card.solves:
        for key, target in solve.settings.items():
            if target is None or target not in ports or target in settings.get(key, ()):
                continue
            if key not in _SETTING_TYPES:
                raise ArtifactError(f"solve {solve.index}: no graph input can be the setting {key!r}, as {target!r} is")
            value, port, dtypes = getattr(solve, key), ports[target], _SETTING_TYPES[key]
            shape = (len(value),) if isinstance(value, tuple) else ()
            dtype = port.dtype if port.dtype in dtypes else dtypes[0]
            check_small(f"{graph.file}: input {target!r}", port, dtype, shape)
            settings[key] = (*settings.get(key, ()), target)
            if target in graph.inputs:
                if value is None:
                    raise ArtifactError(
                        f"solve {solve.index}: its setting {key} has no value, and {target!r} needs one"
                    )
                required[target] = np.asarray(value, dtype)
    return settings, required


def add_ports(available: dict[str, Port], new: Mapping[str, Port], *, by: str) -> None:
    """Add the values that a step makes to those made before it."""
    for name, port in new.items():
        if name in available:
            raise ArtifactError(f"{by}: it makes {name!r}, which is there already; export the model again")
        available[name] = port


def check_small(what: str, port: Port, dtype: str, shape: tuple[int, ...]) -> None:
    """Raise ArtifactError for a port of another dtype or shape."""
    if port != Port(dtype, shape):
        wanted = f"{dtype} {list(shape)}" if shape else f"a {dtype} scalar"
        raise ArtifactError(f"{what} is {port}; expected {wanted}")


def check_port_of(what: str, tensor: Tensor, port: Port, *, dynamic: bool) -> None:
    """Raise ArtifactError unless the card and the graph agree on an input or output.

    A graph that states no shape leaves it to the card. dynamic: whether ONNX Runtime may know a size that the card
    leaves open, as it infers more of an output than the exporter saw.
    """
    fits = tensor.dtype == port.dtype
    if port.shape:
        fits = fits and len(port.shape) == len(tensor.shape)
        fits = fits and all(
            size is None or size == declared or (dynamic and isinstance(declared, str))
            for size, declared in zip(port.shape, tensor.shape, strict=True)
        )
        if fits and not dynamic:
            named = {place: name for place, name in enumerate(tensor.shape) if isinstance(name, str)}
            fits = all(named.get(place, name) == name for place, name in port.axes.items())
    if not fits:
        raise ArtifactError(
            f"{what} {tensor.name!r} is {tensor} in the card, and {port} in the graph; "
            "the two do not belong together: export the model again"
        )
