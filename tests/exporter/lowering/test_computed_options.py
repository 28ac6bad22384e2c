"""Options that a model computes from its inputs: lengths of steps are values of the graph, and a limit of steps is an
assumption."""

import numpy as np
import pytest
import torch
from torchdiffeq import odeint, odeint_event

import odelet
from odelet.errors import AssumptionError, InputError
from odelet_export import CaptureError, explain, export

X = torch.tensor([[1.0, -0.5], [0.3, 0.8]])


def field(t, y):
    return torch.cos(3 * t) - y


def finest_gap(x, t):
    return odeint(field, x, t, method="rk4", options={"step_size": (t[1:] - t[:-1]).min().item()})


def by_a_solve(x, h):
    """The end time and the length of the steps both come from an earlier solve."""
    scale = odeint(field, x, torch.tensor([0.0, 1.0]), method="euler", options={"step_size": h})[-1].abs().max()
    return odeint(field, x, torch.stack([scale, scale * 0]), method="midpoint", options={"step_size": scale / 4})


def first_length(x, h):
    return odeint(field, x, torch.tensor([0.0, 1.0, 2.0]), rtol=1e-2, atol=1e-2, options={"first_step": h.item()})


def fall(x, h):
    options = {"step_size": h.item()}
    return odeint_event(
        lambda t, y: torch.stack([y[1], -torch.ones(())]),
        x[0],
        torch.tensor(0.0),
        event_fn=lambda t, y: y[0],
        odeint_interface=odeint,
        method="rk4",
        options=options,
        atol=1e-6,
    )[0]


def limited(x, most):
    return odeint(field, x, torch.tensor([0.0, 1.0]), rtol=1e-3, atol=1e-4, options={"max_num_steps": most})[-1]


def check(model, out, example, calls, *, dynamic=None, **options):
    result = export(model, (X, example), out, dynamic={"x": {0: "batch"}, **(dynamic or {})}, samples=2, **options)
    artifact = odelet.load(out)
    for value in calls:
        expected = model(X[:1], value).numpy()
        np.testing.assert_allclose(artifact(X[:1].numpy(), value.numpy()), expected, rtol=2e-5, atol=2e-6)
    return result, artifact


@pytest.mark.slow
@pytest.mark.parametrize("form", ["auto", "driven"])
def test_a_step_size_computed_from_times_changes_the_number_of_steps(form, tmp_path):
    calls = [torch.tensor([0.0, 0.05, 1.0]), torch.tensor([2.0, 2.7]), torch.tensor([0.0, 0.4, 0.5, 1.1])]
    example = torch.tensor([0.0, 0.2, 1.0, 1.5])
    result, artifact = check(finest_gap, tmp_path / "out", example, calls, dynamic={"t": {0: "times"}}, form=form)
    assert [solve.form for solve in result.card.solves] == ["rolled" if form == "auto" else form]
    steps = [artifact.solve(X.numpy(), t.numpy()).stats.solves[0].steps for t in calls]
    assert steps == [20, 1, 12]
    with pytest.raises(InputError):
        artifact(X.numpy(), np.array([0.0, 1.0, 0.5], np.float32))  # the least gap is negative


@pytest.mark.slow
@pytest.mark.parametrize("form", ["rolled", "driven"])
def test_a_step_size_and_times_may_come_from_an_earlier_solve(form, tmp_path):
    check(by_a_solve, tmp_path / "out", torch.tensor(0.1), [torch.tensor(0.25), torch.tensor(0.013)], form=form)


@pytest.mark.slow
@pytest.mark.parametrize(("form", "per_sample"), [("adaptive", False), ("driven", False), ("driven", True)])
def test_a_first_step_may_be_an_input(form, per_sample, tmp_path):
    calls = [torch.tensor(0.5), torch.tensor(1e-4)]
    result, artifact = check(
        first_length, tmp_path / "out", torch.tensor(0.05), calls, form=form, per_sample=per_sample
    )
    steps = [np.ravel(artifact.solve(X[:1].numpy(), h.numpy()).stats.solves[0].steps)[0] for h in calls]
    assert steps[1] > steps[0]
    assert result.card.solves[0].evaluations.start == 1


@pytest.mark.slow
def test_steps_of_a_computed_length_search_for_an_event_in_the_graph(tmp_path):
    check(fall, tmp_path / "out", torch.tensor(0.05), [torch.tensor(0.3), torch.tensor(0.011)])


@pytest.mark.slow
def test_a_limit_of_steps_read_from_an_input_is_an_assumption(tmp_path):
    result, artifact = check(limited, tmp_path / "out", torch.tensor(200), [])
    (assumed,) = result.card.assumptions
    assert (assumed.value, assumed.inputs) == ("200", ("most",))
    with pytest.raises(AssumptionError, match="max_num_steps"):
        artifact(X.numpy(), np.int64(100))


def test_another_option_that_is_computed_is_refused_by_its_name():
    def model(x, share):
        return odeint(field, x, torch.tensor([0.0, 1.0]), options={"safety": share.item()})[-1]

    with pytest.raises(CaptureError, match=r"test_computed_options\.py.*option safety is computed from"):
        explain(model, (X, torch.tensor(0.9)))
