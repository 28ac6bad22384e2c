"""Adaptive and fixed steps without control flow in any graph: the turns of each loop are runs of a graph of their own.

The loops are those of the forms `adaptive` and `rolled`, and `lowering.division` takes them out of the host graph.
"""

from __future__ import annotations

from dataclasses import replace

from odelet.methods.method import Method
from odelet_export.lowering.forms.adaptive import ADAPTIVE
from odelet_export.lowering.forms.form import Form, LoweredSolve
from odelet_export.lowering.forms.rolled import ROLLED
from odelet_export.lowering.forms.site import Site


def excludes(method: Method) -> str | None:
    """The reason why no solve of a method can have the form, as a clause whose subject is the method; or None."""
    return method.steps_outside


def unsuited(site: Site) -> str | None:
    """The reason why a solve cannot have the form although its method can, as a sentence; or None."""
    if site.static and site.count is None:
        return "its output times are of any number; leave them out of `dynamic`"
    return None if ADAPTIVE.refuse(site) is None else ROLLED.refuse(site)


def lower(site: Site) -> LoweredSolve:
    """Build the Loop of a solve, with error control where its method has it."""
    if ADAPTIVE.refuse(site) is not None:
        return ROLLED.lower(site)
    lowered = ADAPTIVE.lower(site)
    if not site.settings:
        return lowered
    return replace(lowered, settings={**lowered.settings, "max_evals": None})


LOOP_FREE = Form(
    name="loop_free",
    lower=lower,
    excludes=excludes,
    unsuited=unsuited,
    varies="tolerances",
    loops_outside=True,
    remedy="change the method with --method dopri5",
)
