"""Whether a value of an input could end the process in which a graph runs.

ONNX Runtime leaves some divisions of whole numbers to the processor, which ends the process for the smallest integer
divided by -1 and, in some versions, for a division by zero; a few of its operators end it where an axis is empty. The
law here: no such node reaches ONNX Runtime, unless what it would fail on is known, or the graph itself looks at it
before, as odelet's exports do (`odelet_export.graphs.guards`). All versions from 1.20 to 1.32 were tried.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from odelet.artifact.element_types import FLOATS, INT64, NARROW, WHOLE
from odelet.artifact.look_ups import CASES, FAILS, OTHER, looked_up
from odelet.artifact.nodes import Node
from odelet.artifact.proto import ModelFacts
from odelet.artifact.values import Scope, Value, Values
from odelet.artifact.weights import Weights
from odelet.errors import ArtifactError

DIVISIONS = ("Div", "Mod")
# Operators that end the process where their first input has no elements: LSTM and GRU in all versions, GridSample in
# versions before 1.30.
NEVER_EMPTY = ("GRU", "GridSample", "LSTM")
# Operators that divide by sizes that they are given as data: the number of that input, and its name. Torch's
# translation gives them as constants.
_SIZES = {"Col2Im": (2, "block_shape"), "STFT": (3, "frame_length")}
_LARGEST_SIZE = 2**31
# Attributes by which operators divide, which must not be 0. Their names are the same in all of them.
_POSITIVE = (b"strides", b"dilations", b"kernel_shape", b"group", b"num_groups", b"offset_group", b"blocksize")
_WITH_POSITIVE = (
    *("AveragePool", "Col2Im", "Conv", "ConvTranspose", "DeformConv", "DepthToSpace", "GroupNormalization", "MaxPool"),
)
_ALL = {*DIVISIONS, *NEVER_EMPTY, *_SIZES, *_WITH_POSITIVE, "Trilu"}
_LOWEST = -(2**63)


def check_hazards(data: bytes, facts: ModelFacts, weights: Weights, *, name: str) -> None:
    """Raise ArtifactError for a node by which a value of an input could end the process.

    data: the bytes of a model. facts: what `scan` found in them. weights: its initializers that lie in another file.
    name: the file's name in messages.
    """
    if _ALL.isdisjoint(operator for _, operator in facts.operators):
        return
    values = Values(data, facts, weights)
    for scope in values.scopes():
        for node in scope.graph.nodes:
            if node.operator in _ALL and (fault := _Node(values, scope, node).fault()):
                made = repr(node.outputs[0].decode(errors="replace")[:60]) if node.outputs else "nothing"
                raise ArtifactError(
                    f"{name}: the {node.operator} that makes {made} {fault}, which could end the process; export the "
                    "model again: odelet's exports look at such numbers before they compute"
                )


@dataclass(frozen=True)
class _Node:
    """A node of one of these operators, in a graph."""

    values: Values
    scope: Scope
    node: Node

    def fault(self) -> str:
        """What may be wrong with the node, as the end of a sentence; empty if nothing is."""
        operator, values = self.node.operator, self.values
        if operator in DIVISIONS:
            return "" if self._divides_safely() else "divides whole numbers by one that may be 0 or -1"
        if operator in NEVER_EMPTY:
            return "" if self._is_never_empty() else "may be given an empty axis"
        if operator == "Trilu":
            return "" if self._has_good_diagonal() else "may be given the smallest integer as its diagonal"
        if operator in _SIZES:
            index, called = _SIZES[operator]
            size = values.constant(self._input(index))
            numbers = () if size is None or size.numbers is None else size.numbers
            if not numbers or min(numbers) <= 0 or math.prod(numbers) >= _LARGEST_SIZE:
                return f"has no {called} that is known and positive"
        for name, counts in values.attributes(self.node).items():
            if name in _POSITIVE and min(counts, default=0) <= 0:
                return f"has {name.decode()} that are not positive"
        return ""

    def _input(self, index: int) -> Value | None:
        names = self.node.inputs
        return self.values.find(self.scope, names[index]) if index < len(names) else None

    def _divides_safely(self) -> bool:
        values, divisor = self.values, self._input(1)
        kind = values.kind(self._input(0)) or values.kind(divisor)
        if kind in FLOATS:
            return True
        bad = (0,) if kind in NARROW else (0, -1)
        constant = values.constant(divisor)
        if constant is not None and constant.numbers is not None:
            return not set(bad) & set(constant.numbers)
        return divisor is not None and self._is_guarded(divisor, bad)

    def _is_guarded(self, divisor: Value, bad: tuple[int, ...]) -> bool:
        """Whether a divisor is a number times a factor that is looked up for it, so that the product is none of `bad`:
        the number itself, or, for one that is among `bad`, another, or nothing."""
        values, narrow = self.values, None
        if divisor.made_by("Cast") is not None:
            narrow, inside = values.kind(divisor), values.input_of(divisor, 0)
            if inside is None or narrow not in WHOLE:
                return False
            divisor = inside
        if divisor.made_by("Mul") is None:
            return False
        pair = [values.input_of(divisor, index) for index in (0, 1)]
        for number, factor in (pair, pair[::-1]):
            if number is None or (narrow is not None and not self._is_widened(number, narrow)):
                continue
            found = {case: looked_up(values, factor, number, case) for case in CASES}
            if found[OTHER] == 1 and all(_is_good(case, found[case], bad) for case in (0, -1)):
                return True
        return False

    def _is_widened(self, number: Value, narrow: int) -> bool:
        """Whether a number is an int64 that was cast from a type, so that a cast back to the type gives the same."""
        if number.made_by("Cast") is None or self.values.kind(number) != INT64:
            return False
        return self.values.kind(self.values.input_of(number, 0)) == narrow

    def _is_never_empty(self) -> bool:
        """Whether the first input was given its own shape, times a factor whose look-up fails for a size of 0."""
        values, given = self.values, self._input(0)
        if given is None or given.made_by("Reshape") is None:
            return False
        source, shape = values.input_of(given, 0), values.input_of(given, 1)
        if source is None or shape is None or shape.made_by("Mul") is None:
            return False
        for index in (0, 1):
            factor = values.input_of(shape, index)
            for size in values.inputs_of_choice(factor):
                counts = size.made_by("Size") is not None and values.input_of(size, 0) is source
                if counts and looked_up(values, factor, size, 0) == FAILS:
                    return True
        return False

    def _has_good_diagonal(self) -> bool:
        values, diagonal = self.values, self._input(1)
        if len(self.node.inputs) < 2 or not self.node.inputs[1]:
            return True
        known = [diagonal]
        if diagonal is not None and diagonal.made_by("Max") is not None:
            known += [values.input_of(diagonal, index) for index in (0, 1)]
        return any(c is not None and min(c.numbers or (_LOWEST,)) > _LOWEST for c in map(values.constant, known))


def _is_good(case: int, found: int | str | None, bad: tuple[int, ...]) -> bool:
    return found == FAILS or (isinstance(found, int) and case * found not in bad)
