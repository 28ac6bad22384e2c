"""The forms that a solve can take. A new form is a module here that defines a `Form`, and a line of the roster."""

from __future__ import annotations

from odelet_export.lowering.forms.adaptive import ADAPTIVE
from odelet_export.lowering.forms.bounded import BOUNDED
from odelet_export.lowering.forms.driven import DRIVEN
from odelet_export.lowering.forms.form import Form
from odelet_export.lowering.forms.loop_free import LOOP_FREE
from odelet_export.lowering.forms.plain import PLAIN
from odelet_export.lowering.forms.rolled import ROLLED
from odelet_export.lowering.forms.unrolled import UNROLLED

FORMS: dict[str, Form] = {
    "unrolled": UNROLLED,
    "rolled": ROLLED,
    "bounded": BOUNDED,
    "adaptive": ADAPTIVE,
    "loop_free": LOOP_FREE,
    "driven": DRIVEN,
    "plain": PLAIN,
}
