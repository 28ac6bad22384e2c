"""The parts that forms of SDE solves share: the functions of the SDE, and one step on normal numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx_ir as ir

from odelet.engine.sde_steps import motion_of
from odelet.loops.brownian import draw_shapes
from odelet.methods.method import FixedStep
from odelet.methods.sde import Increment, Interval, Sde, SdeMethod
from odelet.numerics.state import Layout
from odelet_export.errors import FormError
from odelet_export.graphs.emit import ONNX
from odelet_export.graphs.scope import Scope, Value
from odelet_export.lowering.forms.site import Site
from odelet_export.lowering.hole import Hole
from odelet_export.lowering.region import Region
from odelet_export.model.sde_spec import MEMORY, NORMALS


def method_of(hole: Hole) -> SdeMethod:
    """The method of a solve of an SDE."""
    method = hole.spec.solver
    assert isinstance(method, SdeMethod)
    return method


def functions_of(hole: Hole, scope: Scope, outside: Mapping[ir.Value, ir.Value]) -> Sde:
    """The functions of the SDE, which put copies of their regions into a graph. outside: as `Region.emit` takes it."""
    spec = hole.spec.sde
    assert spec is not None

    def of(region: Region) -> Any:
        return lambda t, *state: region.call_on(scope, outside, t, state)[0]

    named = {name: of(region) for name, region in hole.regions.items()}
    width = hole.y0[0].shape[1] if hole.y0[0].shape is not None else None
    if not isinstance(width, int):
        raise FormError(
            f"the solve at {hole.spec.source}: the number of channels of an SDE's state must not change with the inputs"
        )
    return Sde(noise=spec.noise, width=width, channels=spec.channels, drift=named.pop("field"), **named)


def step(
    hole: Hole, sde: Sde, layout: Layout, t: Any, t1: Any, y: Value, memory: tuple[Any, ...], noise: Increment
) -> FixedStep:
    """The step from t to t1. y: the state, a row (1, n)."""
    method = method_of(hole)
    (table,) = layout.unpack(y, xp=ONNX)
    y1, remembered = method.advance(sde, Interval.of(t, t1, y, xp=ONNX), table, memory, noise, xp=ONNX)
    row = layout.pack([y1], xp=ONNX)
    return FixedStep(row, row, tuple(remembered), method.drifts, None)


def step_in_graph(site: Site, i: Any, t: Any, t1: Any, y: Value, memory: tuple[Any, ...]) -> FixedStep:
    """The step of number i, with the normal numbers of that step. i: a number, or a value of the graph."""
    hole, method = site.hole, method_of(site.hole)
    sde = functions_of(hole, site.scope, {})
    normals = [Value(hole.extras[f"{NORMALS}{name}"], site.scope)[i] for name in method.draws]
    noise = method.increment(normals, Interval.of(t, t1, y, xp=ONNX), channels=sde.channels, xp=ONNX)
    return step(hole, sde, site.layout, t, t1, y, memory, noise)


def memory_in_graph(site: Site) -> list[Value]:
    """The values that the first step receives."""
    return [Value(site.hole.extras[f"{MEMORY}{name}"], site.scope) for name in method_of(site.hole).memory]


def driven_step(
    hole: Hole,
    scope: Scope,
    layout: Layout,
    outside: Mapping[ir.Value, ir.Value],
    y: Value,
    add_input: Callable[[str, Any, Sequence[int | str]], Value],
) -> dict[str, Value]:
    """The outputs of the graph of one step. Its inputs are the Brownian motion over the step, besides times and states.

    y: the state, an input of the graph. add_input: adds an input of a name, dtype and shape.
    """
    method, sde = method_of(hole), functions_of(hole, scope, outside)
    t, t1 = (add_input(name, hole.t.dtype, []) for name in ("t", "t1"))
    remembered = [hole.extras[f"{MEMORY}{name}"] for name in method.memory]
    memory = [add_input(f"memory.{i}", hole.y0[0].dtype, _sizes(like)) for i, like in enumerate(remembered)]
    batch = _sizes(hole.y0[0])[0]
    shapes = zip(motion_of(method), draw_shapes(method, sde.channels).values(), strict=True)
    motion = [add_input(name, hole.y0[0].dtype, [batch, *shape]) for name, shape in shapes]
    taken = step(hole, sde, layout, t, t1, y, tuple(memory), Increment(*motion))
    return {"y1": taken.y1, **{f"memory1.{i}": x for i, x in enumerate(taken.memory)}}


def _sizes(value: ir.Value) -> list[int | str]:
    """The sizes of a value's axes, or their names."""
    dims = list(value.shape) if value.shape is not None else []
    return [dim if isinstance(dim, int) else str(dim.value or f"size_{i}") for i, dim in enumerate(dims)]
