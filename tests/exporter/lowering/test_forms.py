"""Every method is exported in every form that it can have, and gives the answers of torchdiffeq."""

from dataclasses import replace

import numpy as np
import pytest
from support.lowering import Case, forms_of, inputs
from support.parity import matches
from support.rosters import ADAPTIVE, FIXED

from odelet.numerics.tableau import TABLEAUS
from odelet.status import Status
from odelet_export.lowering.forms import FORMS

METHODS = list(TABLEAUS)
TIMES = {
    "one step's worth": (0.0, 1.0),
    "five times": (0.0, 0.1, 0.35, 0.4, 1.0),
    "decreasing": (1.0, 0.6, 0.2),
    "an input": None,
}
# Output times of the calls where the times are an input.
GIVEN = [(0.0, 0.5, 1.1), (1.0, 0.3, 0.0, -0.2), (0.2, 0.9), (0.5,)]


def check(case, folder, *, batches=(3,)):
    """Compare all forms that the case can have with torchdiffeq. Returns their names."""
    forms = forms_of(case)
    for form in forms:
        formed = replace(case, form=form)
        model = formed.load(folder / form)
        for batch in batches:
            for t in [None] if case.times is not None else GIVEN:
                matches(formed, model, inputs(case.dtype, batch, seed=batch), t)
    return forms


def matrix():
    """Every method and dtype with constant times and with times that are an input; in float64 with all times."""
    for i, method in enumerate(METHODS):
        for j, times in enumerate(TIMES):
            yield "float64", method, times, (i + j) % 2 == 1
            if times == "an input" or j == i % 3:
                yield "float32", method, times, (i + j) % 2 == 0


@pytest.mark.parametrize(("dtype", "method", "times", "pair"), list(matrix()))
def test_all_forms_of_all_methods_give_the_answers_of_torchdiffeq(dtype, method, times, pair, tmp_path):
    forms = check(Case(method=method, dtype=dtype, pair=pair, times=TIMES[times]), tmp_path)
    required = {"adaptive", "driven"} if method in ADAPTIVE else {"rolled", "driven"}
    unrolled = {"unrolled"} if method in FIXED and times != "an input" else set()
    assert required | unrolled <= set(forms) <= set(FORMS)


def test_every_form_is_possible_for_some_method():
    cases = [Case(method=method, times=(0.0, 1.0), positions=(0.0, 1.0)) for method in ("rk4", "dopri5")]
    assert {form for case in cases for form in forms_of(case)} == {name for name, form in FORMS.items() if form.solves}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "pair", "times"), [("float64", False, (0.0, 1.0)), ("float32", True, (1.0, 0.9, 0.4, -0.1))]
)
def test_a_capture_with_constant_times_gives_the_answers_of_torchdiffeq(dtype, pair, times, tmp_path):
    for method in ("heun3", "bosh3"):
        check(Case(method=method, dtype=dtype, pair=pair, times=times, retrace=True), tmp_path / method)


@pytest.mark.parametrize("method", ["dopri5", "rk4"])
@pytest.mark.parametrize("pair", [False, True])
def test_batches_of_any_size_give_the_answers_of_torchdiffeq(pair, method, tmp_path):
    check(Case(method=method, pair=pair), tmp_path, batches=(1, 2, 7))


@pytest.mark.parametrize("method", ["dopri5", "rk4"])
@pytest.mark.parametrize("pair", [False, True])
def test_an_empty_batch_gives_empty_outputs(pair, method, tmp_path):
    case = Case(method=method, pair=pair, times=(0.0, 0.5, 1.0))
    for form in forms_of(case):
        solution = replace(case, form=form).load(tmp_path / form).solve(inputs("float64", 0))
        assert solution.status is Status.OK
        shapes = [(3, 0, 3), (3, 0)] if pair else [(3, 0, 3)]
        assert [output.shape for output in solution.outputs.values()] == shapes


GRIDS = {"step_size": (("step_size", 0.3),), "one step": (("step_size", 4.0),), "steps": (("steps", 4),)}
PLACES = [("rk4", grid, times) for grid in GRIDS for times in ("five times", "decreasing", "an input")]
PLACES += [(method, "step_size", "decreasing") for method in FIXED if method != "rk4"]


@pytest.mark.parametrize(("method", "grid", "times"), PLACES)
def test_output_times_within_fixed_steps_are_read_as_by_torchdiffeq(method, grid, times, tmp_path):
    """Output times within a step lie on a straight line between its ends; 0.3 does not divide the range."""
    forms = check(Case(method=method, times=TIMES[times], options=GRIDS[grid]), tmp_path)
    assert ("unrolled" in forms) == (times != "an input" or grid == "steps")


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "time_dtype"), [("float32", "float64"), ("float64", "float32")])
def test_times_may_have_another_dtype_than_the_state(dtype, time_dtype, tmp_path):
    for times in (TIMES["five times"], None):
        heun = Case(method="heun3", dtype=dtype, time_dtype=time_dtype, times=times)
        check(heun, tmp_path / f"heun {times}")
        check(replace(heun, options=GRIDS["step_size"]), tmp_path / f"step_size {times}")
        check(replace(heun, method="dopri5"), tmp_path / f"dopri5 {times}")


OPTIONS = {
    "first_step": (("first_step", 0.07),),
    "min_step": (("min_step", 0.2),),
    "max_step": (("max_step", 0.06),),
    "factors": (("safety", 0.5), ("ifactor", 3.0), ("dfactor", 0.4)),
    "max_num_steps": (("max_num_steps", 30),),
    "all steps given": (("first_step", 0.15), ("min_step", 0.15), ("max_step", 0.15)),
}


@pytest.mark.parametrize("options", OPTIONS)
def test_options_of_step_size_control_have_their_effect(options, tmp_path):
    check(Case(method="dopri5", times=TIMES["five times"], options=OPTIONS[options]), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("opset", range(18, 24))
def test_every_opset_gives_the_answers_of_torchdiffeq(opset, tmp_path):
    for method in ("dopri5", "rk4"):
        check(Case(method=method, opset=opset), tmp_path / method)


@pytest.mark.parametrize("form", ["adaptive", "driven"])
@pytest.mark.parametrize("method", ["dopri5", "bosh3"])
def test_a_call_may_set_tolerances_and_step_limit(method, form, tmp_path):
    case, x = Case(method=method, form=form, times=(0.0, 1.0)), inputs("float64", 3, seed=1)
    model = case.load(tmp_path)
    taken = set()
    for changes in ({}, {"rtol": 1e-2}, {"atol": 1e-2}, {"rtol": 1e-3, "atol": 1e-4}):
        ours, theirs = model.solve(x, **changes), replace(case, **changes).torch(x)
        assert ours.stats.evaluations == theirs.evaluations
        assert np.abs(ours.outputs["output"] - theirs.outputs[0]).max() < 1e-11
        taken.add(ours.stats.steps)
    assert len(taken) > 1
    steps = model.solve(x).stats.steps
    assert model.solve(x, max_steps=steps).status is Status.OK
    assert model.solve(x, max_steps=steps - 1).status is Status.STEP_LIMIT


def test_fixed_steps_take_no_tolerance(tmp_path):
    for form in ("unrolled", "rolled"):
        model = Case(method="rk4", form=form, times=(0.0, 1.0)).load(tmp_path / form)
        with pytest.raises(ValueError, match=r"rtol=0\.001 cannot be set: the steps of .* have fixed lengths"):
            model(inputs("float64"), rtol=1e-3)
