"""No solver at all: the graph of a model that makes no solve, such as a residual network or a coupling flow."""

from __future__ import annotations

from odelet.methods.method import Method
from odelet_export.lowering.forms.form import Form, LoweredSolve
from odelet_export.lowering.forms.site import Site


def excludes(_method: Method) -> str:
    """The reason why no solve of a method can have the form, as a clause whose subject is the method."""
    return "is a solver, and plain is for models that make no solve"


def lower(site: Site) -> LoweredSolve:
    """Build nothing: a model of this form has no site."""
    raise AssertionError(f"the solve at {site.hole.spec.source} was not refused")


PLAIN = Form(name="plain", lower=lower, excludes=excludes, remedy="leave the form out")
