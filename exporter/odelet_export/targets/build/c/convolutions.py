"""Convolutions in C, along one or two axes, with constant weights.

The input is padded first, so that no sum has to know where the input ends. Then, where a group has enough output
channels, a block is some places along the last axis, each with some output channels beside each other, and the weights
are stored in panels of these; where it has fewer, the places are beside each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from odelet_export.targets.build.c.blocks import heights, in_panels, loop, panels, sums, width_of
from odelet_export.targets.build.c.numbers import ctype
from odelet_export.targets.build.c.own import attributes, own_call
from odelet_export.targets.build.instructions import Array, Call, Constant, Value
from odelet_export.targets.build.operators import Operator, Port

_FEWEST_CHANNELS = 8
# The places that are summed at once where they are beside each other.
_MOST_PLACES = 64


def replaced(call: Call) -> list[Call] | None:
    """The calls in the place of a Conv; None where the generator's code stays."""
    source, kernel, *_ = call.operator.inputs
    weights = call.inputs[1]
    given = {one.name: onnx.helper.get_attribute_value(one) for one in call.operator.proto.attribute}
    if source is None or kernel is None or not isinstance(weights, Constant) or len(source.shape) not in (3, 4):
        return None
    if given.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID") or 0 in (*source.shape, *call.ports[0].shape):
        return None
    axes = len(source.shape) - 2
    # A convolution along one axis is one along two, the first of which has the size 1.
    spread = [1] * (2 - axes)
    pads = [*given.get("pads", [0] * 2 * axes)]
    before, after = ([0] * (2 - axes) + part for part in (pads[:axes], pads[axes:]))
    batch, channels, *sizes = (*source.shape[:2], *spread, *source.shape[2:])
    padded = [size + a + b for size, a, b in zip(sizes, before, after, strict=True)]
    if min(*before, *after) < 0:
        return None
    facts = {
        "batch": batch,
        "groups": given.get("group", 1),
        "sizes": [channels, *padded],
        "kernel": [*spread, *kernel.shape[2:]],
        "strides": [*spread, *given.get("strides", [1] * axes)],
        "dilations": [*spread, *given.get("dilations", [1] * axes)],
        "made": [kernel.shape[0], *spread, *call.ports[0].shape[2:]],
    }
    inputs, ports = [*call.inputs], [*call.operator.inputs]
    calls = []
    if padded != sizes:
        value = Value(f"{call.outputs[0].name}.padded", source.dtype, batch * channels * padded[0] * padded[1])
        port = Port(source.dtype, (batch, channels, *padded))
        numbers = {"count": batch * channels, "sizes": sizes, "before": before, "padded": padded}
        made = own_call(call, "Padded", [inputs[0]], [source], numbers)
        made.outputs, made.ports = [value], (port,)
        calls.append(made)
        inputs[0], ports[0] = value, port
    stored = _stored(weights.array.reshape(kernel.shape), _Sizes(**facts))
    inputs[1] = Constant(f"{weights.name}_panels", stored)
    ports[1] = Port(kernel.dtype, stored.shape)
    return [*calls, own_call(call, "Convolution", inputs, ports, facts)]


@dataclass(frozen=True)
class _Sizes:
    """The sizes of a convolution. sizes: of the padded input. made: of the result. Both have the channels first."""

    batch: int
    groups: int
    sizes: Sequence[int]
    kernel: Sequence[int]
    strides: Sequence[int]
    dilations: Sequence[int]
    made: Sequence[int]

    @property
    def channels(self) -> tuple[int, int]:
        """The channels of a group, of the input and of the result."""
        return self.sizes[0] // self.groups, self.made[0] // self.groups

    @property
    def taps(self) -> int:
        """The products of a sum."""
        return self.channels[0] * self.kernel[0] * self.kernel[1]

    @property
    def width(self) -> int:
        """The output channels of a panel; 0 where the places are beside each other."""
        made = self.channels[1]
        return width_of(made, self.made[2]) if made >= _FEWEST_CHANNELS else 0

    def loops(self) -> list[str]:
        """The heads of the loops over the products of a sum."""
        bounds = zip(("channel", "u", "v"), (self.channels[0], *self.kernel), strict=True)
        return [f"for (int {name} = 0; {name} < {size}; ++{name})" for name, size in bounds]

    def row(self) -> str:
        """The row of the input that a sum of the row y of the result reads, from its first number on."""
        height, width = self.sizes[1:]
        return (
            f"(channel * {height} + y * {self.strides[0]} + u * {self.dilations[0]}) * {width} + "
            f"v * {self.dilations[1]}"
        )


