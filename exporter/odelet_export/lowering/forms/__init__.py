"""The forms that a solve can take. To add one: a module here with `excludes`, `refusal`, `lower`, and a roster line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

from odelet_export.errors import FormError
from odelet_export.lowering.forms import adaptive, bounded, driven, rolled, unrolled
from odelet_export.lowering.forms.fixed import known_steps
from odelet_export.lowering.forms.site import Site, monotone_times

# `auto` unrolls a fixed-step solve up to this many steps.
FEW_STEPS = 32

FORMS: dict[str, ModuleType] = {
    "unrolled": unrolled,
    "rolled": rolled,
    "bounded": bounded,
    "adaptive": adaptive,
    "driven": driven,
}


@dataclass(frozen=True)
class Choice:
    """The form chosen for a solve."""

    site: Site
    form: str


def choose(sites: Sequence[Site], form: str) -> list[Choice]:
    """Decide a form for each solve: the one asked for where a solve can have it, else its own.

    Raises FormError when no solve of the model can have the form, or its times make no sense.
    """
    if form != "auto" and form not in FORMS:
        raise FormError(f"form={form!r} is not one of auto, {', '.join(FORMS)}")
    for site in sites:
        check_times(site)
    if form == "auto":
        own = [own_form(site) for site in sites]
        # What only the driver can solve takes the whole model there.
        return [Choice(site, "driven" if "driven" in own else form) for site, form in zip(sites, own, strict=True)]
    refusals = [FORMS[form].refusal(site) for site in sites]
    if all(refusals):
        lines = [
            f"{site.hole.spec.source}: {why}; it can be {' or '.join(possible(site))}"
            for site, why in zip(sites, refusals, strict=True)
        ]
        hint = "; or change the method with --method rk4 and --steps N" if form in ("unrolled", "rolled") else ""
        hint = "; or change the method with --method dopri5" if form == "adaptive" else hint
        raise FormError(f"no solve of this model can be {form}: " + "; ".join(lines) + hint)
    if form == "driven":
        return [Choice(site, form) for site in sites]
    own = [_straight(site) if form == "bounded" else own_form(site) for site in sites]
    chosen = [other if why else form for other, why in zip(own, refusals, strict=True)]
    for site, form_of_site in zip(sites, chosen, strict=True):
        if form_of_site == "driven":
            why = FORMS[form].refusal(site)
            raise FormError(f"this model cannot be {form}: {site.hole.spec.source}: {why}; export it as driven")
    return [Choice(site, form_of_site) for site, form_of_site in zip(sites, chosen, strict=True)]


def _straight(site: Site) -> str:
    """The form of a solve beside bounded ones: a straight line if it can be one."""
    return "unrolled" if unrolled.refusal(site) is None else own_form(site)


def check_times(site: Site) -> None:
    """Raise FormError for constant times that make no sense."""
    times = site.hole.times
    if times is not None and not monotone_times(times):
        raise FormError(f"the solve at {site.hole.spec.source} has times that are not strictly monotone: {times}")


def own_form(site: Site) -> str:
    """The form of a solve that nobody asked anything of."""
    solver = site.hole.spec.solver
    if site.hole.spec.timeless:
        return "adaptive"
    if not solver.fixed:
        return "adaptive" if solver.adaptive else "driven"
    steps = known_steps(site)
    few = steps is not None and steps <= FEW_STEPS and unrolled.refusal(site) is None
    # Copies of a field that holds a solve multiply.
    return "unrolled" if few and not site.hole.nested else "rolled"


def possible(site: Site) -> list[str]:
    """The forms that a solve can have."""
    return [name for name, form in FORMS.items() if form.refusal(site) is None]
