"""The choice of a form for each solve: the form that the user asks for where the solve can have it, else its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from odelet_export.capture.captured import Captured
from odelet_export.errors import FormError
from odelet_export.lowering.forms import FORMS
from odelet_export.lowering.forms.adaptive import ADAPTIVE
from odelet_export.lowering.forms.driven import DRIVEN
from odelet_export.lowering.forms.fixed import known_steps
from odelet_export.lowering.forms.form import Form
from odelet_export.lowering.forms.loop_free import LOOP_FREE
from odelet_export.lowering.forms.rolled import ROLLED
from odelet_export.lowering.forms.site import Site, monotone_times
from odelet_export.lowering.forms.unrolled import UNROLLED
from odelet_export.lowering.profiles import GENERAL, Profile

AUTO = "auto"
# `auto` unrolls a fixed-step solve up to this many steps.
FEW_STEPS = 32


@dataclass(frozen=True)
class Choice:
    """The form chosen for a solve."""

    site: Site
    form: Form


def choose(sites: Sequence[Site], name: str, profile: Profile = GENERAL) -> list[Choice]:
    """Choose a form for each solve: the form of that name where the solve can have it, else the solve's own form. A
    model may have no solve, where the form of that name is for such models.

    name: the name of a form, or AUTO for the own form of each solve. profile: what the graphs may use. Raises FormError
    when no solve of the model can have the form, or none that the profile allows, when another solve of the model can
    only be driven, or when output times make no sense.
    """
    if name != AUTO and name not in FORMS:
        raise FormError(f"form={name!r} is not one of {AUTO}, {', '.join(FORMS)}")
    for site in sites:
        check_times(site)
    if name == AUTO:
        return _fitting(_together(sites, [own_form(site, loops=profile.loops) for site in sites]), profile)
    form = FORMS[name]
    refusals = [form.refuse(site) for site in sites]
    if sites and all(refusals):
        lines = [
            f"{site.hole.spec.source}: {why}; it can be {' or '.join(possible(site))}"
            for site, why in zip(sites, refusals, strict=True)
        ]
        remedy = _sde_remedy(sites) if all(site.hole.spec.sde for site in sites) else form.remedy
        hint = f"; or {remedy}" if remedy else ""
        raise FormError(f"no solve of this model can be {name}: " + "; ".join(lines) + hint)
    chosen = [
        _beside(form, site, loops=profile.loops) if why else form for site, why in zip(sites, refusals, strict=True)
    ]
    for site, why, form_of_site in zip(sites, refusals, chosen, strict=True):
        if form_of_site.runs_outside and not form.runs_outside:
            raise FormError(
                f"this model cannot be {name}: {site.hole.spec.source}: {why}; export it as {form_of_site.name}"
            )
    return _fitting([Choice(*pair) for pair in zip(sites, chosen, strict=True)], profile)


def needs_a_solve(name: str) -> bool:
    """Whether the form of that name is for models that make solves, as every form but `plain` is."""
    return name not in FORMS or FORMS[name].solves


def check_form_of_stepped(captured: Captured, name: str) -> None:
    """Raise FormError where a form is asked for, and the steps of all solves of the model are nodes of its graph, as
    they are unrolled."""
    if captured.stepped and not captured.specs and name not in (AUTO, UNROLLED.name):
        raise FormError(
            f"no solve of this model can be {name}: the field of the solve at {captured.stepped[0].source} keeps "
            "something from one call to the next, so that the graph holds each of its calls; leave the form out"
        )


def _together(sites: Sequence[Site], own_forms: Sequence[Form]) -> list[Choice]:
    """The forms of the solves: their own, or for all of them the form of a solve that runs outside the graph."""
    outside = next((form for form in own_forms if form.runs_outside), None)
    return [Choice(site, outside or form) for site, form in zip(sites, own_forms, strict=True)]


def _sde_remedy(sites: Sequence[Site]) -> str:
    """What helps where no solve of a model can have a form, and all of them are of SDEs."""
    return "leave adaptive=True out of the model" if any(site.hole.spec.chooses_steps for site in sites) else ""


def _beside(form: Form, site: Site, *, loops: bool) -> Form:
    """The form of a solve that cannot have `form`, the form of the other solves of its model."""
    # A graph that is a straight line for the sake of the other solves stays one if it can.
    return UNROLLED if form.straight and UNROLLED.refuse(site) is None else own_form(site, loops=loops)


def _fitting(choices: list[Choice], profile: Profile) -> list[Choice]:
    """The choices. Raises FormError for a form with loops where the profile has none."""
    for choice in choices:
        form = choice.form
        if not profile.loops and form.runs_outside:
            raise FormError(
                f"the solve at {choice.site.hole.spec.source} is by {choice.site.hole.spec.method}, which only the "
                f"runtime can drive, and the profile {profile.name} has no driver; change it with --method dopri5"
            )
        if not profile.dynamic and _steps_vary(choice.site):
            raise FormError(
                f"the solve at {choice.site.hole.spec.source} takes as many steps as its output times ask for, which "
                f"the model computes, and the profile {profile.name} has arrays of fixed sizes alone; give --steps N, "
                "or times that are constant"
            )
        if not profile.loops and not (form.straight or form.loops_outside):
            raise FormError(
                f"the solve at {choice.site.hole.spec.source} cannot be {form.name}, as the profile {profile.name} has "
                f"no loops in its graphs; leave the form out"
            )
    return choices


def _steps_vary(site: Site) -> bool:
    """Whether the number of steps on a grid depends on numbers that the model computes."""
    spec = site.hole.spec
    on_grid = spec.solver.fixed and not spec.timeless and site.event is None
    return on_grid and known_steps(site) is None


def check_times(site: Site) -> None:
    """Raise FormError for constant output times that make no sense."""
    times = site.hole.times
    if times is not None and not monotone_times(times):
        raise FormError(f"the solve at {site.hole.spec.source} has times that are not strictly monotone: {times}")


def own_form(site: Site, *, loops: bool = True) -> Form:
    """The form of a solve where the user asks for none. loops: whether a graph may hold a Loop."""
    solver = site.hole.spec.solver
    if site.hole.spec.timeless:
        return ADAPTIVE if loops else LOOP_FREE
    if not solver.fixed:
        return DRIVEN if not solver.adaptive else ADAPTIVE if loops else LOOP_FREE
    steps = known_steps(site)
    few = steps is not None and steps <= FEW_STEPS and UNROLLED.refuse(site) is None
    # An unrolled solve copies its field for each stage; a field that holds a solve is too large for that.
    return UNROLLED if few and not site.hole.nested else ROLLED if loops else LOOP_FREE


def possible(site: Site) -> list[str]:
    """The names of the forms that a solve can have."""
    return [name for name, form in FORMS.items() if form.refuse(site) is None]
