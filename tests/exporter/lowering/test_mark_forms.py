"""Marked fixed points give torch's answers in every form, at other inputs and batch sizes, and report failures."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.lowering import load_captured
from support.models_marked import CASES, drawn, traced

import odelet
from odelet import Status
from odelet.methods import fixed_point
from odelet_export.model.overrides import Overrides
from odelet_export.model.reference import run_reference

FORMS = ("unrolled", "rolled", "adaptive", "driven")


def check(name, form, folder, dtype=torch.float64):
    """Assert that a form gives torch's answers after the same number of turns. Returns the loaded model."""
    captured, callee = traced(name, dtype)
    model = load_captured(captured, form, folder / form)
    for batch in (5, 1):
        shape = (batch, *CASES[name][1][1:])
        if name == "sequence":
            shape = (batch, 2 * batch, 4)
        x = drawn(shape, seed=batch, dtype=dtype)
        expected, counts = run_reference(callee, [x], Overrides())
        solution = model.solve(x.numpy())
        allowed = 1e-10 if dtype == torch.float64 else 2e-5
        assert solution.status is Status.OK
        for ours, theirs in zip(solution.outputs.values(), expected, strict=True):
            assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
            assert abs(ours - theirs).max() < allowed
        for stats, count in zip(solution.stats.solves, counts, strict=True):
            assert (stats.form, stats.time, stats.rejected) == (form, None, 0)
            if dtype == torch.float64:
                assert stats.steps == count.steps
            most = max(stats.samples.steps) if stats.samples else stats.steps
            assert stats.evaluations == (captured.specs[0].max_iters if form in ("unrolled", "rolled") else most)
    return model


@pytest.mark.parametrize("name", [name for name in CASES if name != "few turns"])
def test_forms_with_loops_and_driven_give_the_answers_of_torch(name, tmp_path):
    for form in FORMS[1:]:
        check(name, form, tmp_path)


@pytest.mark.parametrize("name", ["anderson", "samples"])
def test_limits_end_an_iteration_alike_in_both_forms_that_the_runtime_drives(name, tmp_path):
    captured, _ = traced(name, torch.float64)
    driven, free = (load_captured(captured, form, tmp_path / form) for form in ("driven", "loop_free"))
    x = drawn((4, *CASES[name][1][1:]), seed=2, dtype=torch.float64).numpy()
    for limits in ({}, {"max_evals": 5}, {"max_steps": 4}, {"deadline": 1e-9}):
        ours, theirs = free.solve(x, **limits), driven.solve(x, **limits)
        assert (ours.status is Status.OK) == (not limits)
        (mine,), (other,) = ours.stats.solves, theirs.stats.solves
        assert replace(mine, form=other.form) == other
        for key, output in theirs.outputs.items():
            np.testing.assert_array_equal(ours.outputs[key], output)


def test_unrolled_gives_the_answers_of_torch(tmp_path):
    model = check("few turns", "unrolled", tmp_path)
    assert model.card.solves[0].settings == {}


@pytest.mark.parametrize("form", FORMS[1:])
def test_float32_models_give_the_answers_of_torch(form, tmp_path):
    check("anderson", form, tmp_path, torch.float32)


def test_a_change_of_the_elimination_changes_torch_and_every_form(monkeypatch, tmp_path):
    """With weights that choose the newest turn alone, Anderson's method is the plain iteration, wherever it runs."""
    captured, callee = traced("anderson", torch.float64)
    x = drawn((4, 4), seed=9)
    _, (before,) = run_reference(callee, [x], Overrides())

    def newest(system, m, *, xp):
        return xp.take(system, m, axis=1) * xp.constant([[float(i == 0)] for i in range(m)], system)

    monkeypatch.setattr(fixed_point, "solve_by_elimination", newest)
    _, (after,) = run_reference(callee, [x], Overrides())
    assert after.steps > before.steps
    for form in FORMS[1:]:
        assert load_captured(captured, form, tmp_path / form).solve(x.numpy()).stats.steps == after.steps


@pytest.mark.parametrize("form", FORMS)
def test_an_iteration_that_does_not_converge_is_a_status(form, tmp_path):
    captured, callee = traced("samples", torch.float64)
    short = replace(captured, specs=[replace(spec, max_iters=12) for spec in captured.specs])
    model = load_captured(short, form, tmp_path)
    x = drawn((4, 4), seed=5)
    x[1:3] *= 1e-9
    solution = model.solve(x.numpy())
    (stats,) = solution.stats.solves
    assert solution.status is stats.status is Status.NOT_CONVERGED
    assert set(stats.samples.status) <= {Status.OK, Status.NOT_CONVERGED}
    assert np.isfinite(solution.outputs["output"]).all()
    with pytest.raises(
        odelet.SolveError, match=r"solve 0 \(fixed_point, models_marked.py:\d+\) stopped for .* not converge"
    ):
        model(x.numpy())
    x[0, 0] = np.nan
    assert model.solve(x.numpy()).stats.solves[0].samples.status[0] is Status.NOT_FINITE


@pytest.mark.parametrize("form", ["adaptive", "driven"])
def test_tolerances_and_turns_can_be_set_at_run_time(form, tmp_path):
    captured, callee = traced("anderson", torch.float64)
    model = load_captured(captured, form, tmp_path)
    x = drawn((2, 4)).numpy()
    usual, loose, tight = model.solve(x), model.solve(x, rtol=1e-2), model.solve(x, rtol=1e-12, atol=1e-12)
    assert loose.stats.steps < usual.stats.steps < tight.stats.steps
    assert model.solve(x, max_steps=3).status is Status.NOT_CONVERGED
    assert model.solve(x, max_steps=3).stats.steps == 3


def test_the_driver_obeys_limits_and_refuses_dense_output_and_streams(tmp_path):
    captured, _ = traced("anderson", torch.float64)
    model = load_captured(captured, "driven", tmp_path)
    x = drawn((2, 4)).numpy()
    for limits, status in (({"max_evals": 2}, Status.EVALUATION_LIMIT), ({"deadline": 1e-9}, Status.DEADLINE)):
        solution = model.solve(x, **limits)
        assert (solution.status, solution.stats.steps) == (status, limits.get("max_evals", 0))
        assert solution.outputs["output"].shape == (2, 6)
    with pytest.raises(odelet.InputError, match="is an iteration .anderson., without time"):
        model.solve(x, dense=True)
    with pytest.raises(odelet.InputError, match="is an iteration .anderson., which has no times"):
        model.stream(x=x)