def _stored(weights: Array, sizes: _Sizes) -> Array:
    """The weights in the order in which they are read."""
    if not sizes.width:
        return np.ascontiguousarray(weights).reshape(-1)
    matrices = weights.reshape(sizes.groups, sizes.channels[1], sizes.taps).transpose(0, 2, 1)
    return np.concatenate([in_panels(one, sizes.width) for one in matrices])


def text(operator: Operator, outputs: Sequence[Port], name: str) -> str:
    """The function of a convolution, with the parameters a and b, the bias c where there is one, and the result o."""
    sizes = _Sizes(**attributes(operator))
    kind = ctype(outputs[0].dtype)
    bias = len(operator.inputs) > 2 and operator.inputs[2] is not None
    body = (_channels_beside if sizes.width else _places_beside)(sizes, kind, bias)
    taken, made = sizes.channels
    moves = {"a": taken * sizes.sizes[1] * sizes.sizes[2], "o": made * sizes.made[1] * sizes.made[2]}
    lines = [*body, *(f"{name} += {size};" for name, size in moves.items())]
    lines = loop("n", (0, sizes.batch, 1), loop("group", (0, sizes.groups, 1), lines))
    third = f"const {kind} *c, " if bias else ""
    head = f"EMX_NODE_FN void {name}(const {kind} *a, const {kind} *b, {third}{kind} *ODELET_RESTRICT o) {{"
    return "\n".join([head, *(f"    {line}" for line in lines), "}"])


def _channels_beside(sizes: _Sizes, kind: str, bias: bool) -> list[str]:
    """The lines for a group, with output channels beside each other."""
    made, (_, high, wide) = sizes.channels[1], sizes.made
    lines = []
    for bounds in panels(made, sizes.width):
        body = []
        for places in heights(wide):
            height, width = places[2], bounds[2]
            block = [
                f"const {kind} *p = b + group * {made * sizes.taps} + from * {sizes.taps};",
                *sums(kind, height, width, sizes.loops(), width, lambda i: _read(sizes, f"(x + {i})")),
                f"for (int j = 0; j < {width}; ++j) {{",
                f"    {kind} *const to = o + ((from + j) * {high} + y) * {wide} + x;",
                *([f"    const {kind} more = c[group * {made} + from + j];"] if bias else []),
                *(f"    to[{i}] = s{i}[j]{' + more' if bias else ''};" for i in range(height)),
                "}",
            ]
            body += loop("x", places, block)
        lines += loop("from", bounds, loop("y", (0, high, 1), body))
    return lines


def _read(sizes: _Sizes, x: str) -> str:
    """The number of the input that a sum reads for a place of the result."""
    return f"a[{sizes.row()} + {x} * {sizes.strides[1]}]"


def _places_beside(sizes: _Sizes, kind: str, bias: bool) -> list[str]:
    """The lines for a group, with the places along the last axis beside each other."""
    made, (_, high, wide) = sizes.channels[1], sizes.made
    body = []
    for bounds in panels(wide, min(wide, _MOST_PLACES)):
        width = bounds[2]
        along = f"for (int j = 0; j < {width}; ++j)"
        start = f"c[group * {made} + out]" if bias else "0"
        block = [
            f"const {kind} *p = b + (group * {made} + out) * {sizes.taps};",
            f"{kind} s[{width}];",
            f"{along} s[j] = {start};",
            *(f"{one} {{" for one in sizes.loops()),
            f"    const {kind} w = *p++;",
            f"    {along} s[j] += w * {_read(sizes, '(x + j)')};",
            "}" * 3,
            f"{along} o[(out * {high} + y) * {wide} + x + j] = s[j];",
        ]
        body += loop("x", bounds, block)
    return loop("out", (0, made, 1), loop("y", (0, high, 1), body))


def padded_text(operator: Operator, outputs: Sequence[Port], name: str) -> str:
    """The function that pads arrays of two axes by 0, with the parameters a and the result o."""
    given = attributes(operator)
    kind, (height, width), (top, left) = ctype(outputs[0].dtype), given["sizes"], given["before"]
    high, wide = given["padded"]
    copy = f"memcpy(o + y * {wide}, a + y * {width}, {width} * sizeof({kind}));"
    moves = [f"a += {height * width};", f"o += {high * wide};"]
    lines = [
        f"memset(o, 0, {given['count'] * high * wide} * sizeof({kind}));",
        f"o += {top * wide + left};",
        *loop("n", (0, given["count"], 1), [*loop("y", (0, height, 1), [copy]), *moves]),
    ]
    return "\n".join(
        [f"EMX_NODE_FN void {name}(const {kind} *a, {kind} *o) {{", *(f"    {line}" for line in lines), "}"]
    )
