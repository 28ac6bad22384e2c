"""The solves inside the functions of other solves, which are filled in place, the innermost first.

A nested solve becomes a loop or a straight line among the nodes of the function around it, which is then lifted like
any other function. A caller can change no setting of a nested solve, and gets no report of it. The law here: a nested
solve that fails gives NaN, and so does the function around it, whatever it computes, so that the outer solve fails.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from odelet_export.capture.captured import Captured
from odelet_export.errors import FormError
from odelet_export.graphs.emit import ONNX
from odelet_export.graphs.nodes import DOMAIN
from odelet_export.graphs.scope import Scope, Value
from odelet_export.graphs.unused import remove_unused
from odelet_export.lowering.choose import check_times, own_form
from odelet_export.lowering.forms import FORMS
from odelet_export.lowering.forms.form import Form, LoweredSolve
from odelet_export.lowering.forms.site import OK, Site
from odelet_export.lowering.hole import Hole
from odelet_export.lowering.lift import Notes, dependents, hole_of, owners_in
from odelet_export.lowering.lower import fill
from odelet_export.lowering.profiles import GENERAL, Profile


def fill_nested(captured: Captured, form: str, *, max_steps: int, profile: Profile = GENERAL) -> Notes:
    """Fill the nested solves in the captured graph. Returns lines about them, by the mark of the solve around them.

    form: the name of the form of the export, or "auto"; a solve that cannot have that form takes its own form.
    max_steps: the limit of attempted steps. profile: what the graphs may use. Raises FormError for a solve that only
    the runtime could drive.
    """
    graph = captured.model.graph
    notes: dict[int, tuple[str, ...]] = {}
    for spec in sorted(captured.nested, key=lambda spec: -len(spec.around)):
        within = notes.pop(spec.mark, ())
        hole = hole_of(graph, spec, within)
        site = Site.of(hole, Scope.of(graph), max_steps, {}, static=not profile.dynamic)
        chosen = _form(site, form)
        lowered = chosen.lower(site)
        _replace(graph, site, lowered)
        remove_unused(captured.model)
        graph.sort()
        line = _line(site, chosen, lowered)
        notes[spec.around[-1]] = (
            *notes.get(spec.around[-1], ()),
            line,
            *(f"{x}, inside {spec.source}" for x in within),
        )
    return notes


def _form(site: Site, name: str) -> Form:
    """The form of that name where the solve can have it in a graph, else the solve's own."""
    check_times(site)
    named_form = FORMS.get(name)
    if named_form is not None and not named_form.runs_outside and named_form.refuse(site) is None:
        return named_form
    default_form = own_form(site)
    if default_form.runs_outside:
        in_graph = [form for form in FORMS.values() if not form.runs_outside and form.refuse(site) is None]
        names = " or ".join(form.name for form in in_graph) or f"{default_form.name} only"
        raise FormError(
            f"the solve at {site.hole.spec.source} lies inside the field of another, so it must be in the graph, and "
            f"{site.hole.spec.method} can be {names}; change the method"
        )
    return default_form


def _replace(graph: ir.Graph, site: Site, lowered: LoweredSolve) -> None:
    """Put the results of a solve where they are used, as NaN where the solve failed; let the function around the solve
    return NaN then, too."""
    ok = ONNX.equal(lowered.report["status"], OK)
    guarded = _guarded(graph, site.hole)
    event_time = None if lowered.event_time is None else _unless(ok, lowered.event_time)
    fill(site.hole, LoweredSolve(solution=[_unless(ok, value) for value in lowered.solution], event_time=event_time))
    for node, place in guarded:
        value = node.inputs[place]
        assert value is not None
        node.replace_input_with(place, _unless(ok, Value(value, site.scope)).ir)


def _unless(ok: Value, value: Value) -> Value:
    """The value where `ok` holds, else NaN."""
    guarded: Value = ONNX.where(ok, value, ok.scope.constant(np.nan, value.dtype))
    guarded.ir.shape = value.ir.shape
    return guarded


def _guarded(graph: ir.Graph, hole: Hole) -> list[tuple[ir.Node, int]]:
    """The results of the function around a solve that depend on the solve, as inputs of an End marker: pairs of the
    node and the position.

    NaN in the solution is not enough: a clamp or a comparison in the function can lose it.
    """
    parent = hole.spec.around[-1]
    end = next(
        (n for n in graph if n.domain == DOMAIN and n.op_type == "End" and n.attributes["solve"].as_int() == parent),
        None,
    )
    if end is None:
        return []
    dependent = {value for node in dependents(hole.results, end, owners_in(graph)) for value in node.outputs}
    dependent |= set(hole.results)
    return [(end, place) for place, value in enumerate(end.inputs) if value in dependent]


def _line(site: Site, form: Form, lowered: LoweredSolve) -> str:
    """The line that the card of the outer solve has about a nested one."""
    spec = site.hole.spec
    words = [spec.method, form.name, spec.source]
    for name, value in (("rtol", spec.rtol), ("atol", spec.atol)):
        row = value if isinstance(value, tuple) else () if value is None else (value,)
        words += [f"{name} {'/'.join(f'{x:g}' for x in row)}"] if row else []
    words += [f"max_steps {site.max_steps}"] if spec.adaptive else []
    words += [f"steps {lowered.steps}"] if lowered.steps is not None else []
    return ", ".join(words)
