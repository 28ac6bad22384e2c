"""The settings of a call: written once, and the same wherever they can be given."""

from dataclasses import fields, replace
from inspect import Parameter, signature

import numpy as np
import pytest
from support.artifacts import affine_card, driven_card

from odelet import InputError, Model
from odelet.artifact.card import RESERVED, Card, FallbackCard
from odelet.artifact.solve_card import CALL_SETTINGS, FORMS, SETTINGS, TAKEN
from odelet.cli import plot, run
from odelet.loops.limits import DEFAULT_MAX_STEPS
from odelet.model.observed import Observed
from odelet.model.settings import AS_EXPORTED, CallSettings, limits_for

DEFAULTS = {field.name: field.default for field in fields(CallSettings)}


def test_a_card_reserves_the_names_of_the_settings():
    assert tuple(DEFAULTS) == TAKEN == (*RESERVED, "progress")
    assert (*SETTINGS, "seed") == RESERVED


@pytest.mark.parametrize("function", [Model.__call__, Model.solve, run, plot])
def test_keywords_have_the_defaults_of_the_class(function):
    parameters = signature(function).parameters
    defaults = {**DEFAULTS, **{field.name: field.default for field in fields(Observed) if field.name != "recordings"}}
    shared = {name: parameters[name].default for name in defaults if name in parameters}
    assert shared == {name: defaults[name] for name in shared}
    assert {"rtol", "atol", "max_steps", "seed"} <= shared.keys()
    if function is Model.solve:
        assert shared.keys() == defaults.keys()
        assert all(parameters[name].kind is Parameter.KEYWORD_ONLY for name in shared)


def test_settings_are_split_from_inputs():
    settings, inputs = CallSettings.split({"rtol": 0.1, "x": 1, "seed": 3, "batch.x": 2})
    assert settings == CallSettings(rtol=0.1, seed=3)
    assert inputs == {"x": 1, "batch.x": 2}


def test_settings_become_arrays_and_limits():
    assert AS_EXPORTED.checked(driven_card()) == {}
    assert limits_for({}).max_steps == DEFAULT_MAX_STEPS
    arrays = CallSettings(rtol=0.5, max_steps=np.int32(9), max_evals=7).checked(driven_card())
    assert {name: (array.dtype.name, array.item()) for name, array in arrays.items()} == {
        "rtol": ("float64", 0.5),
        "max_steps": ("int64", 9),
        "max_evals": ("int64", 7),
    }
    limits = limits_for(arrays)
    assert (limits.max_steps, limits.max_evals, limits.deadline) == (9, 7, None)


@pytest.mark.parametrize(
    ("name", "forms"),
    [("atol", "'adaptive' or 'loop_free' or 'driven'"), ("max_evals", "'loop_free' or 'driven'")],
)
def test_a_refusal_names_the_forms_that_take_the_setting(name, forms):
    card = affine_card()
    card = replace(card, solves=(replace(card.solves[0], settings={}),))
    with pytest.raises(InputError, match=rf"{FORMS['adaptive'].why_not_set}; export the model with the form {forms}$"):
        CallSettings(**{name: 1.0}).checked(card)


@pytest.mark.parametrize("form", ["driven", "loop_free", "rolled", "unrolled"])
@pytest.mark.parametrize("name", ["rtol", "atol", "max_steps", "max_evals"])
def test_fixed_steps_need_another_method_and_no_other_form(form, name):
    card = driven_card() if form == "driven" else affine_card()
    solve = replace(card.solves[0], form=form, method="rk4", rtol=None, atol=None, settings={})
    card = replace(card, form=form, solves=(solve,))
    with pytest.raises(InputError, match=r"have fixed lengths \(rk4\).*choose an adaptive method") as raised:
        CallSettings(**{name: 1}).checked(card)
    assert "the form" not in str(raised.value)


@pytest.mark.parametrize("form", [None, *(name for name, facts in FORMS.items() if facts.solves)])
def test_every_form_takes_a_deadline_whatever_its_card_lists(form):
    card = driven_card() if form == "driven" else affine_card()
    report = {"error_ratio": "ratio"} if form == "bounded" else {}
    solves = [] if form is None else [replace(card.solves[0], form=form, settings={}, report=report)]
    card = replace(card, form=form or "unrolled", solves=tuple(solves))
    assert CALL_SETTINGS == ("deadline",)
    arrays = CallSettings(deadline=2).checked(card)
    assert {name: (array.dtype.name, array.item()) for name, array in arrays.items()} == {"deadline": ("float64", 2.0)}
    for wrong in (0, -1, float("nan"), float("inf"), "1", True, 10**5000):
        with pytest.raises(InputError, match="deadline"):
            CallSettings(deadline=wrong).checked(card)


def bounded_card(*, fallback: bool) -> Card:
    solve = replace(affine_card().solves[0], form="bounded", settings={}, report={"error_ratio": "ratio"})
    again = FallbackCard(program=driven_card().program, solves=driven_card().solves) if fallback else None
    return affine_card(form="bounded", solves=(solve,), fallback=again)


@pytest.mark.parametrize("name", FORMS["bounded"].of_again)
def test_the_fallback_takes_what_its_form_leaves_to_it(name):
    assert CallSettings(**{name: 9}).checked(bounded_card(fallback=True))[name].item() == 9
    with pytest.raises(InputError, match=rf"{name}=9 cannot be set: .*, or with a fallback$"):
        CallSettings(**{name: 9}).checked(bounded_card(fallback=False))
    with pytest.raises(InputError, match="rtol=0.1 cannot be set"):
        CallSettings(rtol=0.1).checked(bounded_card(fallback=True))


@pytest.mark.parametrize("card", [affine_card(), driven_card()], ids=["adaptive", "driven"])
def test_tolerances_that_no_step_could_keep_are_refused(card):
    """In float32, of which numbers are known to 1.2e-7 of themselves; one of the two tolerances may be as small."""
    for settings in ({"rtol": 1e-20, "atol": 1e-20}, {"rtol": 1e-8, "atol": 1e-15}):
        with pytest.raises(
            InputError, match="are both below what float32 can resolve; expected an rtol of at least 1.1"
        ):
            CallSettings(**settings).checked(card)
    for settings in ({"rtol": 1e-20}, {"atol": 1e-20}, {"rtol": 1e-20, "atol": 1e-9}, {"rtol": 1e-6, "atol": 1e-30}):
        CallSettings(**settings).checked(card)
    double = replace(card, inputs=tuple(replace(tensor, dtype="float64") for tensor in card.inputs))
    CallSettings(rtol=1e-14, atol=1e-20).checked(double)
    with pytest.raises(InputError, match="can resolve"):
        CallSettings(rtol=1e-20, atol=1e-40).checked(double)
    one = replace(card, solves=tuple(replace(solve, atol=1e-18) for solve in card.solves))
    with pytest.raises(InputError, match="rtol=1e-12 and atol=1e-18 are both below"):
        CallSettings(rtol=1e-12).checked(one)
