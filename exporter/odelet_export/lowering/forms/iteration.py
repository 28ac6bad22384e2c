"""Iterations to a fixed point inside a graph, for each form: `odelet.methods.fixed_point` emitted into the graph."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from odelet.methods.fixed_point import Iteration, IterationState, initial_state, iterate, status_code, take_turn
from odelet_export.graphs.emit import ONNX
from odelet_export.graphs.scope import Value
from odelet_export.lowering.forms.form import LoweredSolve
from odelet_export.lowering.forms.site import Site
from odelet_export.lowering.forms.steps_note import note_steps


def unrolled(site: Site) -> LoweredSolve:
    """Build all turns that the limit allows in a straight line."""
    method, most, terms = _asked(site)
    state = initial_state(method, site.y0, layout=site.layout, xp=ONNX)
    for _ in range(most):
        state = take_turn(method, lambda row: site.field(0.0, row), state, **terms, **_tolerances(site))
    return _lowered(site, state, evaluations=most)


def rolled(site: Site) -> LoweredSolve:
    """Build a Loop of all turns that the limit allows."""
    return _looped(site, _tolerances(site), None)


def adaptive(site: Site, tolerances: dict[str, Any], limit: Value) -> LoweredSolve:
    """Build a Loop that ends when the iteration of each batch row has ended, and after `limit` turns at most."""
    return _looped(site, tolerances, limit)


def _looped(site: Site, tolerances: dict[str, Any], limit: Value | None) -> LoweredSolve:
    method, most, terms = _asked(site)
    state = iterate(
        method,
        lambda row: site.field(0.0, row),
        site.y0,
        limit=most if limit is None else limit,
        stops=limit is not None,
        **terms,
        **tolerances,
    )
    note_steps(state.best, site.hole.spec, all_turns=limit is None)
    if limit is None:
        return _lowered(site, state, evaluations=most)
    return _lowered(site, state, settings=site.settings)


def _asked(site: Site) -> tuple[Iteration, int, dict[str, Any]]:
    """The method, the limit of turns, and the other arguments of the solver text."""
    spec = site.hole.spec
    assert isinstance(spec.solver, Iteration) and spec.max_iters is not None
    return spec.solver, spec.max_iters, {"layout": site.layout, "xp": ONNX}


def _tolerances(site: Site) -> dict[str, Any]:
    return {"rtol": site.hole.spec.rtol, "atol": site.hole.spec.atol}


def _lowered(site: Site, state: IterationState, **facts: Any) -> LoweredSolve:
    turns = site.scope.call("Cast", state.turns, to=ir.DataType.INT64)
    report = {"steps": turns, "accepted": turns, "status": status_code(state, xp=ONNX)}
    answer = site.layout.unpack(state.best, xp=ONNX)
    return LoweredSolve(solution=answer, report=report, **facts)
