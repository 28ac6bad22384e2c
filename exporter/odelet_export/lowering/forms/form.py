"""A form as data: its name, facts about it, and the function that builds a solve. No code compares a form's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import onnx_ir as ir

from odelet.artifact.solve_card import FORMS as CARD_FORMS
from odelet.artifact.solve_card import DriveCard
from odelet.methods.method import Method
from odelet_export.graphs.scope import Value
from odelet_export.lowering.forms.site import Site


@dataclass(frozen=True, kw_only=True)
class LoweredSolve:
    """A solve as a form built it.

    solution: values of the host graph, one (times, *shape) for each part of the state, (*shape) for an iteration; none
    where the runtime drives the solve. event_time: the time of the event that ends the solve, a scalar in the dtype of
    t. report: the status and counts of the solve, by their names in the card, each a scalar, or (samples,) where each
    sample has its own steps. steps: the number of steps, where the export fixes it. settings: for each setting that a
    caller may change, the graph input that takes it, or None where the driver takes it. evaluations: the number of
    calls of the field, where it is fixed and does not follow from the method and the steps. drive, graphs, captured:
    where the runtime drives the solve, its card entry, its graphs by file name, and the values of the host that they
    read.
    """

    solution: Sequence[Value] = ()
    event_time: Value | None = None
    report: Mapping[str, Value] = field(default_factory=dict)
    steps: int | None = None
    settings: Mapping[str, str | None] = field(default_factory=dict)
    evaluations: int | None = None
    drive: DriveCard | None = None
    graphs: Mapping[str, ir.Graph] = field(default_factory=dict)
    captured: Sequence[ir.Value] = ()

    @property
    def results(self) -> list[Value]:
        """The values that take the place of `Hole.results`, in the same order."""
        return [*self.solution, *([] if self.event_time is None else [self.event_time])]


def _nothing(_of: object) -> None:
    """The answer None of a form that refuses no method or site."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """A way to put a solve into ONNX.

    name: the name as users and cards spell it. lower: builds the solve of a site that the form does not refuse.
    excludes: gives the reason why no solve of a method can have the form, as a clause whose subject is the method, or
    None. unsuited: gives the reason why a solve cannot have the form although its method can, as a sentence, or None.
    varies: the setting that an export in this form leaves to choose, "steps" of a fixed-step method or "tolerances" of
    an adaptive one, if any. straight: whether the graph has no control flow, so that it grows with the number of steps.
    loops_outside: whether the loops of the host graph are taken out, so that no graph has control flow. remedy: the
    change by which a user can make a solve fit the form, or "".
    """

    name: str
    lower: Callable[[Site], LoweredSolve]
    excludes: Callable[[Method], str | None] = _nothing
    unsuited: Callable[[Site], str | None] = _nothing
    varies: Literal["steps", "tolerances"] | None = None
    straight: bool = False
    loops_outside: bool = False
    remedy: str = ""

    @property
    def needs_data(self) -> bool:
        """Whether the steps are found on calibration data, which the export must be given."""
        return CARD_FORMS[self.name].calibrated

    @property
    def solves(self) -> bool:
        """Whether solves have the form, and not only models that make none."""
        return CARD_FORMS[self.name].solves

    @property
    def runs_outside(self) -> bool:
        """Whether the runtime takes the steps; the host graph is then cut at the solve, and all other solves must have
        such a form too."""
        return CARD_FORMS[self.name].outside

    def refuse_method(self, method: Method) -> str | None:
        """The reason why no solve of a method can have the form, as a sentence; None where some solves can."""
        clause = self.excludes(method)
        return None if clause is None else f"{method.name} {clause}"

    def refuse(self, site: Site) -> str | None:
        """The reason why the solve of a site cannot have the form; None where it can."""
        return self.refuse_method(site.hole.spec.solver) or self.unsuited(site)
