"""The nodes and the graphs of a model, by the places where they lie in the bytes of its file.

The law here: this is data without a copy of any weight; `proto` makes it, and checks look at it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Place(NamedTuple):
    """Where a part of a file begins and ends, in bytes."""

    start: int
    stop: int


class Port(NamedTuple):
    """An input or output of a graph. kind: the type of its elements, as a number of onnx.proto; 0 if it is not said."""

    name: bytes
    kind: int


@dataclass(slots=True)
class Node:
    """A node. inputs, outputs: names of values; the name of one that is left out is empty. attributes: where each
    lies. bodies: the subgraphs, with the names of their attributes."""

    operator: str = ""
    inputs: list[bytes] = field(default_factory=list)
    outputs: list[bytes] = field(default_factory=list)
    attributes: list[Place] = field(default_factory=list)
    bodies: list[tuple[bytes, Graph]] = field(default_factory=list)


@dataclass(slots=True)
class Graph:
    """A graph or subgraph. initializers: where each lies."""

    nodes: list[Node] = field(default_factory=list)
    inputs: list[Port] = field(default_factory=list)
    outputs: list[Port] = field(default_factory=list)
    initializers: list[Place] = field(default_factory=list)
